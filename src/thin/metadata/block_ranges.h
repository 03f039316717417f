// A set of data blocks, kept as ranges. Not thread-safe.
#pragma once
#include <cstdint>
#include <iterator>
#include <map>

#include "thin/format/ids.h"

namespace karst::thin {

class BlockRanges {
 public:
  bool contains(DataBlock block) const {
    const auto after = ranges_.upper_bound(raw(block));
    return after != ranges_.begin() && std::prev(after)->second > raw(block);
  }
  bool empty() const { return ranges_.empty(); }
  // False if it was there.
  bool insert(DataBlock block) {
    if (contains(block)) return false;
    uint64_t begin = raw(block), end = begin + 1;
    const auto after = ranges_.lower_bound(end);
    if (after != ranges_.end() && after->first == end) {
      end = after->second;
      ranges_.erase(after);
    }
    const auto before = ranges_.lower_bound(begin);
    if (before != ranges_.begin() && std::prev(before)->second == begin)
      std::prev(before)->second = end;
    else
      ranges_[begin] = end;
    return true;
  }
  // False if it was not there.
  bool erase(DataBlock block) {
    if (!contains(block)) return false;
    const auto range = std::prev(ranges_.upper_bound(raw(block)));
    const uint64_t end = range->second;
    if (range->first == raw(block))
      ranges_.erase(range);
    else
      range->second = raw(block);
    if (raw(block) + 1 < end) ranges_[raw(block) + 1] = end;
    return true;
  }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // begin → end
};

}  // namespace karst::thin
