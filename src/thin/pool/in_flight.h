// Who is using what mappings pointed to: requests enter before they look a mapping up and leave when their
// I/O has ended; drain() waits for all that entered before it.
//
// Whoever takes blocks away from volumes first changes the mappings, then drains, then lets others have the
// blocks. A request that entered later has seen the change. That is the whole protection: a request holds no
// lock while its I/O runs, and entering and leaving touch a counter that few other threads use.
//
// Sleepable RCU's method: two sets of counters, of which those that enter use one; drain() turns to the other
// and waits for the first to be empty, twice, because a request may have chosen its set just before the turn.
// (McKenney: "Using RCU to protect read-mostly linked lists", LWN 202847.)
// Thread-safe. A pass may be left by another thread than entered.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "core/mutex.h"

namespace karst::thin {

inline constexpr LockClass drain_lock{"thin.drain"};

class InFlight {
  struct alignas(64) Counter {
    std::atomic<uint32_t> inside{0};
  };

 public:
  class Pass {
   public:
    Pass() = default;
    Pass(Pass&& other) noexcept : counter_(std::exchange(other.counter_, nullptr)), owner_(other.owner_) {}
    Pass& operator=(Pass other) noexcept {
      std::swap(counter_, other.counter_);
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~Pass() { leave(); }
    void leave() {
      if (Counter* counter = std::exchange(counter_, nullptr)) owner_->leave(*counter);
    }
    explicit operator bool() const { return counter_ != nullptr; }
    // The pass as a word, to be made one again by adopt().
    void* release() { return std::exchange(counter_, nullptr); }

   private:
    friend class InFlight;
    Pass(InFlight& owner, Counter& counter) : counter_(&counter), owner_(&owner) {}
    Counter* counter_ = nullptr;
    InFlight* owner_ = nullptr;
  };

  [[nodiscard]] Pass enter();
  Pass adopt(void* released) { return {*this, *static_cast<Counter*>(released)}; }
  // The caller is not inside itself.
  void drain();
  // Threads that drain() had to be woken by, since the start: none while nobody drains (TH-052).
  uint64_t wake_ups() const { return wake_ups_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t stripes = 16;
  using Set = std::array<Counter, stripes>;
  void leave(Counter& counter);
  void wait_until_empty(Set& set);

  std::array<Set, 2> sets_;
  std::atomic<uint32_t> current_{0};
  std::atomic<uint32_t> draining_{0};
  std::atomic<uint64_t> wake_ups_{0};  // statistics
  Mutex drain_mutex_{drain_lock};      // one at a time
};

}  // namespace karst::thin
