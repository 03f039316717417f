#include "thin/tool/use_counts.h"

namespace karst::thin {

Result<std::unique_ptr<UseCounts>> UseCounts::create(uint64_t blocks) {
  auto* memory = static_cast<uint8_t*>(std::calloc(blocks == 0 ? 1 : blocks, 1));
  if (memory == nullptr)
    return Error::make(err::no_memory, "not enough memory to count the users of {} blocks", blocks);
  return std::unique_ptr<UseCounts>(new UseCounts(blocks, memory));
}

// Two threads may come in the other order than they counted; the sum is right when both have been.
void UseCounts::carry(uint64_t block, int by) {
  MutexLock lock(mutex_);
  high_[block] += by * 256;
  any_high_.store(true, std::memory_order_relaxed);
}

uint32_t UseCounts::high(uint64_t block) const {
  MutexLock lock(mutex_);
  const auto found = high_.find(block);
  return found == high_.end() ? 0 : static_cast<uint32_t>(found->second);
}

}  // namespace karst::thin
