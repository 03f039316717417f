// What statfs(2) says of a file system: the kernel's numbers for the same image mounted read-only (BT-034).
//
// Space is counted as the data profile spends it: with raid1 a file system of two 1 GiB devices has 1 GiB.
// Free is what is used by nothing, less the reserve that the kernel keeps for its metadata; available is what
// data could still take from unallocated space (a read-only mount counts no space in existing block groups).
#pragma once
#include <sys/statvfs.h>

#include "btrfs/tree/filesystem.h"

namespace karst::fuse {

Result<struct statvfs> statfs_of(const btrfs::Filesystem& fs);

}  // namespace karst::fuse
