#include "core/progress.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace karst {
namespace {

TEST(Progress, CountsWhatManyThreadsAdd) {
  Progress progress;
  progress.begin_phase("checking extents", 4000 * 16, 4000);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 1000; ++round) {
          ProgressRef(progress).add(16, 1);
          EXPECT_LE(progress.snapshot().items, 4000u);
        }
      });
  }
  auto now = progress.snapshot();
  EXPECT_STREQ(now.phase, "checking extents");
  EXPECT_EQ(now.bytes, 64000u);
  EXPECT_EQ(now.items, 4000u);
}

TEST(Progress, APhaseStartsFromZero) {
  Progress progress;
  EXPECT_STREQ(progress.snapshot().phase, "");
  progress.begin_phase("first", 10);
  progress.add(10, 1);
  progress.begin_phase("second");
  auto now = progress.snapshot();
  EXPECT_EQ(now.phase_number, 2u);
  EXPECT_EQ(now.bytes, 0u);
  EXPECT_EQ(now.items, 0u);
  EXPECT_EQ(now.bytes_total, 0u);
}

TEST(Progress, TotalsMayGrowAndAreNeverPassed) {
  Progress progress;
  progress.begin_phase("scanning", 100);
  progress.add(150, 7);
  EXPECT_EQ(progress.snapshot().bytes, 100u);
  EXPECT_EQ(progress.snapshot().items, 7u);  // total not known
  progress.add_totals(100, 0);
  EXPECT_EQ(progress.snapshot().bytes, 150u);
}

TEST(Progress, AReferenceToNothingDoesNothing) {
  ProgressRef none;
  none.begin_phase("x");
  none.add(1, 1);
  none.add_totals(1, 1);
}

}  // namespace
}  // namespace karst
