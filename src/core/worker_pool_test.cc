#include "core/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <new>
#include <set>

namespace karst {
namespace {

std::unique_ptr<WorkerPool> make_pool(unsigned threads, unsigned threshold = 1) {
  return std::move(WorkerPool::create({.name = "test", .threads = threads, .threshold = threshold})).value();
}
Error boom(int number) { return Error::make(err::io, "task {} failed", number); }

TEST(WorkerPool, RunsEveryTaskOnce) {
  auto pool = make_pool(3);
  TaskGroup group(*pool);
  std::vector<std::atomic<int>> runs(1000);
  for (auto& count : runs)
    group.run([&count]() -> Result<void> {
      ++count;
      return {};
    });
  EXPECT_TRUE(group.wait());
  for (auto& count : runs) EXPECT_EQ(count, 1);
}

TEST(WorkerPool, ThreadsAreMadeAtCreationAndNamed) {
  auto pool = make_pool(2);
  EXPECT_EQ(pool->thread_count(), 2u);
  Guarded<std::set<std::string>> names(pool_task_class);
  std::latch both(2);
  TaskGroup outer(*pool);
  // Two tasks that wait for each other run on two threads; this thread does not help before wait().
  std::latch done(2);
  for (int i = 0; i < 2; ++i)
    outer.run([&]() -> Result<void> {
      both.arrive_and_wait();
      char name[16];
      pthread_getname_np(pthread_self(), name, sizeof name);
      names.with([&](auto& set) { set.insert(name); });
      done.count_down();
      return {};
    });
  done.wait();
  EXPECT_TRUE(outer.wait());
  EXPECT_THAT(names.with([](auto& set) { return set; }), testing::ElementsAre("test-0", "test-1"));
}

TEST(WorkerPool, TheFirstErrorIsKeptAndWhatHasNotBegunIsDropped) {
  auto pool = make_pool(1);
  TaskGroup group(*pool);
  std::atomic<int> ran = 0;
  std::latch begun(1), go(1);
  group.run([&]() -> Result<void> {
    begun.count_down();
    go.wait();
    return boom(0);
  });
  begun.wait();
  for (int i = 1; i < 100; ++i)
    group.run([&ran, i]() -> Result<void> {
      ++ran;
      return boom(i);
    });
  EXPECT_FALSE(group.token().cancelled());
  go.count_down();
  while (!group.token().cancelled()) std::this_thread::yield();
  auto result = group.wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().what(), "task 0 failed");
  EXPECT_EQ(ran, 0);
  EXPECT_FALSE(group.wait());  // kept
}

TEST(WorkerPool, WithoutCancelOnErrorTheOthersAreDone) {
  auto pool = make_pool(2);
  TaskGroup group(*pool, {.cancel_on_error = false});
  std::atomic<int> ran = 0;
  for (int i = 0; i < 100; ++i)
    group.run([&ran, i]() -> Result<void> {
      ++ran;
      if (i == 10) return boom(i);
      return {};
    });
  EXPECT_EQ(group.wait().error().what(), "task 10 failed");
  EXPECT_EQ(ran, 100);
}

TEST(WorkerPool, CancellingTheWholeCancelsTheGroupAndItsTasksSeeIt) {
  auto pool = make_pool(2);
  CancelSource whole;
  TaskGroup group(*pool, {.cancel = whole.token()});
  std::latch begun(1);
  group.run([&]() -> Result<void> {
    begun.count_down();
    while (!group.token().cancelled()) std::this_thread::yield();
    return group.token().check();
  });
  begun.wait();
  whole.cancel();
  EXPECT_TRUE(group.wait().error().is(err::cancelled));
}

TEST(WorkerPool, CancellingAGroupLeavesTheWholeAlone) {
  auto pool = make_pool(1);
  CancelSource whole;
  TaskGroup group(*pool, {.cancel = whole.token()});
  group.cancel();
  group.run([]() -> Result<void> { return {}; });
  EXPECT_TRUE(group.wait().error().is(err::cancelled));
  EXPECT_FALSE(whole.cancelled());
}

TEST(WorkerPool, NoMemoryInATaskIsAnErrorOfTheGroup) {
  auto pool = make_pool(1);
  TaskGroup group(*pool);
  group.run([]() -> Result<void> { throw std::bad_alloc(); });
  EXPECT_TRUE(group.wait().error().is(err::no_memory));
}

TEST(WorkerPool, AnyOtherExceptionIsAnErrorToo) {
  auto pool = make_pool(1);
  TaskGroup group(*pool);
  group.run([]() -> Result<void> { throw std::length_error("too long"); });
  auto result = group.wait();
  EXPECT_TRUE(result.error().is(err::task_exception));
  EXPECT_THAT(result.error().what(), testing::HasSubstr("too long"));
  TaskGroup other(*pool);  // the pool lives
  other.run([]() -> Result<void> { return {}; });
  EXPECT_TRUE(other.wait());
}

// CO-019: each task waits for tasks of its own, deeper than the pool has threads.
Result<int> count_leaves(WorkerPool& pool, int depth) {
  if (depth == 0) return 1;
  TaskGroup group(pool);
  std::atomic<int> sum = 0;
  for (int i = 0; i < 2; ++i)
    group.run([&]() -> Result<void> {
      sum += TRY(count_leaves(pool, depth - 1));
      return {};
    });
  TRY(group.wait());
  return sum.load();
}

TEST(WorkerPool, TasksMayWaitForTasksOnTheSamePoolHoweverSmall) {
  for (unsigned threads : {1u, 2u}) EXPECT_EQ(count_leaves(*make_pool(threads), 8).value(), 256);
}

TEST(WorkerPool, ATaskMayAddTasksToItsOwnGroup) {
  auto pool = make_pool(2);
  TaskGroup group(*pool);
  std::atomic<int> ran = 0;
  std::function<void(int)> spread = [&](int depth) {
    group.run([&, depth]() -> Result<void> {
      ++ran;
      if (depth > 0) {
        spread(depth - 1);
        spread(depth - 1);
      }
      return {};
    });
  };
  spread(7);
  EXPECT_TRUE(group.wait());
  EXPECT_EQ(ran, 255);
}

TEST(WorkerPool, AGroupThatEndsWithoutWaitingDropsWhatHasNotBegun) {
  auto pool = make_pool(1);
  std::latch go(1), begun(1);
  std::atomic<int> ran = 0;
  auto kept = std::make_shared<int>(1);
  std::jthread opener;
  {
    TaskGroup group(*pool);
    group.run([&]() -> Result<void> {
      begun.count_down();
      go.wait();
      return {};
    });
    begun.wait();
    for (int i = 0; i < 10; ++i)
      group.run([&ran, kept]() -> Result<void> {
        ++ran;
        return {};
      });
    group.cancel();
    opener = std::jthread([&] { go.count_down(); });
  }
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(kept.use_count(), 1);  // and what they held is gone
}

TEST(WorkerPool, NoMoreTasksOfAGroupRunAtOnceThanItAllows) {
  auto pool = make_pool(4);
  TaskGroup group(*pool, {.max_parallel = 2});
  std::atomic<int> now = 0, most = 0;
  for (int i = 0; i < 200; ++i)
    group.run([&]() -> Result<void> {
      int running = ++now;
      int seen = most;
      while (running > seen && !most.compare_exchange_weak(seen, running)) {
      }
      std::this_thread::yield();
      --now;
      return {};
    });
  EXPECT_TRUE(group.wait());
  EXPECT_LE(most, 2);
  EXPECT_GE(most, 1);
}

TEST(WorkerPool, AGroupWithALimitIsServedToItsEndThoughNobodyHelps) {
  auto pool = make_pool(2);
  std::latch all(5);
  TaskGroup group(*pool, {.max_parallel = 1});
  for (int i = 0; i < 5; ++i)
    group.run([&]() -> Result<void> {
      all.count_down();
      return {};
    });
  all.wait();
  EXPECT_TRUE(group.wait());
}

// BT-110.
TEST(WorkerPool, HighPriorityGroupsGoFirst) {
  auto pool = make_pool(1);
  std::latch begun(1), go(1);
  TaskGroup blocker(*pool);
  blocker.run([&]() -> Result<void> {
    begun.count_down();
    go.wait();
    return {};
  });
  begun.wait();
  Guarded<std::string> order(pool_task_class);
  std::latch all(6);
  TaskGroup normal(*pool), high(*pool, {.priority = TaskGroup::Priority::high});
  auto add = [&](TaskGroup& group, char name) {
    group.run([&, name]() -> Result<void> {
      order.with([&](auto& text) { text += name; });
      all.count_down();
      return {};
    });
  };
  for (int i = 0; i < 3; ++i) add(normal, 'n');
  for (int i = 0; i < 3; ++i) add(high, 'h');
  go.count_down();
  all.wait();
  EXPECT_EQ(order.with([](auto& text) { return text; }), "hhhnnn");
}

TEST(WorkerPool, GroupsOfOnePriorityTakeTurns) {
  auto pool = make_pool(1);
  std::latch begun(1), go(1);
  TaskGroup blocker(*pool);
  blocker.run([&]() -> Result<void> {
    begun.count_down();
    go.wait();
    return {};
  });
  begun.wait();
  Guarded<std::string> order(pool_task_class);
  std::latch all(6);
  TaskGroup first(*pool), second(*pool);
  for (auto [group, name] : {std::pair{&first, 'a'}, std::pair{&second, 'b'}})
    for (int i = 0; i < 3; ++i)
      group->run([&, name = name]() -> Result<void> {
        order.with([&](auto& text) { text += name; });
        all.count_down();
        return {};
      });
  go.count_down();
  all.wait();
  EXPECT_EQ(order.with([](auto& text) { return text; }), "ababab");
}

// BT-110: with a threshold of 4, four tasks are one thread's work and the fifth wakes a second.
TEST(WorkerPool, TheThresholdDecidesHowManyThreadsAreAwake) {
  auto pool = make_pool(4, 4);
  while (pool->status().awake > 0) std::this_thread::yield();
  std::latch go(1);
  TaskGroup group(*pool);
  for (int i = 0; i < 4; ++i)
    group.run([&]() -> Result<void> {
      go.wait();
      return {};
    });
  EXPECT_EQ(pool->status().awake, 1u);
  group.run([&]() -> Result<void> {
    go.wait();
    return {};
  });
  EXPECT_EQ(pool->status().awake, 2u);
  go.count_down();
  EXPECT_TRUE(group.wait());
  while (pool->status().awake > 0) std::this_thread::yield();
}

TEST(WorkerPool, ManyGroupsFromManyThreadsAllEnd) {
  auto pool = make_pool(2, 3);
  std::atomic<int> ran = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 50; ++round) {
          TaskGroup group(*pool, {.max_parallel = round % 3 + 1u});
          for (int task = 0; task < 10; ++task)
            group.run([&]() -> Result<void> {
              ++ran;
              return {};
            });
          EXPECT_TRUE(group.wait());
        }
      });
  }
  EXPECT_EQ(ran, 4 * 50 * 10);
}

#ifdef KARST_DEBUG
// CO-001: the task has run on another thread, so nothing deadlocks; it is reported all the same.
TEST(WorkerPool, WaitingForTasksThatNeedALockTheWaiterHoldsIsReported) {
  static constexpr LockClass held_class{"test.held-while-waiting"};
  std::vector<lock_order::ReportKind> kinds;
  lock_order::forget_edges();
  lock_order::set_handler([&](const lock_order::Report& report) { kinds.push_back(report.kind); });
  {
    auto pool = make_pool(1);
    TaskGroup group(*pool);
    Mutex mutex(held_class);
    std::latch done(1);
    group.run([&]() -> Result<void> {
      { MutexLock lock(mutex); }
      done.count_down();
      return {};
    });
    done.wait();
    MutexLock lock(mutex);
    EXPECT_TRUE(group.wait());
  }
  lock_order::set_handler({});
  lock_order::forget_edges();
  EXPECT_THAT(kinds, testing::ElementsAre(lock_order::ReportKind::cycle));
}
#endif

}  // namespace
}  // namespace karst
