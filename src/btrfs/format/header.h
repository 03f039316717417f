// Tree blocks: the header they all begin with, items of leaves, pointers of nodes.
// Source: Linux include/uapi/linux/btrfs_tree.h, struct btrfs_header, btrfs_item, btrfs_key_ptr.
#pragma once
#include <cstdint>

#include "btrfs/format/key.h"
#include "core/uuid.h"

namespace karst::btrfs {

constexpr uint32_t max_level = 8;  // levels are 0 … 7
constexpr uint32_t checksum_field_size = 32;
constexpr uint32_t min_nodesize = 4096, max_nodesize = 65536;
constexpr uint32_t min_sectorsize = 4096, max_sectorsize = 65536;

struct Header {
  uint8_t checksum[checksum_field_size];  //   0  of the bytes from 32 to nodesize
  Uuid fsid;                              //  32  metadata_uuid where that feature is on
  le64 bytenr;                            //  48  logical address of this block
  le64 flags;                             //  56  low 56 bits flags, high 8 the back reference revision
  Uuid chunk_tree_uuid;                   //  64
  le64 generation;                        //  80
  le64 owner;                             //  88  the tree that allocated the block
  le32 nritems;                           //  96
  uint8_t level;                          // 100  0: leaf
};
static_assert(sizeof(Header) == 101 && Overlay<Header>);

constexpr uint64_t header_flag_written = 1ull << 0;
constexpr uint64_t header_flag_reloc = 1ull << 1;
constexpr unsigned header_backref_rev_shift = 56;
constexpr uint64_t header_mixed_backref_rev = 1;  // what all have since Linux 2.6.31

struct Item {
  DiskKey key;  //  0
  le32 offset;  // 17  of the data, counted from the end of the header
  le32 size;    // 21
};
static_assert(sizeof(Item) == 25 && Overlay<Item>);

struct KeyPtr {
  DiskKey key;      //  0  not greater than the child's first key
  le64 blockptr;    // 17
  le64 generation;  // 25  of the child
};
static_assert(sizeof(KeyPtr) == 33 && Overlay<KeyPtr>);

constexpr uint32_t max_key_ptrs(uint32_t nodesize) { return (nodesize - sizeof(Header)) / sizeof(KeyPtr); }
constexpr uint32_t max_leaf_items(uint32_t nodesize) { return (nodesize - sizeof(Header)) / sizeof(Item); }

}  // namespace karst::btrfs
