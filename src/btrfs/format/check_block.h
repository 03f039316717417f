// The structure of nodes and leaves. Part of check.h's verify_block(). Errors lack the block and tree; the
// caller adds them.
#pragma once
#include "btrfs/format/check.h"
#include "core/function_ref.h"

namespace karst::btrfs {

Result<void> check_node(const TreeBlock& node, const Geometry& geometry);
// Stops at the first item that breaks the rules of its type.
Result<void> check_leaf(const TreeBlock& leaf, const Geometry& geometry);
// Hands those items over and goes on, unless `invalid` returns an error.
Result<void> check_leaf(const TreeBlock& leaf, const Geometry& geometry,
                        FunctionRef<Result<void>(uint32_t slot, Error reason)> invalid);

}  // namespace karst::btrfs
