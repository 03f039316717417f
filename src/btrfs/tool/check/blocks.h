// What must hold of each tree block by itself, once all of them and all that refers to them are known.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// After the first scan: that the block lies in a chunk of its kind, that its owner refers to it, and that its
// extent item says rightly whether it is the parent of what it points to.
Result<void> check_blocks(State& state);

}  // namespace karst::btrfs::check
