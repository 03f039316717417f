#include "core/refcount.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace karst {
namespace {

struct Object {
  explicit Object(int& ended_count) : ended(ended_count) {}
  ~Object() { ++ended; }
  RefCount& ref_count() { return count; }
  RefCount count;
  int& ended;
};

// CO-004.
TEST(RefCount, ADeadObjectIsNotBroughtBack) {
  RefCount count;
  EXPECT_TRUE(count.try_acquire());
  EXPECT_FALSE(count.release());
  EXPECT_TRUE(count.release());
  EXPECT_FALSE(count.try_acquire());
  EXPECT_EQ(count.value(), 0u);
}

TEST(RefCountDeath, TakingADeadObjectOrReleasingItAgainAborts) {
  RefCount count(0);
  EXPECT_DEATH(count.acquire(), "assertion failed");
  EXPECT_DEATH(static_cast<void>(count.release()), "assertion failed");
}

TEST(RefCount, AtItsCeilingItStaysAndTheObjectIsNeverFreed) {
  RefCount count(RefCount::saturated - 1);
  count.acquire();
  EXPECT_GE(count.value(), RefCount::saturated);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(count.release());
  EXPECT_GE(count.value(), RefCount::saturated);
  EXPECT_TRUE(count.try_acquire());
  EXPECT_GE(count.value(), RefCount::saturated);
}

TEST(RefCount, ASaturatedCountDoesNotWrapRoundToZero) {
  RefCount taken(~0u);
  taken.acquire();
  EXPECT_GE(taken.value(), RefCount::saturated);
  RefCount tried(~0u);
  EXPECT_TRUE(tried.try_acquire());
  EXPECT_GE(tried.value(), RefCount::saturated);
}

TEST(RefCount, ExactlyOneOfManyThreadsIsTheLast) {
  RefCount count(4);
  std::atomic<int> last = 0;
  int written = 0;  // by each while it holds a reference, in turns of its own element
  std::vector<int> elements(4);
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        for (int round = 0; round < 1000; ++round) {
          count.acquire();
          EXPECT_FALSE(count.release());
        }
        elements[i] = 1;
        if (count.release()) {
          ++last;
          for (int element : elements) written += element;  // what the others did is seen
        }
      });
  }
  EXPECT_EQ(last, 1);
  EXPECT_EQ(written, 4);
}

TEST(Ref, EndsTheObjectWithItsLastReference) {
  int ended = 0;
  {
    auto first = Ref<Object>::adopt(new Object(ended));
    Ref<Object> second = first;
    first = Ref<Object>();
    EXPECT_EQ(ended, 0);
    Ref<Object> third = std::move(second);
    EXPECT_FALSE(second);
    EXPECT_TRUE(third);
  }
  EXPECT_EQ(ended, 1);
}

#ifdef KARST_DEBUG
TEST(RefCount, ChangesCanBeLogged) {
  struct Log final : RefCount::Observer {
    void changed(const RefCount&, uint32_t before, uint32_t after) override {
      changes.emplace_back(before, after);
    }
    std::vector<std::pair<uint32_t, uint32_t>> changes;
  } log;
  RefCount count;
  count.observe(&log);
  count.acquire();
  EXPECT_FALSE(count.release());
  EXPECT_TRUE(count.release());
  EXPECT_EQ(log.changes, (std::vector<std::pair<uint32_t, uint32_t>>{{1, 2}, {2, 1}, {1, 0}}));
}
#endif

}  // namespace
}  // namespace karst
