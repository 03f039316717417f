// Which device of a striped chunk has which stripe, when no chunk item says so.
//
// Block groups and device extents tell where a chunk is and on which parts of which devices, in no order.
// What lies there tells the rest: a tree block names its own logical address, and a sector of data that
// matches the checksum of one address, and on one device only, is that address's. Each such sighting votes
// for one place of its device in the row of stripes; a device that nothing was seen on gets the place that is
// left over.
#pragma once
#include <vector>

#include "btrfs/tree/tree.h"
#include "btrfs/volume/volume.h"

namespace karst::btrfs {

// A chunk of which all is known but the order of its stripes.
struct UnorderedChunk {
  uint64_t logical, length;
  uint64_t flags;               // of the block group; of a striped profile
  uint64_t extent_length;       // of each device's part
  std::vector<Stripe> extents;  // on devices that are there
};

// The stripes in the order of a chunk item; those of devices that are not there name none. Errors:
// err::corrupt if the numbers of the chunk do not fit together, not_found if too little was seen. Both only
// read.
Result<std::vector<Stripe>> order_by_tree_blocks(const Volume& volume, const UnorderedChunk& chunk);
// `checksums`: a cursor of the checksum tree.
Result<std::vector<Stripe>> order_by_checksums(const Volume& volume, const UnorderedChunk& chunk,
                                               Cursor& checksums);

// What stands for a device that is not there.
inline constexpr Stripe absent_stripe{~0ull, 0, {}};

}  // namespace karst::btrfs
