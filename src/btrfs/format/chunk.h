// Chunks and devices: how logical addresses map to bytes of devices.
// Source: Linux include/uapi/linux/btrfs_tree.h, struct btrfs_chunk, btrfs_stripe, btrfs_dev_item,
// btrfs_dev_extent, btrfs_block_group_item, btrfs_dev_stats_item, btrfs_dev_replace_item.
#pragma once
#include <cstdint>
#include <string>

#include "btrfs/format/key.h"
#include "core/uuid.h"

namespace karst::btrfs {

constexpr uint64_t stripe_length = 65536;  // the only one there is

namespace block_group {
constexpr uint64_t data = 1ull << 0;
constexpr uint64_t system = 1ull << 1;
constexpr uint64_t metadata = 1ull << 2;
constexpr uint64_t raid0 = 1ull << 3;
constexpr uint64_t raid1 = 1ull << 4;
constexpr uint64_t dup = 1ull << 5;
constexpr uint64_t raid10 = 1ull << 6;
constexpr uint64_t raid5 = 1ull << 7;
constexpr uint64_t raid6 = 1ull << 8;
constexpr uint64_t raid1c3 = 1ull << 9;
constexpr uint64_t raid1c4 = 1ull << 10;
constexpr uint64_t remapped = 1ull << 11;
constexpr uint64_t metadata_remap = 1ull << 12;
constexpr uint64_t type_mask = data | system | metadata;
constexpr uint64_t profile_mask = raid0 | raid1 | dup | raid10 | raid5 | raid6 | raid1c3 | raid1c4;
}  // namespace block_group

// What a profile means, one row per profile bit. Source: Linux fs/btrfs/volumes.c, btrfs_raid_array.
struct Profile {
  const char* name;        // "single", "RAID1C3" …, as dump-tree and df print them
  uint64_t flag;           // 0 for single
  uint8_t sub_stripes;     // stripes that hold the same data next to each other (raid10: 2)
  uint8_t copies;          // copies of each byte on separate stripes
  uint8_t parity;          // parity stripes per row
  uint8_t tolerated;       // devices that may be lost
  uint16_t min_stripes;    // fewest stripes a valid chunk has
  uint16_t exact_stripes;  // the only number allowed, or 0
};
// The row for a block group's flags; the unknown combination of two bits gives nullptr.
const Profile* profile_of(uint64_t flags);
// "DATA|RAID1", "SYSTEM|DUP", "METADATA|single", "DATA|UNKNOWN.0x18", as dump-tree prints them.
std::string block_group_flags_text(uint64_t flags);

struct Stripe {
  le64 devid;     //  0
  le64 offset;    //  8  bytes on that device
  Uuid dev_uuid;  // 16
};
static_assert(sizeof(Stripe) == 32 && Overlay<Stripe>);

// Key: (FIRST_CHUNK_TREE CHUNK_ITEM logical). Followed by num_stripes Stripes.
struct Chunk {
  le64 length;       //  0
  le64 owner;        //  8  the extent tree
  le64 stripe_len;   // 16
  le64 type;         // 24  block_group flags
  le32 io_align;     // 32
  le32 io_width;     // 36
  le32 sector_size;  // 40
  le16 num_stripes;  // 44
  le16 sub_stripes;  // 46
};
static_assert(sizeof(Chunk) == 48 && Overlay<Chunk>);

// Key: (DEV_ITEMS DEV_ITEM devid), and one in each superblock.
struct DevItem {
  le64 devid;          //  0
  le64 total_bytes;    //  8
  le64 bytes_used;     // 16
  le32 io_align;       // 24
  le32 io_width;       // 28
  le32 sector_size;    // 32
  le64 type;           // 36
  le64 generation;     // 44
  le64 start_offset;   // 52
  le32 dev_group;      // 60
  uint8_t seek_speed;  // 64
  uint8_t bandwidth;   // 65
  Uuid uuid;           // 66
  Uuid fsid;           // 82
};
static_assert(sizeof(DevItem) == 98 && Overlay<DevItem>);

// Key: (devid DEV_EXTENT physical offset), in the device tree.
struct DevExtent {
  le64 chunk_tree;
  le64 chunk_objectid;
  le64 chunk_offset;  // logical address of the chunk
  le64 length;
  Uuid chunk_tree_uuid;
};
static_assert(sizeof(DevExtent) == 48 && Overlay<DevExtent>);

// Key: (logical BLOCK_GROUP_ITEM length).
struct BlockGroupItem {
  le64 used;
  le64 chunk_objectid;
  le64 flags;
};
static_assert(sizeof(BlockGroupItem) == 24 && Overlay<BlockGroupItem>);

// Key: (DEV_STATS PERSISTENT_ITEM devid). Older kernels wrote fewer values.
struct DevStatsItem {
  le64 values[5];  // write, read, flush, corruption, generation errors
};
static_assert(sizeof(DevStatsItem) == 40 && Overlay<DevStatsItem>);

// Key: (0 DEV_REPLACE 0), in the device tree.
struct DevReplaceItem {
  le64 src_devid;
  le64 cursor_left;
  le64 cursor_right;
  le64 cont_reading_from_srcdev_mode;
  le64 replace_state;
  le64 time_started;
  le64 time_stopped;
  le64 num_write_errors;
  le64 num_uncorrectable_read_errors;
};
static_assert(sizeof(DevReplaceItem) == 72 && Overlay<DevReplaceItem>);

// Key: (logical RAID_STRIPE length): one stride per copy.
struct RaidStride {
  le64 devid;
  le64 physical;
};
static_assert(sizeof(RaidStride) == 16 && Overlay<RaidStride>);

}  // namespace karst::btrfs
