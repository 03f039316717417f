// One T for each thread that asks: working state too costly to make anew for every task, and not to be
// shared.
#pragma once
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <utility>

#include "core/mutex.h"

namespace karst {

// Ends all its Ts with itself, when no thread uses them any more.
template <typename T>
class PerThread {
 public:
  using Make = std::function<std::unique_ptr<T>()>;
  explicit PerThread(Make make) : make_(std::move(make)) {}

  // The calling thread's own, made at its first call.
  T& get() {
    MutexLock lock(mutex_);
    auto& mine = all_[std::this_thread::get_id()];
    if (!mine) mine = make_();
    return *mine;
  }

 private:
  static constexpr LockClass lock_class{"per-thread"};
  const Make make_;
  Mutex mutex_{lock_class};
  std::unordered_map<std::thread::id, std::unique_ptr<T>> all_ GUARDED_BY(mutex_);
};

}  // namespace karst
