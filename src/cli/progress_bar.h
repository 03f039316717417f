// Shows a Progress on standard error while work runs elsewhere, from the first second on: on a terminal as a
// line that changes ten times a second at most and is gone when it ends; on anything else nothing, or where
// that is wanted a line each second.
#pragma once
#include <thread>

#include "core/mutex.h"
#include "core/progress.h"

namespace karst::cli {

class ProgressBar {
 public:
  enum class Shown { on_terminal, always };
  explicit ProgressBar(const Progress& progress, Shown shown = Shown::on_terminal);
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
  const bool terminal_;
  std::thread thread_;  // not started where nothing is shown
};

// What to print before a message, so that it does not begin behind the bar.
const char* clear_bar();

}  // namespace karst::cli
