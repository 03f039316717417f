// Which dirty buckets an exact pass looks at: as many at a time as its memory allows, and not for ever: with
// little memory and much that is wrong, some buckets stay unexplained.
#pragma once
#include <vector>

#include "btrfs/tool/check/sketch.h"

namespace karst::btrfs::check {

// One pass's choice: flags of the buckets, and how it goes on.
class DirtyRounds {
 public:
  static constexpr unsigned rounds_max = 64;  // of those that do not turn out to be too much

  explicit DirtyRounds(const std::vector<bool>& dirty) : dirty_(dirty) {
    for (bool flag : dirty_) count_ += flag;
    share_ = count_;
  }
  // The buckets of the next round; false when all have been looked at, or enough.
  bool next(std::vector<bool>& chosen) {
    if (rounds_ == rounds_max) return false;
    ++rounds_;
    chosen.assign(dirty_.size(), false);
    taken_ = 0;
    first_ = at_;
    for (; at_ < dirty_.size() && taken_ < share_; ++at_) {
      if (!dirty_[at_]) continue;
      chosen[at_] = true;
      ++taken_;
    }
    explained_ += taken_;
    return taken_ > 0;
  }
  // The round was too much: the same again in smaller pieces; false if it cannot be smaller, and is passed
  // over.
  bool shrink() {
    explained_ -= taken_;
    if (share_ <= 1) return false;
    share_ = share_ > 4 ? share_ / 4 : 1;
    at_ = first_;
    --rounds_;
    return true;
  }
  // When next() has said false: how many buckets were not looked at, or were too much.
  size_t unexplained() const { return count_ - explained_; }

 private:
  const std::vector<bool>& dirty_;
  size_t count_ = 0, explained_ = 0;
  size_t share_ = 0, taken_ = 0, at_ = 0, first_ = 0;
  unsigned rounds_ = 0;
};

}  // namespace karst::btrfs::check
