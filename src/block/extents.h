// Where a device may hold something other than zeroes.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/function_ref.h"

namespace karst::block {

// Takes one run: offset, length, whether there may be data; false ends the walk. Runs come in order, without
// gaps.
using ExtentListener = FunctionRef<bool(uint64_t offset, uint64_t length, bool data)>;

// Joins what is known piece by piece to runs of [begin, end).
class ExtentRuns {
 public:
  ExtentRuns(uint64_t begin, uint64_t end, ExtentListener each)
      : each_(each), end_(end), run_begin_(begin), at_(begin) {}

  // All from what was told before up to `to` is of this kind. What lies before, or beyond the end, is passed
  // over.
  void extend(uint64_t to, bool data) {
    to = std::min(to, end_);
    if (to <= at_ || !wanted_) return;
    if (data != run_data_) end();
    run_data_ = data;
    at_ = to;
  }
  // Tells the run that is under way.
  void end() {
    if (wanted_ && at_ > run_begin_) wanted_ = each_(run_begin_, at_ - run_begin_, run_data_);
    run_begin_ = at_;
  }
  // Whether the listener has not ended the walk.
  bool wanted() const { return wanted_; }

 private:
  const ExtentListener each_;
  const uint64_t end_;
  uint64_t run_begin_, at_;
  bool run_data_ = false, wanted_ = true;
};

}  // namespace karst::block
