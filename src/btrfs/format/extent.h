// Items of the extent, free space and checksum trees.
// Source: Linux include/uapi/linux/btrfs_tree.h.
#pragma once
#include "btrfs/format/key.h"

namespace karst::btrfs {

namespace extent_flag {
constexpr uint64_t data = 1ull << 0;
constexpr uint64_t tree_block = 1ull << 1;
constexpr uint64_t full_backref = 1ull << 8;
}  // namespace extent_flag

// Keys: (bytenr EXTENT_ITEM length), (bytenr METADATA_ITEM level). For tree blocks in EXTENT_ITEM form a
// TreeBlockInfo follows; then inline references.
struct ExtentItem {
  le64 refs;
  le64 generation;
  le64 flags;
};
static_assert(sizeof(ExtentItem) == 24 && Overlay<ExtentItem>);

struct TreeBlockInfo {
  DiskKey key;
  uint8_t level;
};
static_assert(sizeof(TreeBlockInfo) == 18 && Overlay<TreeBlockInfo>);

// An inline reference begins with its type; what follows depends on it: tree_block_ref and
// shared_block_ref a le64; extent_data_ref an ExtentDataRef; shared_data_ref a le64 and a SharedDataRef;
// extent_owner_ref a le64.
struct InlineRef {
  uint8_t type;
  le64 offset;
};
static_assert(sizeof(InlineRef) == 9 && Overlay<InlineRef>);

struct ExtentDataRef {
  le64 root;
  le64 objectid;
  le64 offset;
  le32 count;
};
static_assert(sizeof(ExtentDataRef) == 28 && Overlay<ExtentDataRef>);

struct SharedDataRef {
  le32 count;
};
static_assert(sizeof(SharedDataRef) == 4 && Overlay<SharedDataRef>);

struct ExtentOwnerRef {
  le64 root_id;
};
static_assert(sizeof(ExtentOwnerRef) == 8 && Overlay<ExtentOwnerRef>);

// Key: (start FREE_SPACE_INFO length), in the free space tree.
struct FreeSpaceInfo {
  le32 extent_count;
  le32 flags;
};
static_assert(sizeof(FreeSpaceInfo) == 8 && Overlay<FreeSpaceInfo>);
constexpr uint32_t free_space_using_bitmaps = 1u << 0;
constexpr uint32_t free_space_bitmap_bits = 256 * 8;

// Key: (FREE_SPACE 0 block group), in the root tree: the version 1 space cache.
struct FreeSpaceHeader {
  DiskKey location;  // the cache file's inode
  le64 generation;
  le64 num_entries;
  le64 num_bitmaps;
};
static_assert(sizeof(FreeSpaceHeader) == 41 && Overlay<FreeSpaceHeader>);

}  // namespace karst::btrfs
