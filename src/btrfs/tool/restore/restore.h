// Copying all that can still be read out of a damaged file system.
//
// open_damaged opens it, SalvageWalk finds what is left, copy_tree reads it, a directory or an archive takes
// it. All that did not come over is told to the listener.
#pragma once
#include "btrfs/tool/restore/open_damaged.h"
#include "btrfs/tool/restore/salvage_walk.h"

namespace karst::btrfs {

struct RestoreOptions {
  uint64_t subvolume = id::fs_tree;
  bool snapshots = false;        // also subvolumes in it
  bool first_directory = false;  // start at the first directory that has entries, not at the root
  // POSIX extended; of "/path", searched. Directories that do not match are not entered.
  std::optional<std::string> path_regex;
  bool ignore_case = false;
  bool repeat_directories = false;  // SalvageOptions
  CopyOptions copy;
  std::function<void(const WalkEntry& entry)> seen;
};

struct RestoreReport {
  CopyReport copied;
  uint64_t subvolumes_skipped = 0;
};

// Without a target neither contents nor extended attributes are read, and what is lost of them is not told: a
// dry run. The error is one of the target, of cancellation or of memory, or that there is nothing to start
// from.
Result<RestoreReport> restore(const DamagedImage& image, const RestoreOptions& options, CopyTarget* target,
                              WorkerPool& pool, LossListener lost);

}  // namespace karst::btrfs
