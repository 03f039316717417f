// The log trees that a crash left: their blocks, and that logged data has checksums.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// Before everything else. Fills state.log_extents.
Result<void> check_log(State& state);

}  // namespace karst::btrfs::check
