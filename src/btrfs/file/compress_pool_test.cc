#include "btrfs/file/compress_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace karst::btrfs {
namespace {

// A pool whose memory ends after `allowance` workspaces.
struct Pool {
  explicit Pool(int allowance) : allowed(allowance) {
    pool = std::move(DecompressorPool::create([this]() -> Result<std::unique_ptr<Decompressor>> {
             if (--allowed < 0) return Error(karst::err::no_memory, "by the test's plan");
             return std::make_unique<Decompressor>();
           })).value();
  }
  std::atomic<int> allowed;
  std::unique_ptr<DecompressorPool> pool;
};

// Takes `number` at once, each in a thread of its own, and gives all back.
void use_at_once(DecompressorPool& pool, size_t number) {
  std::atomic<size_t> have = 0;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < number; ++i)
    threads.emplace_back([&] {
      auto lease = pool.take();
      ++have;
      have.notify_all();
      for (size_t seen; (seen = have) < number;) have.wait(seen);
    });
  for (auto& thread : threads) thread.join();
}

TEST(WorkspacePool, HandsTheSameWorkspaceOutAgain) {  // BT-082
  Pool few(1);
  Decompressor* first = &*few.pool->take();
  EXPECT_EQ(&*few.pool->take(), first);
  EXPECT_EQ(few.pool->statistics().workspaces, 1u);
}

TEST(WorkspacePool, WithoutMemoryForMoreOneWaitsForTheOther) {  // BT-082
  Pool one(1);
  std::atomic<bool> got = false;
  std::thread other;
  {
    auto lease = one.pool->take();
    other = std::thread([&] {
      auto second = one.pool->take();
      got = true;
    });
    while (one.pool->statistics().waiting == 0) std::this_thread::yield();
    EXPECT_FALSE(got);
  }
  other.join();
  EXPECT_TRUE(got);
}

TEST(WorkspacePool, ManyThreadsShareOneWorkspaceWithoutDeadlock) {  // BT-082
  for (int allowance : {1, 2}) {
    Pool few(allowance);
    std::atomic<int> done = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 500; ++round) {
          auto lease = few.pool->take();
          if (round % 50 == 0) few.pool->free_idle();
          ++done;
        }
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(done, 4000);
    EXPECT_GE(few.pool->statistics().idle, 1u);
  }
}

TEST(WorkspacePool, FreesIdleOnesButTheLast) {  // BT-082
  Pool many(100);
  use_at_once(*many.pool, 5);
  EXPECT_EQ(many.pool->statistics().idle, 5u);
  EXPECT_EQ(many.pool->free_idle(), 4u);
  EXPECT_EQ(many.pool->free_idle(), 0u);
  auto lease = many.pool->take();
  EXPECT_EQ(many.pool->statistics().workspaces, 1u);
}

TEST(WorkspacePool, FreesWhatWasNotUsedSinceTheLastTime) {  // BT-082
  Pool many(100);
  use_at_once(*many.pool, 5);
  EXPECT_EQ(many.pool->free_unused(), 0u);  // all five were in use just now
  use_at_once(*many.pool, 2);
  EXPECT_EQ(many.pool->free_unused(), 3u);
  EXPECT_EQ(many.pool->free_unused(), 1u);
  EXPECT_EQ(many.pool->statistics().workspaces, 1u);
}

TEST(WorkspacePool, WithoutMemoryForTheFirstThereIsNoPool) {
  auto pool = DecompressorPool::create(
      []() -> Result<std::unique_ptr<Decompressor>> { return Error(karst::err::no_memory, "none"); });
  ASSERT_FALSE(pool);
  EXPECT_TRUE(pool.error().is(karst::err::no_memory));
}

TEST(WorkspacePool, MakesWorkspacesThatWork) {
  std::array<std::byte, 1000> data{}, compressed, out;
  auto compressors = std::move(create_compressor_pool(Compression::zstd, 3)).value();
  auto decompressors = std::move(create_decompressor_pool()).value();
  size_t size = std::move(compressors->take()->compress(data, compressed, 4096)).value().value();
  out.fill(std::byte{1});
  ASSERT_TRUE(decompressors->take()->decompress(Compression::zstd, Bytes(compressed).first(size), out, 4096));
  EXPECT_EQ(out, data);
}

#ifdef KARST_DEBUG
TEST(WorkspacePool, ASecondWorkspaceInOneThreadIsReportedBeforeItWaits) {  // CO-001
  struct Reported {};
  auto before = lock_order::set_handler([](const lock_order::Report&) { throw Reported(); });
  {
    Pool one(1);
    auto lease = one.pool->take();
    EXPECT_THROW((void)one.pool->take(), Reported);
  }
  lock_order::set_handler(before);
}
#endif

}  // namespace
}  // namespace karst::btrfs
