// Extended attributes, POSIX ACLs among them: (inode XATTR_ITEM hash) items, several names in one on a
// collision. Values are as the kernel's mount shows them; btrfs properties are the btrfs.* namespace.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "btrfs/tree/tree.h"
#include "core/function_ref.h"

namespace karst::btrfs {

// Calls back for each attribute of the inode, in the order of the items. Name and value are borrowed for the
// call. Moves the cursor.
Result<void> for_each_xattr(Cursor& cursor, uint64_t inode,
                            FunctionRef<Result<void>(std::string_view name, Bytes value)> visit);

// The value of one attribute (err::no_attribute if there is none), borrowed from the cursor's block.
Result<Bytes> read_xattr(Cursor& cursor, uint64_t inode, std::string_view name);

}  // namespace karst::btrfs
