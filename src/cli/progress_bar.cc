#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "cli/output.h"

namespace karst::cli {

ProgressBar::ProgressBar(const Progress& progress, Shown shown)
    : progress_(progress), terminal_(isatty(STDERR_FILENO) != 0) {
  if (terminal_ || shown == Shown::always) thread_ = std::thread([this] { show(); });
}

ProgressBar::~ProgressBar() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    ended_ = true;
    ending_.notify_all();
  }
  thread_.join();
}

void ProgressBar::show() {
  using namespace std::chrono_literals;
  const auto started = std::chrono::steady_clock::now();
  bool shown = false;
  MutexLock lock(mutex_);
  for (auto wait = 1000ms; !ended_; wait = terminal_ ? 100ms : 1000ms) {
    ending_.wait_for(mutex_, wait);
    if (ended_) break;
    auto now = progress_.snapshot();
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    std::string line = fmt::format("{}: {}", now.phase, size_text(now.bytes));
    if (now.bytes_total)
      line += fmt::format(" of {} ({}%)", size_text(now.bytes_total), now.bytes * 100 / now.bytes_total);
    if (now.items) line += fmt::format(", {} entries", now.items);
    line += fmt::format(", {}/s", size_text(static_cast<uint64_t>(static_cast<double>(now.bytes) / seconds)));
    fmt::print(stderr, "{}{}{}", terminal_ ? "\r" : "", line, terminal_ ? "\x1b[K" : "\n");
    fflush(stderr);
    shown = true;
  }
  if (shown) fputs(clear_bar(), stderr);
}

const char* clear_bar() {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  return terminal ? "\r\x1b[K" : "";
}

}  // namespace karst::cli
