// Buffers for composing and copying blocks, made when the pool is, so that I/O that needs one proceeds when
// there is no memory left (TH-028). Who finds none waits for one.
#pragma once
#include <memory>
#include <vector>

#include "core/bytes.h"
#include "core/mutex.h"

namespace karst::thin {

inline constexpr LockClass buffers_lock{"thin.buffers"};

class BlockBuffers {
 public:
  // Throws std::bad_alloc.
  BlockBuffers(size_t count, size_t size);

  class Loan {
   public:
    explicit Loan(BlockBuffers& owner) : owner_(owner), index_(owner.take()) {}
    ~Loan() { owner_.give(index_); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    MutableBytes bytes() const { return owner_.buffer(index_); }

   private:
    BlockBuffers& owner_;
    const size_t index_;
  };
  size_t size() const { return size_; }

 private:
  size_t take();
  void give(size_t index);
  MutableBytes buffer(size_t index) const { return {memory_.get() + index * size_, size_}; }

  struct Free {
    void operator()(std::byte* memory) const;
  };
  const size_t size_;
  std::unique_ptr<std::byte[], Free> memory_;  // aligned for direct I/O
  Mutex mutex_{buffers_lock};
  CondVar given_;
  std::vector<size_t> free_ GUARDED_BY(mutex_);
};

}  // namespace karst::thin
