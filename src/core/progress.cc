#include "core/progress.h"

#include <algorithm>

namespace karst {

void Progress::begin_phase(const char* phase, uint64_t bytes_total, uint64_t items_total) {
  MutexLock lock(mutex_);
  phase_ = phase;
  ++phase_number_;
  bytes_.store(0, std::memory_order_relaxed);
  items_.store(0, std::memory_order_relaxed);
  bytes_total_.store(bytes_total, std::memory_order_relaxed);
  items_total_.store(items_total, std::memory_order_relaxed);
}

void Progress::add_totals(uint64_t bytes, uint64_t items) {
  bytes_total_.fetch_add(bytes, std::memory_order_relaxed);
  items_total_.fetch_add(items, std::memory_order_relaxed);
}

Progress::Snapshot Progress::snapshot() const {
  MutexLock lock(mutex_);
  Snapshot now{phase_,
               phase_number_,
               bytes_.load(std::memory_order_relaxed),
               items_.load(std::memory_order_relaxed),
               bytes_total_.load(std::memory_order_relaxed),
               items_total_.load(std::memory_order_relaxed)};
  // An estimated total may be passed; nobody wants to see 103%.
  if (now.bytes_total) now.bytes = std::min(now.bytes, now.bytes_total);
  if (now.items_total) now.items = std::min(now.items, now.items_total);
  return now;
}

}  // namespace karst
