// The extents of files, in a store.
#pragma once
#include "btrfs/txn/item_store.h"

namespace karst::btrfs {

constexpr Key file_extent_key(uint64_t inode, uint64_t offset) {
  return {inode, ItemType::extent_data, offset};
}

// Takes [start, end) out of a file, both multiples of the sector size: extents inside vanish, those that
// reach into it are cut. The number of allocated bytes that were in the range.
Result<uint64_t> drop_file_extents(ItemStore& items, uint64_t inode, uint64_t start, uint64_t end);

}  // namespace karst::btrfs
