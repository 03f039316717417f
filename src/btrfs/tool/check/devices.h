// Chunks, block groups, device extents and devices: each must have its counterparts, one to one.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// After check_allocation(), which collects the block groups.
void check_devices(State& state);

// Every copy of the superblock that a device has room for.
void check_superblocks(State& state);

}  // namespace karst::btrfs::check
