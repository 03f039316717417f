// Images spoiled at random, with their checksums made right again so that what is behind those is reached.
// Each must end in errors or in data: no crash, no hang, no memory without bound (BT-021, CO-007).
//
//   KARST_MUTATION_CASES  how many of each image (default 30; fewer of those with many blocks, as each case
//   reads all) KARST_MUTATION_SEED   of the first one (default 1); a case that fails prints its own
//
// One case again: KARST_MUTATION_SEED=N KARST_MUTATION_CASES=1.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "btrfs/tool/testing_mutation.h"

// Under the address sanitizer, no single allocation may be larger than this.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=512"; }

namespace karst::btrfs::testing {
namespace {

constexpr double case_seconds_max = 10;        // of processor time
constexpr double case_seconds_max_wall = 120;  // however busy the machine is
constexpr uint64_t resident_growth_max = uint64_t{512} << 20;

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

double seconds(clockid_t clock) {
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

uint64_t peak_resident() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) << 10;
}

constexpr const char* images[] = {
    "nodesize-4k",
    "levels-4k",
    "compress-lzo-4k-no-holes-off",
    "compress-zstd",
    "oldest",
    "squota",
    "raid5-raid1-4",
    "raid1c3-3",
    "mixed-bg-dup",
    "quota",
    "subvolumes",
    "snapshots-4k",
    "backrefs-4k",
    "log-data-sha256-4k",
    "log-directories",
    "log-links-4k",
    "block-group-tree",
    "replaced-device-2",
    "space-cache-v1",
    "sectorsize-64k-zlib",
};

class Mutations : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Images, Mutations, ::testing::ValuesIn(images), [](const auto& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(Mutations, EndInErrorsOrData_BT021_BT035_CO007) {
  const uint64_t first = number_from("KARST_MUTATION_SEED", 1);
  PristineImage pristine(GetParam());
  ASSERT_FALSE(pristine.blocks().empty());
  const uint64_t many_blocks = std::max<uint64_t>(1, pristine.blocks().size() / 150);
  const uint64_t cases = std::max<uint64_t>(1, number_from("KARST_MUTATION_CASES", 30) / many_blocks);
  Exerciser exerciser;
  Watch watch;
  uint64_t opened = 0, with_errors = 0;
  double slowest = 0;
  const uint64_t resident = peak_resident();
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    watch.begin(fmt::format("{}, KARST_MUTATION_SEED={} KARST_MUTATION_CASES=1", GetParam(), seed));
    Outcome outcome = exerciser.run(pristine, Mutator(pristine, seed));
    slowest = std::max(slowest, watch.end());
    opened += outcome.opened;
    with_errors += outcome.errors > 0;
    ASSERT_EQ(exerciser.cache().statistics().pinned_folios, 0u) << "seed " << seed;
  }
  EXPECT_LT(peak_resident() - resident, resident_growth_max);
  std::printf("%s: seeds %lu to %lu: %lu opened, %lu with errors; slowest %.3f s\n", GetParam(), first,
              first + cases - 1, opened, with_errors, slowest);
}

TEST(Unchanged, IsUsedWithoutErrors) {
  for (const char* name : images) {
    PristineImage pristine(name);
    Outcome outcome = Exerciser({.archive_limit = 1 << 30}).run(pristine, [](auto&) {});
    EXPECT_TRUE(outcome.opened) << name;
    EXPECT_EQ(outcome.errors, 0u) << name;
    EXPECT_GT(outcome.archive_bytes, 10240u) << name;
    EXPECT_GT(outcome.dumped, 10000u) << name;
  }
}

}  // namespace
}  // namespace karst::btrfs::testing
