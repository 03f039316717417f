// Inodes in host form.
#pragma once
#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>

#include "btrfs/format/inode.h"
#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind no_inode;  // a name without its inode; child of corrupt
}

// An inode of a subvolume. Inode numbers are unique within a subvolume only.
struct InodeId {
  uint64_t subvolume = 0;
  uint64_t inode = 0;
  auto operator<=>(const InodeId&) const = default;
  // The empty directory that stands where a snapshot's nested subvolume was.
  bool is_empty_subvolume() const { return inode == id::empty_subvol_dir; }
};

struct Attributes {
  uint64_t inode;
  uint64_t size;       // bytes
  uint64_t allocated;  // bytes of data extents, before compression
  uint64_t generation;
  uint64_t transid;   // transaction of the last change
  uint64_t flags;     // inode_flag
  uint64_t sequence;  // change counter
  mode_t mode;
  uid_t uid;
  gid_t gid;
  uint32_t nlink;
  dev_t rdev;
  timespec atime, mtime, ctime, otime;

  bool is_directory() const { return S_ISDIR(mode); }
  bool is_regular() const { return S_ISREG(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
  // As stat(2) would show it on a kernel mount. st_dev is left to the caller.
  struct stat to_stat(uint32_t sectorsize) const;
};

Attributes attributes_from_item(uint64_t inode, const InodeItem& item);
// Moves the cursor. no_inode if there is no such item.
Result<Attributes> read_attributes(Cursor& cursor, uint64_t inode);

}  // namespace karst::btrfs

template <>
struct std::hash<karst::btrfs::InodeId> {
  size_t operator()(const karst::btrfs::InodeId& id) const {
    return static_cast<size_t>((id.inode + id.subvolume * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull >>
                               7);
  }
};
