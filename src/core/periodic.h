// Something that is looked after now and then, in a thread of its own.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "core/mutex.h"
#include "core/result.h"

namespace karst {

class Periodic {
 public:
  // Calls it after each period, without locks, until it returns false or this ends, which waits for a call
  // that is under way: so this is not ended from within one. err::no_memory and the like if there can be no
  // thread.
  static Result<std::unique_ptr<Periodic>> start(std::chrono::nanoseconds period, std::function<bool()> each);
  ~Periodic();
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  Periodic(std::chrono::nanoseconds period, std::function<bool()> each)
      : period_(period), each_(std::move(each)) {}
  void run();
  static constexpr LockClass lock_class{"periodic"};
  const std::chrono::nanoseconds period_;
  const std::function<bool()> each_;
  Mutex mutex_{lock_class};
  CondVar ending_;
  bool ended_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace karst
