// Inodes whose own item was lost with its block, while others of theirs were not.
#pragma once
#include "btrfs/file/attributes.h"

namespace karst::btrfs {

// The attributes of an inode, or, if its item is lost, what the rest tells: a type as its directory entry has
// it, the size up to which it has extents, one link, no times, owner root, no rights for others; `lost` is
// then set. no_inode if there is nothing left to tell of it: an absent inode, a file without any extent, a
// device node.
Result<Attributes> attributes_or_rest(Cursor& cursor, uint64_t inode, FileType type, bool& lost);

// The keys of all items of an inode; and of those that name it.
constexpr Key first_key_of(uint64_t inode) { return {inode, ItemType{}, 0}; }
constexpr Key last_key_of(uint64_t inode) { return {inode, ItemType{255}, ~0ull}; }
inline bool links_are_lost(const Cursor& cursor, uint64_t inode) {
  return cursor.is_lost({inode, ItemType::inode_ref, 0}, {inode, ItemType::inode_extref, ~0ull});
}

}  // namespace karst::btrfs
