#include "thin/pool/block_buffers.h"

#include <cstdlib>
#include <new>

namespace karst::thin {

void BlockBuffers::Free::operator()(std::byte* memory) const { std::free(memory); }

BlockBuffers::BlockBuffers(size_t count, size_t size)
    : size_(size), memory_(static_cast<std::byte*>(std::aligned_alloc(4096, count * size))) {
  if (!memory_) throw std::bad_alloc();
  free_.reserve(count);
  for (size_t i = 0; i < count; ++i) free_.push_back(i);
}

size_t BlockBuffers::take() {
  MutexLock lock(mutex_);
  while (free_.empty()) given_.wait(mutex_);
  const size_t index = free_.back();
  free_.pop_back();
  return index;
}

void BlockBuffers::give(size_t index) {
  MutexLock lock(mutex_);
  free_.push_back(index);
  given_.notify_one();
}

}  // namespace karst::thin
