// The pass over the extent tree, in order: everything that lies beside each other by address.
//
// A task for each chunk streams the extents from its start to the next chunk's, with the checksums and the
// recorded free space of the same addresses: overlaps, type and bounds, bytes in use against the block
// group's item, gaps against free space, checksums without extents. On the way every extent item and back
// reference goes to the sink as facts, and the block table learns which tree blocks have full back
// references. Comes before the scan, which needs that, and needs to know which data extents are checksummed
// only in part.
#pragma once
#include <functional>

#include "btrfs/tool/check/facts.h"
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

struct AllocationOptions {
  std::function<FactSink&()> make_sink;  // one for each task at a time; they outlive the pass
  bool first = true;                     // otherwise only facts are told
};

Result<void> check_allocation(State& state, const AllocationOptions& options);

}  // namespace karst::btrfs::check
