// From an inode to its names: the back references of links.
#pragma once
#include <string>

#include "btrfs/file/attributes.h"
#include "core/function_ref.h"

namespace karst::btrfs {

// One name of an inode. Moves nothing it borrows beyond the call.
struct Link {
  uint64_t parent;        // directory's inode
  uint64_t index;         // of DIR_INDEX
  std::string_view name;  // borrowed
};

// Calls back for each name an inode has, from INODE_REF and INODE_EXTREF items.
Result<void> for_each_link(Cursor& cursor, uint64_t inode, FunctionRef<Result<void>(const Link&)> visit);

// A path of the inode from its subvolume's root, without a leading slash (empty for the root itself), by its
// first names. Ends in an error for a broken chain or one that loops.
Result<std::string> path_in_subvolume(Cursor& cursor, uint64_t inode);

}  // namespace karst::btrfs
