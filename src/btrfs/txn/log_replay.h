// Replaying a log tree in memory.
//
// fsync writes what it must keep into a log tree of each subvolume, which the superblock's log root refers
// to. After a crash the kernel replays it into the subvolume trees at mount. Opened for reading, we replay it
// into item overlays of the subvolume trees and the checksum tree instead, and write nothing.
#pragma once
#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

// Does nothing if there is no log. On an error nothing is laid over any tree.
Result<void> replay_log(Filesystem& fs);

}  // namespace karst::btrfs
