#include "thin/pool/flush_gate.h"

#include <algorithm>

namespace karst::thin {

Result<void> FlushGate::ensure(uint64_t ticket) {
  for (;;) {
    uint64_t mine = 0;
    {
      MutexLock lock(mutex_);
      while (running_ && completed_ < ticket) ended_.wait(mutex_);
      if (completed_ >= ticket) return {};
      running_ = true;
      mine = ++started_;
    }
    auto flushed = device_.flush();
    MutexLock lock(mutex_);
    running_ = false;
    if (flushed) completed_ = std::max(completed_, mine);
    ended_.notify_all();
    if (!flushed) return flushed;
  }
}

}  // namespace karst::thin
