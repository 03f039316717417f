// The structure of nodes and leaves. Part of check.h's verify_block(). Errors lack the block and tree; the
// caller adds them.
#pragma once
#include "btrfs/format/check.h"

namespace karst::btrfs {

Result<void> check_node(const TreeBlock& node, const Geometry& geometry);
Result<void> check_leaf(const TreeBlock& leaf, const Geometry& geometry);

}  // namespace karst::btrfs
