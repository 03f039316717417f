// Which dirty buckets an exact pass looks at: as many at a time as its memory allows.
#pragma once
#include <vector>

#include "btrfs/tool/check/sketch.h"

namespace karst::btrfs::check {

// One pass's choice: flags of the buckets, and how it goes on.
class DirtyRounds {
 public:
  explicit DirtyRounds(const std::vector<bool>& dirty) : dirty_(dirty) {
    for (bool flag : dirty_) count_ += flag;
    share_ = count_;
  }
  // The buckets of the next round; false when all have been looked at.
  bool next(std::vector<bool>& chosen) {
    chosen.assign(dirty_.size(), false);
    size_t taken = 0;
    first_ = at_;
    for (; at_ < dirty_.size() && taken < share_; ++at_) {
      if (!dirty_[at_]) continue;
      chosen[at_] = true;
      ++taken;
    }
    return taken > 0;
  }
  // The round was too much: the same again in smaller pieces; false if it cannot be smaller.
  bool shrink() {
    if (share_ <= 1) return false;
    share_ = share_ > 4 ? share_ / 4 : 1;
    at_ = first_;
    return true;
  }

 private:
  const std::vector<bool>& dirty_;
  size_t count_ = 0, share_ = 0, at_ = 0, first_ = 0;
};

}  // namespace karst::btrfs::check
