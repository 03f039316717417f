// Subvolumes whose sums do not cancel: saying exactly which inodes are wrong, in the words of btrfs check.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// All subvolumes, after sum_nodes(). Those that agree cost nothing.
Result<void> check_file_trees(State& state);

}  // namespace karst::btrfs::check
