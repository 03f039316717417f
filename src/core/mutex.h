// Locks with a class, checked twice: by Clang's thread-safety analysis when compiling, and by the lock-order
// validator when a debug build runs. In release a Mutex is a std::mutex and nothing else.
//
//   inline constexpr LockClass pool_lock{"thin.pool"};
//   Mutex mutex_{pool_lock};
//   Mappings mappings_ GUARDED_BY(mutex_);
//   …
//   MutexLock lock(mutex_);
//
// Do not unlock in the middle of a scope: end it, do the slow thing, lock again and check again.
#pragma once
#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <type_traits>
#include <utility>

#include "core/lock_order.h"
#include "core/thread_annotations.h"

namespace karst {

class CAPABILITY("mutex") Mutex {
 public:
  using Site = lock_order::Site;
  explicit Mutex(const LockClass& lock_class) : tag_(lock_class) {}
  ~Mutex() { tag_.destroyed(this); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock(LockLevel level = {}, Site site = Site::here()) ACQUIRE() {
    tag_.before(this, level, site);
    native_.lock();
    tag_.taken(this, level, lock_order::Mode::exclusive, site);
  }
  [[nodiscard]] bool try_lock(LockLevel level = {}, Site site = Site::here()) TRY_ACQUIRE(true) {
    tag_.before_try(this, site);
    if (!native_.try_lock()) return false;
    tag_.taken(this, level, lock_order::Mode::exclusive, site);
    return true;
  }
  void unlock() RELEASE() {
    tag_.released(this);
    native_.unlock();
  }
  // In debug builds, reports if this thread does not have the lock (CO-003).
  void assert_held(Site site = Site::here()) const ASSERT_CAPABILITY(this) {
    tag_.assert_held(this, true, site);
  }

 private:
  friend class CondVar;
  std::mutex native_;
  [[no_unique_address]] lock_order::Tag tag_;
};
static_assert(lock_order::enabled || sizeof(Mutex) == sizeof(std::mutex));

// One writer or many readers. Prefers a waiting writer to new readers, so a thread that reads must not start
// to read again (UF-003); debug builds report it.
class CAPABILITY("shared mutex") SharedMutex {
 public:
  using Site = lock_order::Site;
  explicit SharedMutex(const LockClass& lock_class) : tag_(lock_class) {}
  ~SharedMutex() {
    tag_.destroyed(this);
    pthread_rwlock_destroy(&native_);
  }
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock(LockLevel level = {}, Site site = Site::here()) ACQUIRE() {
    tag_.before(this, level, site);
    lock_native(lock_order::Mode::exclusive);
    tag_.taken(this, level, lock_order::Mode::exclusive, site);
  }
  void lock_shared(LockLevel level = {}, Site site = Site::here()) ACQUIRE_SHARED() {
    tag_.before(this, level, site);
    lock_native(lock_order::Mode::shared);
    tag_.taken(this, level, lock_order::Mode::shared, site);
  }
  [[nodiscard]] bool try_lock(LockLevel level = {}, Site site = Site::here()) TRY_ACQUIRE(true) {
    tag_.before_try(this, site);
    if (pthread_rwlock_trywrlock(&native_) != 0) return false;
    tag_.taken(this, level, lock_order::Mode::exclusive, site);
    return true;
  }
  [[nodiscard]] bool try_lock_shared(LockLevel level = {}, Site site = Site::here())
      TRY_ACQUIRE_SHARED(true) {
    tag_.before_try(this, site);
    if (pthread_rwlock_tryrdlock(&native_) != 0) return false;
    tag_.taken(this, level, lock_order::Mode::shared, site);
    return true;
  }
  void unlock() RELEASE() { unlock_either(); }
  void unlock_shared() RELEASE_SHARED() { unlock_either(); }
  // In debug builds, report if this thread does not have the lock: for writing; for reading or writing.
  void assert_held(Site site = Site::here()) const ASSERT_CAPABILITY(this) {
    tag_.assert_held(this, true, site);
  }
  void assert_held_shared(Site site = Site::here()) const ASSERT_SHARED_CAPABILITY(this) {
    tag_.assert_held(this, false, site);
  }

