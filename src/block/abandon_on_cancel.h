// Abandons devices when somebody asks their user to stop, who may be waiting in one of their requests.
#pragma once
#include <initializer_list>
#include <thread>
#include <vector>

#include "block/device.h"
#include "core/cancel.h"
#include "core/mutex.h"

namespace karst::block {

class AbandonOnCancel {
 public:
  // Looks at the token a few times a second, in a thread of its own; the devices outlive this.
  AbandonOnCancel(CancelToken token, std::initializer_list<Device*> devices);
  ~AbandonOnCancel();
  AbandonOnCancel(const AbandonOnCancel&) = delete;
  AbandonOnCancel& operator=(const AbandonOnCancel&) = delete;

 private:
  void watch();
  static constexpr LockClass lock_class{"block.abandon-on-cancel"};
  const CancelToken token_;
  const std::vector<Device*> devices_;
  Mutex mutex_{lock_class};
  CondVar ending_;
  bool ended_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace karst::block
