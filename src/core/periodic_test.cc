#include "core/periodic.h"

#include <gtest/gtest.h>

#include <atomic>

namespace karst {
namespace {

using std::chrono::milliseconds;

TEST(Periodic, CallsUntilItIsToldToStop) {
  std::atomic<int> calls{0};
  auto periodic = Periodic::start(milliseconds(1), [&] { return ++calls < 3; }).value();
  while (calls < 3) std::this_thread::yield();
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(calls, 3);
}

TEST(Periodic, EndsAtOnceHoweverLongThePeriod) {
  std::atomic<int> calls{0};
  const auto begin = std::chrono::steady_clock::now();
  Periodic::start(std::chrono::hours(1), [&] { return ++calls > 0; }).value().reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  EXPECT_EQ(calls, 0);
}

TEST(Periodic, WaitsForACallThatIsUnderWay) {
  std::atomic<bool> inside{false}, ended{false};
  auto periodic = Periodic::start(milliseconds(1), [&] {
                    inside = true;
                    std::this_thread::sleep_for(milliseconds(50));
                    ended = true;
                    return true;
                  }).value();
  while (!inside) std::this_thread::yield();
  periodic.reset();
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace karst
