#include "thin/pool/cells.h"

namespace karst::thin {

// The nearest earlier one that overlaps.
Cells::Hold* Cells::first_before(const Hold& hold) const {
  for (Hold* other = hold.before_; other != nullptr; other = other->before_)
    if (other->overlaps(hold)) return other;
  return nullptr;
}

Cells::Hold::Hold(Cells& cells, DeviceId volume, uint64_t begin, uint64_t end)
    : cells_(cells), volume_(volume), begin_(begin), end_(end) {
  MutexLock lock(cells_.mutex_);
  before_ = cells_.last_;
  if (before_ != nullptr) before_->after_ = this;
  cells_.last_ = this;
  // The other stays until it ended and every one of its waiters, woken, has looked: its end waits for that.
  while (Hold* other = cells_.first_before(*this)) {
    ++other->waiters_;
    other->ended_.wait(cells_.mutex_);
    --other->waiters_;
    if (other->waiters_ == 0) other->ended_.notify_all();
  }
}

Cells::Hold::~Hold() {
  MutexLock lock(cells_.mutex_);
  if (before_ != nullptr) before_->after_ = after_;
  (after_ != nullptr ? after_->before_ : cells_.last_) = before_;
  if (waiters_ == 0) return;
  cells_.wake_ups_ += waiters_;
  ended_.notify_all();
  while (waiters_ != 0) ended_.wait(cells_.mutex_);
}

uint64_t Cells::wake_ups() const {
  MutexLock lock(mutex_);
  return wake_ups_;
}

}  // namespace karst::thin
