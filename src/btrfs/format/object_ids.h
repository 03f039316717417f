// Which object ids may stand for what.
#pragma once
#include "btrfs/format/key.h"
#include "btrfs/format/quota.h"

namespace karst::btrfs {

// Inodes: those of files, the root tree's directory, and the obsolete cache of free inode numbers.
constexpr bool is_inode_number(uint64_t objectid) {
  return (objectid >= id::first_free && objectid <= id::last_free) || objectid == id::root_tree_dir ||
         objectid == id::free_ino;
}

// Subvolumes; a quota group's id has its level where a subvolume's has zeroes.
constexpr bool is_subvolume(uint64_t root) { return is_fs_tree(root) && qgroup_level(root) == 0; }

}  // namespace karst::btrfs