 private:
  void lock_native(lock_order::Mode mode);
  void unlock_either() {
    tag_.released(this);
    pthread_rwlock_unlock(&native_);
  }
  pthread_rwlock_t native_ = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
  [[no_unique_address]] lock_order::Tag tag_;
};
static_assert(lock_order::enabled || sizeof(SharedMutex) == sizeof(pthread_rwlock_t));

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex, lock_order::Site site = lock_order::Site::here()) ACQUIRE(mutex)
      : MutexLock(mutex, LockLevel{}, site) {}
  MutexLock(Mutex& mutex, LockLevel level, lock_order::Site site = lock_order::Site::here()) ACQUIRE(mutex)
      : mutex_(mutex) {
    mutex_.lock(level, site);
  }
  // Takes over what try_lock() took.
  MutexLock(Mutex& mutex, std::adopt_lock_t) REQUIRES(mutex) : mutex_(mutex) {}
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class SCOPED_CAPABILITY ExclusiveLock {
 public:
  explicit ExclusiveLock(SharedMutex& mutex, lock_order::Site site = lock_order::Site::here()) ACQUIRE(mutex)
      : ExclusiveLock(mutex, LockLevel{}, site) {}
  ExclusiveLock(SharedMutex& mutex, LockLevel level, lock_order::Site site = lock_order::Site::here())
      ACQUIRE(mutex)
      : mutex_(mutex) {
    mutex_.lock(level, site);
  }
  ExclusiveLock(SharedMutex& mutex, std::adopt_lock_t) REQUIRES(mutex) : mutex_(mutex) {}
  ~ExclusiveLock() RELEASE() { mutex_.unlock(); }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class SCOPED_CAPABILITY SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex, lock_order::Site site = lock_order::Site::here())
      ACQUIRE_SHARED(mutex)
      : SharedLock(mutex, LockLevel{}, site) {}
  SharedLock(SharedMutex& mutex, LockLevel level, lock_order::Site site = lock_order::Site::here())
      ACQUIRE_SHARED(mutex)
      : mutex_(mutex) {
    mutex_.lock_shared(level, site);
  }
  SharedLock(SharedMutex& mutex, std::adopt_lock_t) REQUIRES_SHARED(mutex) : mutex_(mutex) {}
  ~SharedLock() RELEASE_GENERIC() { mutex_.unlock_shared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// Waiting releases the mutex and takes it again; wake-ups may be spurious, so wait in a loop:
//   while (!ready_) ready_changed_.wait(mutex_);
class CondVar {
 public:
  using Site = lock_order::Site;
  void wait(Mutex& mutex, Site site = Site::here()) REQUIRES(mutex) {
    waiting(mutex, site, [&](auto& native) { condition_.wait(native); });
  }
  // False if the time came first. Monotonic time.
  bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point when, Site site = Site::here())
      REQUIRES(mutex) {
    bool in_time = false;
    waiting(mutex, site, [&](auto& native) {
      in_time = condition_.wait_until(native, when) == std::cv_status::no_timeout;
    });
    return in_time;
  }
  bool wait_for(Mutex& mutex, std::chrono::nanoseconds time, Site site = Site::here()) REQUIRES(mutex) {
    return wait_until(mutex, std::chrono::steady_clock::now() + time, site);
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  template <typename F>
  void waiting(Mutex& mutex, Site site, F&& wait) {
    LockLevel level = mutex.tag_.wait_begins(&mutex, site);
    std::unique_lock native(mutex.native_, std::adopt_lock);
    wait(native);
    native.release();
    mutex.tag_.wait_ended(&mutex, level, site);
  }
  std::condition_variable condition_;
};

// A value that can be reached only with its lock held: guarded.with([&](auto& value) { … }). What is
// returned must not refer into the value; references are refused.
template <typename T>
class Guarded {
 public:
  template <typename... Args>
  explicit Guarded(const LockClass& lock_class, Args&&... args)
      : mutex_(lock_class), value_(std::forward<Args>(args)...) {}

  template <typename F>
  auto with(F&& function, lock_order::Site site = lock_order::Site::here()) {
    static_assert(!std::is_reference_v<std::invoke_result_t<F, T&>>, "would escape the lock");
    MutexLock lock(mutex_, site);
    return std::forward<F>(function)(value_);
  }
  template <typename F>
  auto with(F&& function, lock_order::Site site = lock_order::Site::here()) const {
    static_assert(!std::is_reference_v<std::invoke_result_t<F, const T&>>, "would escape the lock");
    MutexLock lock(mutex_, site);
    return std::forward<F>(function)(std::as_const(value_));
  }

 private:
  mutable Mutex mutex_;
  T value_ GUARDED_BY(mutex_);
};

}  // namespace karst
