// The lifetime count of an object that several parties hold (CO-004).
//
// A count at zero stays there: whoever finds an object in an index takes it with try_acquire(), which fails
// if the last holder has let go. A count that reaches its ceiling stays there too: the object leaks, which
// is better than being freed under somebody. Taking a reference to a dead object, or releasing more than
// was taken, aborts.
#pragma once
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/assert.h"

namespace karst {

class RefCount {
 public:
  static constexpr uint32_t saturated = 0x80000000;  // from here up: stuck

  // Told of each change, in debug builds only; from the thread that makes it, in no order between threads.
  // After a release the count is good only as an address.
  class Observer {
   public:
    virtual void changed(const RefCount& count, uint32_t before, uint32_t after) = 0;

   protected:
    ~Observer() = default;
  };

  explicit RefCount(uint32_t initial = 1) : count_(initial) {}
  RefCount(const RefCount&) = delete;
  RefCount& operator=(const RefCount&) = delete;

  // By one who has a reference already.
  void acquire() {
    uint32_t before = count_.fetch_add(1, std::memory_order_relaxed);
    VERIFY(before != 0);
    if (before >= saturated - 1) [[unlikely]]
      count_.store(stuck, std::memory_order_relaxed);
    note(before, before + 1);
  }
  // By one who has none, but knows that the memory is there. False if the object is on its way out.
  [[nodiscard]] bool try_acquire() {
    uint32_t before = count_.load(std::memory_order_relaxed);
    do {
      if (before == 0) return false;
      if (before >= saturated) return true;
    } while (!count_.compare_exchange_weak(before, before + 1, std::memory_order_acquire,
                                           std::memory_order_relaxed));
    note(before, before + 1);
    return true;
  }
  // True for the last: the caller, and nobody else, ends the object, and sees what all others did to it.
  [[nodiscard]] bool release() {
    Observer* observer = observer_or_null();  // afterwards another may end the object
    uint32_t before = count_.fetch_sub(1, std::memory_order_acq_rel);
    VERIFY(before != 0);
    if (before >= saturated) [[unlikely]] {
      count_.store(stuck, std::memory_order_relaxed);
      return false;
    }
    if (observer) observer->changed(*this, before, before - 1);
    return before == 1;
  }
  // For reports and assertions; it may have changed by the time it is read.
  uint32_t value() const { return count_.load(std::memory_order_relaxed); }

#ifdef KARST_DEBUG
  // Before others know the object.
  void observe(Observer* observer) { observer_ = observer; }
#else
  void observe(Observer*) {}
#endif

 private:
  void note(uint32_t before, uint32_t after) {
    if (Observer* observer = observer_or_null()) observer->changed(*this, before, after);
  }
  static constexpr uint32_t stuck = 0xc0000000;  // far from both ends, for racing adds and subtractions
#ifdef KARST_DEBUG
  Observer* observer_or_null() const { return observer_; }
  Observer* observer_ = nullptr;
#else
  static constexpr Observer* observer_or_null() { return nullptr; }
#endif
  std::atomic<uint32_t> count_;
};

// A reference to a T, which has a member function `RefCount& ref_count()` and is ended by delete.
template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  // Takes over a reference: of a new object its first, or what try_acquire() gave.
  static Ref adopt(T* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  Ref(const Ref& other) : object_(other.object_) {
    if (object_) object_->ref_count().acquire();
  }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ && object_->ref_count().release()) delete object_;
  }
  void reset() { *this = Ref(); }
  // A further reference, by one who has one already, of which only the object is known.
  static Ref share(T& object) {
    object.ref_count().acquire();
    return adopt(&object);
  }
  // Nothing if the object is on its way out; its memory is there.
  static Ref try_share(T& object) { return object.ref_count().try_acquire() ? adopt(&object) : Ref(); }
  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  bool operator==(const Ref&) const = default;  // the same object

 private:
  T* object_ = nullptr;
};

}  // namespace karst
