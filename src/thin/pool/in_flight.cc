#include "thin/pool/in_flight.h"

namespace karst::thin {
namespace {

// Threads are spread over the stripes in the order in which they first come.
size_t stripe_of_thread(size_t stripes) {
  static std::atomic<size_t> next{0};
  thread_local const size_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine % stripes;
}

}  // namespace

InFlight::Pass InFlight::enter() {
  Counter& counter = sets_[current_.load() & 1][stripe_of_thread(stripes)];
  counter.inside.fetch_add(1);  // sequentially consistent: before what is looked up next
  return {*this, counter};
}

void InFlight::leave(Counter& counter) {
  const uint32_t before = counter.inside.fetch_sub(1);
  if (before == 1 && draining_.load() != 0) {
    wake_ups_.fetch_add(1, std::memory_order_relaxed);
    counter.inside.notify_all();
  }
}

void InFlight::wait_until_empty(Set& set) {
  for (Counter& counter : set)
    for (uint32_t inside = counter.inside.load(); inside != 0; inside = counter.inside.load())
      counter.inside.wait(inside);
}

void InFlight::drain() {
  MutexLock one(drain_mutex_);
  draining_.store(1);
  for (int turn = 0; turn < 2; ++turn) {
    const uint32_t old = current_.load();
    current_.store(old ^ 1);
    wait_until_empty(sets_[old & 1]);
  }
  draining_.store(0);
}

}  // namespace karst::thin
