// How often each block of a device is used, counted by many threads at once: a byte for each block, and a
// table of what goes beyond.
//
// Memory: one byte for each block from the first to the last that is used, in pages. The table has an entry
// for each block with 256 users or more.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <unordered_map>

#include "core/mutex.h"
#include "core/result.h"

namespace karst::thin {

class UseCounts {
 public:
  // err::no_memory.
  static Result<std::unique_ptr<UseCounts>> create(uint64_t blocks);

  uint64_t blocks() const { return blocks_; }
  // A user more; the block is one of the device's. Thread-safe.
  void add(uint64_t block) {
    if (std::atomic_ref(low_[block]).fetch_add(1, std::memory_order_relaxed) == 0xff) [[unlikely]]
      carry(block, +1);
  }
  // One less, of a block that has one.
  void remove(uint64_t block) {
    if (std::atomic_ref(low_[block]).fetch_sub(1, std::memory_order_relaxed) == 0) [[unlikely]]
      carry(block, -1);
  }
  // While nobody changes them.
  uint32_t count(uint64_t block) const {
    const uint32_t low = low_[block];
    return any_high_.load(std::memory_order_relaxed) ? low + high(block) : low;
  }

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  UseCounts(uint64_t blocks, uint8_t* memory) : blocks_(blocks), memory_(memory), low_(memory) {}
  void carry(uint64_t block, int by);
  uint32_t high(uint64_t block) const;

  const uint64_t blocks_;
  const std::unique_ptr<uint8_t, Free> memory_;
  uint8_t* const low_;  // of memory_: counts modulo 256
  static constexpr LockClass lock_class{"thin.use-counts"};
  mutable Mutex mutex_{lock_class};
  std::unordered_map<uint64_t, int64_t> high_ GUARDED_BY(mutex_);  // multiples of 256
  std::atomic<bool> any_high_{false};
};

}  // namespace karst::thin
