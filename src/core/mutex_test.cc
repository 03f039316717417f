#include "core/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace karst {
namespace {

constexpr LockClass counter_class{"test.counter"}, table_class{"test.table"};

TEST(Mutex, ExcludesOtherThreads) {
  struct {
    Mutex mutex{counter_class};
    int count GUARDED_BY(mutex) = 0;
  } state;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 1000; ++round) {
        MutexLock lock(state.mutex);
        ++state.count;
      }
    });
  threads.clear();
  MutexLock lock(state.mutex);
  EXPECT_EQ(state.count, 4000);
}

TEST(Mutex, TryLockFailsWhileAnotherThreadHasIt) {
  Mutex mutex(counter_class);
  MutexLock lock(mutex);
  std::jthread([&] {
    bool taken = mutex.try_lock();
    EXPECT_FALSE(taken);
    if (taken) mutex.unlock();
  });
}

TEST(SharedMutex, ReadersShareAndWritersDoNot) {
  SharedMutex mutex(table_class);
  SharedLock lock(mutex);
  std::jthread([&] {
    bool read = mutex.try_lock_shared();
    EXPECT_TRUE(read);
    if (read) mutex.unlock_shared();
    bool written = mutex.try_lock();
    EXPECT_FALSE(written);
    if (written) mutex.unlock();
  });
}

// UF-003: this is why a thread must not read twice.
TEST(SharedMutex, AWaitingWriterKeepsNewReadersOut) {
  SharedMutex mutex(table_class);
  mutex.lock_shared();
  std::jthread writer([&] { ExclusiveLock lock(mutex); });
  bool reader_kept_out = false;
  while (!reader_kept_out) {  // until the writer has queued; never, if readers were preferred
    std::jthread([&] {
      if (mutex.try_lock_shared())
        mutex.unlock_shared();
      else
        reader_kept_out = true;
    });
  }
  mutex.unlock_shared();
}

TEST(CondVar, WakesAWaiterAndTimesOut) {
  struct {
    Mutex mutex{counter_class};
    CondVar changed;
    bool ready GUARDED_BY(mutex) = false;
  } state;
  {
    MutexLock lock(state.mutex);
    EXPECT_FALSE(state.changed.wait_for(state.mutex, std::chrono::microseconds(1)));
  }
  std::jthread setter([&] {
    MutexLock lock(state.mutex);
    state.ready = true;
    state.changed.notify_all();
  });
  MutexLock lock(state.mutex);
  while (!state.ready) state.changed.wait(state.mutex);
  EXPECT_TRUE(state.ready);
}

TEST(Guarded, IsReachedOnlyWithItsLockHeld) {
  Guarded<std::vector<int>> values(table_class, 3u, 7);
  values.with([](auto& list) { list.push_back(8); });
  const auto& constant = values;
  EXPECT_EQ(constant.with([](const auto& list) { return list.size(); }), 4u);
}

TEST(Guarded, ExcludesOtherThreads) {
  Guarded<int> count(counter_class, 0);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 1000; ++round) count.with([](int& value) { ++value; });
    });
  threads.clear();
  EXPECT_EQ(count.with([](int value) { return value; }), 4000);
}

}  // namespace
}  // namespace karst
