// The least of many values, so many at a time: sorts what does not fit into memory, at the price of seeing
// all of it once for each such number.
//
//   std::optional<T> last;
//   do {
//     LeastValues<T> least(last, count);
//     for (T value : all) least.add(value);
//     std::vector<T> values = least.take();  …  last = values.back();
//   } while (least.left_some());
#pragma once
#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace karst::cli {

// T has a total order; no two values are equal. Holds 2 * count values at most. Not thread-safe.
template <typename T>
class LeastValues {
 public:
  // Of those that come after `after`, or of all.
  LeastValues(const std::optional<T>& after, size_t count) : after_(after), count_(count) {}

  void add(T value) {
    if (after_ && !(*after_ < value)) return;
    if (left_some_ && !(value < values_[count_ - 1])) return;
    values_.push_back(std::move(value));
    if (values_.size() == 2 * count_) cut();
  }
  // In order, at most `count`. Ends it.
  std::vector<T> take() {
    if (values_.size() > count_) cut();
    std::sort(values_.begin(), values_.end());
    return std::move(values_);
  }
  // Whether there are more than those, after take().
  bool left_some() const { return left_some_; }

 private:
  void cut() {
    std::nth_element(values_.begin(), values_.begin() + static_cast<ptrdiff_t>(count_ - 1), values_.end());
    values_.resize(count_);
    left_some_ = true;
  }

  const std::optional<T>& after_;
  const size_t count_;
  std::vector<T> values_;
  bool left_some_ = false;  // then values_[count_ - 1] is the greatest of the first count_
};

}  // namespace karst::cli
