// Finds the inodes that links by path stand for: what was at the target when the link was made.
#pragma once
#include "btrfs/tool/build/placement.h"
#include "core/external_sorter.h"

namespace karst::btrfs::build {

// By the whole key of each link record, the put it stands for, with the target's link key. Links to nothing
// or to a directory are told to options.errors, and left out. Each pass over `raw` follows links by one step;
// chains of links to links longer than 16 are refused like links to nothing.
Result<ExternalSorter> resolve_links(const ExternalSorter& raw, const Placement& placement,
                                     const InventoryOptions& options);

}  // namespace karst::btrfs::build
