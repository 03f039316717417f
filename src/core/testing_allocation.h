// Allocations that fail when a test says so. Replaces the program's operator new and delete, so exactly one
// test file of a program includes this.
//
//   for (int n = 0;; ++n) {
//     const FailingAllocations failing(n);  // of this thread, from the nth on, for this scope
//     …
//     if (!failing.met()) break;
//   }
#pragma once
#include <cstdlib>
#include <new>

#include "core/lock_order.h"

namespace karst::testing {

class FailingAllocations {
 public:
  explicit FailingAllocations(long after) { left_ = after; }
  ~FailingAllocations() { left_ = never; }
  FailingAllocations(const FailingAllocations&) = delete;
  FailingAllocations& operator=(const FailingAllocations&) = delete;
  bool met() const { return left_ < 0; }

  static void* allocate(size_t size, size_t alignment) noexcept {
    if (left_ != never && --left_ < 0) return nullptr;
    return alignment <= alignof(std::max_align_t)
               ? std::malloc(size == 0 ? 1 : size)
               : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  static void* allocate_or_throw(size_t size, size_t alignment) {
    void* memory = allocate(size, alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }

 private:
  const lock_order::Paused paused_;
  static constexpr long never = __LONG_MAX__;
  static inline thread_local long left_ = never;
};

}  // namespace karst::testing

// Not inlined: GCC would see free() of what new gave, and warn.
#define KARST_ALLOCATIONS karst::testing::FailingAllocations
[[gnu::noinline]] void* operator new(size_t size) { return KARST_ALLOCATIONS::allocate_or_throw(size, 1); }
[[gnu::noinline]] void* operator new[](size_t size) { return KARST_ALLOCATIONS::allocate_or_throw(size, 1); }
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  return KARST_ALLOCATIONS::allocate_or_throw(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](size_t size, std::align_val_t alignment) {
  return KARST_ALLOCATIONS::allocate_or_throw(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return KARST_ALLOCATIONS::allocate(size, 1);
}
[[gnu::noinline]] void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return KARST_ALLOCATIONS::allocate(size, 1);
}
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  return KARST_ALLOCATIONS::allocate(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](size_t size, std::align_val_t alignment,
                                       const std::nothrow_t&) noexcept {
  return KARST_ALLOCATIONS::allocate(size, static_cast<size_t>(alignment));
}
#undef KARST_ALLOCATIONS
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}
