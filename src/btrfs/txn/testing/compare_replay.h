// Compares a file system as karst shows it with its log replayed, and as the kernel left it after replaying.
#pragma once
#include <string>
#include <vector>

#include "btrfs/tool/open_image.h"

namespace karst::btrfs::testing {

struct CompareOptions {
  int64_t mounted_at = 0;  // the kernel's replay sets times to later than this where karst keeps the old ones
  size_t differences = 20;  // at most so many
};

// What differs: items of subvolumes (all of them, byte for byte), checksums by address, contents of files.
// Each file of `ours` is read, so that its checksums are verified. Empty if nothing does.
Result<std::vector<std::string>> compare_replay(const Image& ours, const Image& kernels,
                                                const CompareOptions& options);

}  // namespace karst::btrfs::testing
