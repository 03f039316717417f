// The list of trees: root items, and the links between subvolumes.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// Fills state.roots: the root tree and the chunk tree first, then every root item. Reports root items that
// cannot be right, and trees that every file system has and this one lacks.
Result<void> read_roots(State& state);

// Root references against back references and directory entries, subvolumes that nothing refers to, the UUID
// tree.
Result<void> check_root_refs(State& state);

}  // namespace karst::btrfs::check
