// Checksums of data, in a store of the checksum tree's form: (EXTENT_CSUM EXTENT_CSUM logical) items that do
// not overlap, each with the checksums of the sectors from there on.
#pragma once
#include "btrfs/format/superblock.h"
#include "btrfs/txn/item_store.h"

namespace karst::btrfs {

// Removes the checksums of [start, end), both multiples of the sector size.
Result<void> erase_checksums(ItemStore& items, uint64_t start, uint64_t end, const Geometry& geometry);

// Makes the checksums that `from` has for sectors of [start, end) those of `items`.
Result<void> copy_checksums(ItemReader& from, ItemStore& items, uint64_t start, uint64_t end,
                            const Geometry& geometry);

}  // namespace karst::btrfs
