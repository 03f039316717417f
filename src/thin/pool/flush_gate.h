// Flushes of one device by many threads: those that wait while one runs are served together by the next.
// Thread-safe.
#pragma once
#include <cstdint>

#include "block/device.h"
#include "core/mutex.h"

namespace karst::thin {

inline constexpr LockClass flush_gate_lock{"thin.flush-gate"};

class FlushGate {
 public:
  explicit FlushGate(block::Device& device) : device_(device) {}

  // A flush that satisfies the ticket starts after it was taken.
  uint64_t ticket() {
    MutexLock lock(mutex_);
    return started_ + 1;
  }
  // Returns once such a flush has succeeded; does it if need be.
  Result<void> ensure(uint64_t ticket);
  Result<void> flush() { return ensure(ticket()); }

 private:
  block::Device& device_;
  Mutex mutex_{flush_gate_lock};
  CondVar ended_;
  uint64_t started_ GUARDED_BY(mutex_) = 0, completed_ GUARDED_BY(mutex_) = 0;
  bool running_ GUARDED_BY(mutex_) = false;
};

}  // namespace karst::thin
