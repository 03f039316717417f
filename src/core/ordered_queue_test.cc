#include "core/ordered_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <random>

namespace karst {
namespace {

using Queue = OrderedQueue<int>;

std::unique_ptr<WorkerPool> make_pool(unsigned threads) {
  return std::move(WorkerPool::create({.name = "test", .threads = threads})).value();
}
std::vector<int> drain(Queue& queue) {
  std::vector<int> values;
  for (;;) {
    auto next = queue.next();
    EXPECT_TRUE(next) << next.error().message();
    if (!next || !next->has_value()) return values;
    values.push_back(**next);
  }
}

// BT-110.
TEST(OrderedQueue, ResultsComeInTheOrderOfSubmissionWhateverEndsFirst) {
  auto pool = make_pool(3);
  Queue queue(*pool, {.items = 8});
  std::jthread producer([&] {
    std::mt19937 random(1);
    for (int i = 0; i < 500; ++i)
      EXPECT_TRUE(queue.submit(1, [i, spin = random() % 200]() -> Result<int> {
        for (unsigned turn = 0; turn < spin; ++turn) std::this_thread::yield();
        return i;
      }));
    queue.finish();
  });
  auto values = drain(queue);
  ASSERT_EQ(values.size(), 500u);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], i);
}

TEST(OrderedQueue, ALaterItemThatIsDoneWaitsForAnEarlierOne) {
  auto pool = make_pool(2);
  Queue queue(*pool, {});
  std::latch second_done(1), first_begun(1);
  ASSERT_TRUE(queue.submit(1, [&]() -> Result<int> {
    first_begun.count_down();
    second_done.wait();
    return 1;
  }));
  first_begun.wait();
  ASSERT_TRUE(queue.submit(1, [&]() -> Result<int> {
    second_done.count_down();
    return 2;
  }));
  queue.finish();
  EXPECT_THAT(drain(queue), testing::ElementsAre(1, 2));
}

TEST(OrderedQueue, HoldsNoMoreItemsThanItsLimit) {
  auto pool = make_pool(1);
  Queue queue(*pool, {.items = 2});
  auto one = []() -> Result<int> { return 1; };
  ASSERT_TRUE(queue.submit(1, one));
  EXPECT_TRUE(queue.has_room(1));
  ASSERT_TRUE(queue.submit(1, one));
  EXPECT_FALSE(queue.has_room(1));  // done or not: they count until they are taken out
  ASSERT_TRUE(queue.next());
  EXPECT_TRUE(queue.has_room(1));
}

TEST(OrderedQueue, HoldsNoMoreWeightThanItsLimitButOneItemOfAnyWeight) {
  auto pool = make_pool(1);
  Queue queue(*pool, {.items = 100, .weight = 1000});
  auto one = []() -> Result<int> { return 1; };
  EXPECT_TRUE(queue.has_room(5000));
  ASSERT_TRUE(queue.submit(5000, one));
  EXPECT_FALSE(queue.has_room(0));
  ASSERT_TRUE(queue.next());
  ASSERT_TRUE(queue.submit(600, one));
  EXPECT_TRUE(queue.has_room(400));
  EXPECT_FALSE(queue.has_room(401));
  EXPECT_FALSE(queue.has_room(~0ull));
}

TEST(OrderedQueue, AProducerWaitsForRoomAndGoesOn) {
  auto pool = make_pool(2);
  Queue queue(*pool, {.items = 1});
  std::atomic<int> submitted = 0;
  std::jthread producer([&] {
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(queue.submit(1, [i]() -> Result<int> { return i; }));
      ++submitted;
    }
    queue.finish();
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_LE(submitted, i + 1);
    auto next = queue.next();
    ASSERT_TRUE(next);
    EXPECT_EQ(*next, std::optional(i));
  }
}

TEST(OrderedQueue, TheErrorOfAnItemComesInItsPlace) {
  auto pool = make_pool(2);
  Queue queue(*pool, {});
  ASSERT_TRUE(queue.submit(1, []() -> Result<int> { return 1; }));
  ASSERT_TRUE(queue.submit(1, []() -> Result<int> { return Error(err::io, "bad"); }));
  ASSERT_TRUE(queue.submit(1, []() -> Result<int> { throw std::bad_alloc(); }));
  ASSERT_TRUE(queue.submit(1, []() -> Result<int> { return 4; }));
  queue.finish();
  EXPECT_EQ(queue.next().value(), std::optional(1));
  EXPECT_TRUE(queue.next().error().is(err::io));
  EXPECT_TRUE(queue.next().error().is(err::no_memory));
  EXPECT_EQ(queue.next().value(), std::optional(4));
  EXPECT_EQ(queue.next().value(), std::nullopt);
}

