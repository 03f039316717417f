// Many cases made at random, one after the other: each with a limit of time, and named if the process ends in
// it.
#pragma once
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace karst::btrfs::testing {

inline constexpr double case_seconds_max = 10;        // of processor time
inline constexpr double case_seconds_max_wall = 120;  // however busy the machine is
inline constexpr uint64_t resident_growth_max = uint64_t{512} << 20;

inline uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

inline double seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Says which case it was when the process ends in the middle of one, and ends it when a case takes too long.
class Watch {
 public:
  Watch() {
    current = this;
    for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_signal);
    thread_ = std::thread([this] { watch(); });
  }
  ~Watch() {
    stopping_ = true;
    thread_.join();
    for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, SIG_DFL);
    current = nullptr;
  }
  void begin(const std::string& name) {
    length_ = 0;
    const size_t length = std::min(name.size(), sizeof name_ - 1);
    std::copy_n(name.begin(), length, name_);
    name_[length] = '\n';
    length_ = length + 1;
    cpu_ = seconds(CLOCK_PROCESS_CPUTIME_ID);
    wall_ = seconds(CLOCK_MONOTONIC);
    running_ = true;
  }
  double end() {
    running_ = false;
    return seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_;
  }

 private:
  static void on_signal(int signal) {
    const char text[] = "while using a spoiled image: ";
    (void)!write(2, text, sizeof text - 1);
    if (current) (void)!write(2, current->name_, current->length_);
    std::signal(signal, SIG_DFL);
    raise(signal);
  }
  void watch() {
    while (!stopping_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      if (!running_) continue;
      if (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_ < case_seconds_max &&
          seconds(CLOCK_MONOTONIC) - wall_ < case_seconds_max_wall)
        continue;
      std::fprintf(stderr, "takes too long\n");
      std::abort();
    }
  }

  static inline Watch* current = nullptr;
  char name_[512];
  std::atomic<size_t> length_ = 0;
  std::atomic<double> cpu_ = 0, wall_ = 0;
  std::atomic<bool> running_ = false, stopping_ = false;
  std::thread thread_;
};

inline uint64_t peak_resident() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) << 10;
}

}  // namespace karst::btrfs::testing
