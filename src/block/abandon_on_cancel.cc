#include "block/abandon_on_cancel.h"

namespace karst::block {

using std::chrono::milliseconds;

AbandonOnCancel::AbandonOnCancel(CancelToken token, std::initializer_list<Device*> devices)
    : token_(std::move(token)), devices_(devices), thread_([this] { watch(); }) {}

AbandonOnCancel::~AbandonOnCancel() {
  {
    MutexLock lock(mutex_);
    ended_ = true;
    ending_.notify_all();
  }
  thread_.join();
}

void AbandonOnCancel::watch() {
  MutexLock lock(mutex_);
  while (!ended_ && !token_.cancelled()) ending_.wait_for(mutex_, milliseconds(100));
  if (ended_) return;
  for (Device* device : devices_) device->abandon();
}

}  // namespace karst::block