TEST(OrderedQueue, TheProducersErrorComesAfterItsItems) {
  auto pool = make_pool(1);
  Queue queue(*pool, {});
  ASSERT_TRUE(queue.submit(1, []() -> Result<int> { return 1; }));
  queue.finish(Error(err::io, "source ended"));
  EXPECT_EQ(queue.next().value(), std::optional(1));
  EXPECT_EQ(queue.next().error().what(), "source ended");
}

TEST(OrderedQueue, AConsumerThatStopsReleasesAProducerThatWaits) {
  auto pool = make_pool(1);
  Queue queue(*pool, {.items = 1});
  std::atomic<bool> refused = false;
  std::jthread producer([&] {
    for (;;)
      if (auto result = queue.submit(1, []() -> Result<int> { return 1; }); !result) {
        refused = result.error().is(err::cancelled);
        return;
      }
  });
  ASSERT_TRUE(queue.next());
  queue.close();
  producer.join();
  EXPECT_TRUE(refused);
  EXPECT_TRUE(queue.next().error().is(err::cancelled));
}

TEST(OrderedQueue, EndsInAnyState) {
  auto pool = make_pool(2);
  for (int items : {0, 1, 5})
    for (int taken : {0, 1})
      for (bool finished : {false, true}) {
        auto kept = std::make_shared<int>(0);
        {
          Queue queue(*pool, {});
          for (int i = 0; i < items; ++i)
            ASSERT_TRUE(queue.submit(1, [kept]() -> Result<int> { return *kept; }));
          if (finished) queue.finish();
          if (taken && items) {
            ASSERT_TRUE(queue.next());
          }
        }
        EXPECT_EQ(kept.use_count(), 1);
      }
}

TEST(OrderedQueue, OnceCancelledItemsGiveThatAndTheirWorkIsNotBegun) {
  auto pool = make_pool(1);
  CancelSource cancel;
  Queue queue(*pool, {}, {.cancel = cancel.token()});
  cancel.cancel();
  ASSERT_TRUE(queue.submit(1, []() -> Result<int> {
    ADD_FAILURE();
    return 1;
  }));
  queue.finish();
  EXPECT_TRUE(queue.next().error().is(err::cancelled));
  EXPECT_EQ(queue.next().value(), std::nullopt);
}

// CO-019: the only thread of the pool is the one that consumes.
TEST(OrderedQueue, AConsumerOnTheOnlyThreadOfThePoolDoesTheWorkItself) {
  auto pool = make_pool(1);
  TaskGroup group(*pool);
  std::vector<int> values;
  std::latch done(1);
  group.run([&]() -> Result<void> {
    Queue queue(*pool, {.items = 2});
    for (int i = 0; i < 10; ++i) {
      while (!queue.has_room(1)) values.push_back(TRY(queue.next()).value());
      TRY(queue.submit(1, [i]() -> Result<int> { return i; }));
    }
    queue.finish();
    while (auto value = TRY(queue.next())) values.push_back(*value);
    done.count_down();
    return {};
  });
  done.wait();  // without helping
  EXPECT_TRUE(group.wait());
  EXPECT_THAT(values, testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

// What is given to a busy pool is bounded as the items are, however many the consumer does itself.
TEST(OrderedQueue, ABusyPoolGathersNoTasks) {
  auto pool = make_pool(1);
  std::atomic<bool> busy{false}, go_on{false};
  TaskGroup other(*pool);
  other.run([&]() -> Result<void> {
    busy.store(true), busy.notify_all();
    go_on.wait(false);
    return {};
  });
  busy.wait(false);
  Queue queue(*pool, {.items = 4});
  size_t most = 0;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(queue.submit(1, [i]() -> Result<int> { return i; }));
    EXPECT_EQ(queue.next().value(), i);
    most = std::max(most, pool->status().waiting);
  }
  go_on.store(true), go_on.notify_all();
  EXPECT_LE(most, 4u);
}

}  // namespace
}  // namespace karst
