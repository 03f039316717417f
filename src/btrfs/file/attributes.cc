#include "btrfs/file/attributes.h"

#include <sys/sysmacros.h>

namespace karst::btrfs {
namespace err {
const ErrorKind no_inode{"no-inode", &karst::err::corrupt, ENOENT};
}

namespace {
timespec to_timespec(const Timespec& time) {
  return {time.seconds, static_cast<long>(time.nanoseconds.value())};
}
}  // namespace

Attributes attributes_from_item(uint64_t inode, const InodeItem& item) {
  // Linux's own device numbers: 12 bits major, 20 bits minor.
  uint64_t rdev = item.rdev;
  return {
      .inode = inode,
      .size = item.size,
      .allocated = item.nbytes,
      .generation = item.generation,
      .transid = item.transid,
      .flags = item.flags,
      .sequence = item.sequence,
      .mode = item.mode,
      .uid = item.uid,
      .gid = item.gid,
      .nlink = item.nlink,
      .rdev = makedev(static_cast<unsigned>(rdev >> 20), static_cast<unsigned>(rdev & 0xfffff)),
      .atime = to_timespec(item.atime),
      .mtime = to_timespec(item.mtime),
      .ctime = to_timespec(item.ctime),
      .otime = to_timespec(item.otime),
  };
}

Result<Attributes> read_attributes(Cursor& cursor, uint64_t inode) {
  if (!TRY(cursor.find({inode, ItemType::inode_item, 0})))
    return Error(err::no_inode, "inode has no inode item").at("inode", inode);
  return attributes_from_item(inode, *cursor.as<InodeItem>());
}

struct stat Attributes::to_stat(uint32_t sectorsize) const {
  struct stat st {};
  st.st_ino = inode;
  st.st_mode = mode;
  st.st_nlink = nlink;
  st.st_uid = uid;
  st.st_gid = gid;
  st.st_rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
  st.st_size = static_cast<off_t>(size);
  st.st_blksize = static_cast<blksize_t>(sectorsize);
  // The kernel rounds what is allocated up to a sector.
  st.st_blocks = static_cast<blkcnt_t>((allocated + sectorsize - 1) / sectorsize * (sectorsize / 512));
  st.st_atim = atime;
  st.st_mtim = mtime;
  st.st_ctim = ctime;
  return st;
}

}  // namespace karst::btrfs
