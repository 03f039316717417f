#include "core/periodic.h"

#include "core/without_throwing.h"

namespace karst {

Result<std::unique_ptr<Periodic>> Periodic::start(std::chrono::nanoseconds period,
                                                  std::function<bool()> each) {
  std::unique_ptr<Periodic> made(new Periodic(period, std::move(each)));
  TRY(without_throwing([&]() -> Result<void> {
    made->thread_ = std::thread([periodic = made.get()] { periodic->run(); });
    return {};
  }));
  return made;
}

Periodic::~Periodic() {
  {
    MutexLock lock(mutex_);
    ended_ = true;
    ending_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Periodic::run() {
  do {
    MutexLock lock(mutex_);
    if (!ended_) ending_.wait_for(mutex_, period_);
    if (ended_) return;
  } while (each_());
}

}  // namespace karst
