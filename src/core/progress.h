// How far a long operation has come: counted here by the threads that do the work, shown by whoever owns
// the terminal. A worker takes a ProgressRef, which may refer to nothing and then costs a test.
#pragma once
#include <atomic>
#include <cstdint>

#include "core/mutex.h"

namespace karst {

class Progress {
 public:
  struct Snapshot {
    const char* phase;                  // "" before the first
    uint64_t phase_number;              // from 1
    uint64_t bytes, items;              // done; at most the totals once those are known
    uint64_t bytes_total, items_total;  // 0: not known
  };

  // A literal, in the present participle: "checking extents". Sets everything to zero; the threads of the
  // phase before must have ended.
  void begin_phase(const char* phase, uint64_t bytes_total = 0, uint64_t items_total = 0);
  // Totals may grow while work finds more of it.
  void add_totals(uint64_t bytes, uint64_t items);
  void add(uint64_t bytes, uint64_t items) {
    if (bytes) bytes_.fetch_add(bytes, std::memory_order_relaxed);
    if (items) items_.fetch_add(items, std::memory_order_relaxed);
  }
  Snapshot snapshot() const;

 private:
  static constexpr LockClass lock_class{"progress"};
  mutable Mutex mutex_{lock_class};
  const char* phase_ GUARDED_BY(mutex_) = "";
  uint64_t phase_number_ GUARDED_BY(mutex_) = 0;
  // Relaxed: nothing else depends on these numbers.
  std::atomic<uint64_t> bytes_total_{0}, items_total_{0};
  alignas(64) std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> items_{0};
};

class ProgressRef {
 public:
  ProgressRef() = default;
  ProgressRef(Progress& progress) : progress_(&progress) {}
  ProgressRef(Progress* progress) : progress_(progress) {}

  void begin_phase(const char* phase, uint64_t bytes_total = 0, uint64_t items_total = 0) const {
    if (progress_) progress_->begin_phase(phase, bytes_total, items_total);
  }
  void add_totals(uint64_t bytes, uint64_t items) const {
    if (progress_) progress_->add_totals(bytes, items);
  }
  void add(uint64_t bytes, uint64_t items) const {
    if (progress_) progress_->add(bytes, items);
  }

 private:
  Progress* progress_ = nullptr;
};

}  // namespace karst
