// Shows a Progress on a terminal while work runs elsewhere: after the first second, ten times a second at
// most, and gone when it ends. On anything but a terminal it shows nothing.
#pragma once
#include <thread>

#include "core/mutex.h"
#include "core/progress.h"

namespace karst::cli {

class ProgressBar {
 public:
  explicit ProgressBar(const Progress& progress);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

 private:
  void show();
  static constexpr LockClass lock_class{"cli.progress-bar"};
  const Progress& progress_;
  Mutex mutex_{lock_class};
  CondVar ending_;
  bool ended_ GUARDED_BY(mutex_) = false;
  std::thread thread_;  // not started where there is no terminal
};

}  // namespace karst::cli
