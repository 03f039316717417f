// References to extents: the inline ones at the end of an extent item, one after the other.
#pragma once
#include <optional>

#include "btrfs/format/extent.h"

namespace karst::btrfs {

// Bytes of an inline reference with its type byte; 0 for a type that is none.
uint32_t inline_ref_size(ItemType type);

// What orders references of one type, and what a keyed EXTENT_DATA_REF has as its offset.
uint64_t extent_data_ref_hash(uint64_t root, uint64_t objectid, uint64_t offset);

// One inline reference, read out. Fields that its type has not are 0.
struct InlineReference {
  ItemType type{};
  uint64_t offset = 0;    // the root, or the parent block
  uint64_t root = 0;      // extent_data_ref, tree_block_ref, extent_owner_ref
  uint64_t objectid = 0;  // extent_data_ref: inode
  uint64_t file_offset = 0;
  uint32_t count = 0;
  uint64_t sequence = 0;  // descending among the references of one type
  uint32_t size = 0;      // bytes
};
// The reference at the start of `bytes`, or nothing if its type is unknown or it does not fit.
std::optional<InlineReference> read_inline_ref(Bytes bytes);

}  // namespace karst::btrfs
