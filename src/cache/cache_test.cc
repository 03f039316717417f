#include "cache/cache.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "cache/folio_memory.h"
#include "cache/test_helpers.h"

namespace karst::cache {
namespace {

using testing::get_painted;
using testing::MisuseTrap;
using testing::paint;
using testing::painted;

constexpr auto mapped = Residence::always_mapped;

Result<void> must_not_run(MutableBytes) {
  ADD_FAILURE() << "filled again";
  return {};
}

// A place where threads wait until the test opens it.
class Gate {
 public:
  void open() { open_.store(true), open_.notify_all(); }
  void pass() { open_.wait(false); }

 private:
  std::atomic<bool> open_{false};
};

class CacheTest : public ::testing::Test {
 protected:
  Cache cache_{{.limit = 1 << 20, .overdraft = 64 << 10}};
  ObjectId object_ = cache_.new_object();
  FolioKey key(uint64_t index) const { return {object_, index}; }
  FolioRef get(uint64_t index, uint32_t size = 4096) { return get_painted(cache_, object_, index, size); }
};

TEST_F(CacheTest, FindMissesUntilGetHasFilled) {
  EXPECT_FALSE(cache_.find(key(1)));
  const FolioRef one = get(1);
  EXPECT_TRUE(painted(one.bytes(), 1));
  EXPECT_EQ(cache_.find(key(1)), one);
  EXPECT_FALSE(cache_.find(key(2)));
  EXPECT_FALSE(cache_.find({cache_.new_object(), 1}));
}

// BT-017: one live folio for a key, counted.
TEST_F(CacheTest, AllWhoAskGetTheSameFolio) {
  const FolioRef one = get(1);
  EXPECT_EQ(cache_.get(key(1), 4096, mapped, must_not_run).value(), one);
  const auto copy = one;
  EXPECT_EQ(copy, one);
  EXPECT_EQ(cache_.statistics().folios, 1u);
  EXPECT_EQ(cache_.statistics().pinned_folios, 1u);
}

// BT-017: safe to clone; the copy is private (BT-001).
TEST_F(CacheTest, ACloneIsACopyThatNobodyElseSees) {
  const FolioRef one = get(1);
  const NewFolio copy = cache_.clone(one).value();
  EXPECT_TRUE(painted(copy.bytes(), 1));
  copy.bytes()[0] = std::byte{0xff};
  EXPECT_TRUE(painted(one.bytes(), 1));
  EXPECT_EQ(cache_.find(key(1)), one);
}

TEST_F(CacheTest, EverySizeFrom512To2MiBIsAFolioSizeAndNoOther) {
  for (const uint32_t size : {512u, 1024u, 1536u, 3072u, 4096u, 12288u, 16384u, 69632u, 131072u, 1u << 20})
    EXPECT_TRUE(painted(get(size, size).bytes(), size)) << size;
  cache_.invalidate(object_);
  cache_.set_limit(4 << 20);
  EXPECT_TRUE(painted(get(0, 2 << 20).bytes(), 0));
  // BT-112: refused in one place, whichever way it is asked.
  for (const uint32_t size : {0u, 511u, 513u, 4097u, (2u << 20) + 512}) {
    EXPECT_TRUE(cache_.get(key(1), size, mapped, must_not_run).error().is(err::invalid)) << size;
    EXPECT_TRUE(cache_.allocate(key(1), size, mapped).error().is(err::invalid)) << size;
  }
}

TEST_F(CacheTest, AFailedFillLeavesNothingAndGivesItsError) {
  const auto fails = [](MutableBytes) -> Result<void> { return Error(err::checksum, "bad node"); };
  const auto result = cache_.get(key(1), 4096, mapped, fails);
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(err::checksum));
  EXPECT_FALSE(cache_.find(key(1)));
  EXPECT_EQ(cache_.statistics().bytes, 0u);
  EXPECT_EQ(cache_.statistics().fill_errors, 1u);
  EXPECT_TRUE(get(1));
}

// CO-008: however far the set-up came.
TEST_F(CacheTest, AFillThatThrowsLeavesNothing) {
  EXPECT_THROW(
      cache_.get(key(1), 4096, mapped, [](MutableBytes) -> Result<void> { throw std::runtime_error("x"); })
          .has_value(),
      std::runtime_error);
  const auto exhausted =
      cache_.get(key(1), 4096, mapped, [](MutableBytes) -> Result<void> { throw std::bad_alloc(); });
  EXPECT_TRUE(exhausted.error().is(err::no_memory));
  EXPECT_EQ(cache_.statistics().bytes, 0u);
  EXPECT_TRUE(get(1));
}

TEST_F(CacheTest, OneThreadFillsAndTheOthersWaitForIt) {
  Gate others_waiting;
  std::atomic<int> fills{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const FolioRef one = cache_
                               .get(key(1), 4096, mapped,
                                    [&](MutableBytes bytes) -> Result<void> {
                                      ++fills;
                                      others_waiting.pass();
                                      paint(bytes, 1);
                                      return {};
                                    })
                               .value();
      EXPECT_TRUE(painted(one.bytes(), 1));
    });
  while (cache_.statistics().fill_waits < 3) std::this_thread::yield();
  EXPECT_FALSE(cache_.find(key(1))) << "published before it was complete (CO-010)";
  others_waiting.open();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(fills, 1);
}

TEST_F(CacheTest, AllWhoWaitGetTheErrorOfTheFill) {
  Gate waiting;
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const auto result = cache_.get(key(1), 4096, mapped, [&](MutableBytes) -> Result<void> {
        waiting.pass();
        return Error(err::checksum, "bad node");
      });
      if (!result && result.error().is(err::checksum)) ++errors;
    });
  while (cache_.statistics().fill_waits < 3) std::this_thread::yield();
  waiting.open();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(errors, 4);
  EXPECT_EQ(cache_.statistics().bytes, 0u);
}

// CO-018
TEST_F(CacheTest, WithoutWaitingAFillInProgressSaysWouldBlock) {
  Gate started, finish;
  std::thread filler([&] {
    std::ignore = cache_.get(key(1), 4096, mapped, [&](MutableBytes bytes) -> Result<void> {
      started.open();
      finish.pass();
      paint(bytes, 1);
      return {};
    });
  });
  started.pass();
  EXPECT_TRUE(cache_.get(key(1), 4096, mapped, must_not_run, Waiting::refused).error().is(err::would_block));
  finish.open();
  filler.join();
  EXPECT_TRUE(cache_.get(key(1), 4096, mapped, must_not_run, Waiting::refused));
}

// CO-018: a fill that would wait says so itself, and nothing is kept of it.
TEST_F(CacheTest, WithoutWaitingAMissIsWhatItsFillSays) {
  const auto would_wait = [](MutableBytes) -> Result<void> {
    return Error(err::would_block, "not in the page cache");
  };
  EXPECT_TRUE(cache_.get(key(1), 4096, mapped, would_wait, Waiting::refused).error().is(err::would_block));
  EXPECT_FALSE(cache_.find(key(1)));
}

// CO-010: visible only when it is complete.
TEST_F(CacheTest, AnUnpublishedFolioIsNotFoundAndCounts) {
  NewFolio fresh = cache_.allocate(key(1), 4096, mapped).value();
  paint(fresh.bytes(), 1);
  EXPECT_FALSE(cache_.find(key(1)));
  EXPECT_EQ(cache_.statistics().bytes, 4096u);
  const FolioRef one = cache_.publish(std::move(fresh));
  EXPECT_EQ(cache_.find(key(1)), one);
  EXPECT_TRUE(painted(one.bytes(), 1));
}

TEST_F(CacheTest, ADroppedUnpublishedFolioLeavesNothing) {
  { const NewFolio fresh = cache_.allocate(key(1), 4096, mapped).value(); }
  EXPECT_EQ(cache_.statistics().bytes, 0u);
}

// BT-017
TEST_F(CacheTest, OfTwoPublishedTheFirstWins) {
  NewFolio first = cache_.allocate(key(1), 4096, mapped).value();
  NewFolio second = cache_.allocate(key(1), 4096, mapped).value();
  paint(first.bytes(), 1);
  paint(second.bytes(), 2);
  const FolioRef winner = cache_.publish(std::move(first));
  EXPECT_EQ(cache_.publish(std::move(second)), winner);
  EXPECT_TRUE(painted(winner.bytes(), 1));
  EXPECT_EQ(cache_.statistics().bytes, 4096u);
}

TEST_F(CacheTest, PublishingOvertakesAFillAndEverybodyGetsThePublished) {
  Gate started, finish;
  FolioRef of_filler, of_waiter;
  std::thread filler([&] {
    of_filler = cache_
                    .get(key(1), 4096, mapped,
                         [&](MutableBytes bytes) -> Result<void> {
                           started.open();
                           finish.pass();
                           paint(bytes, 99);
                           return {};
                         })
                    .value();
  });
  started.pass();
  std::thread waiter([&] { of_waiter = cache_.get(key(1), 4096, mapped, must_not_run).value(); });
  while (cache_.statistics().fill_waits < 1) std::this_thread::yield();
  NewFolio fresh = cache_.allocate(key(1), 4096, mapped).value();
  paint(fresh.bytes(), 1);
  const FolioRef one = cache_.publish(std::move(fresh));
  waiter.join();  // without the filler having finished
  finish.open();
  filler.join();
  EXPECT_EQ(of_filler, one);
  EXPECT_EQ(of_waiter, one);
  EXPECT_EQ(cache_.statistics().bytes, 4096u);
}

TEST_F(CacheTest, InvalidatedFoliosAreMissedByLookupsAndKeptByHolders) {
  const FolioRef held = get(1);
  get(2);
  cache_.invalidate(object_);
  EXPECT_TRUE(held.detached());
  EXPECT_TRUE(painted(held.bytes(), 1));
  EXPECT_FALSE(cache_.find(key(1)));
  EXPECT_EQ(cache_.statistics().bytes, 4096u);
  const FolioRef again = get(1);
  EXPECT_FALSE(again == held);
}

TEST_F(CacheTest, InvalidationKeepsToItsRangeAndObject) {
  const ObjectId other = cache_.new_object();
  get_painted(cache_, other, 5);
  for (uint64_t i = 0; i < 10; ++i) get(i);
  cache_.invalidate(object_, 3, 7);
  for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(bool(cache_.find(key(i))), i < 3 || i >= 7) << i;
  EXPECT_TRUE(cache_.find({other, 5}));
}

TEST_F(CacheTest, AFillOvertakenByInvalidationGoesToItsAskersAndNotIntoTheTable) {
  Gate started, finish;
  FolioRef stale;
  std::thread filler([&] {
    stale = cache_
                .get(key(1), 4096, mapped,
                     [&](MutableBytes bytes) -> Result<void> {
                       started.open();
                       finish.pass();
                       paint(bytes, 1);
                       return {};
                     })
                .value();
  });
  started.pass();
  cache_.invalidate(object_);
  finish.open();
  filler.join();
  EXPECT_TRUE(painted(stale.bytes(), 1));
  EXPECT_TRUE(stale.detached());
  EXPECT_FALSE(cache_.find(key(1)));
}

TEST_F(CacheTest, StaysWithinItsLimit) {
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_TRUE(painted(get(i, 16384).bytes(), i));
    ASSERT_LE(cache_.statistics().bytes, size_t{1} << 20);
  }
  EXPECT_GT(cache_.statistics().evictions, 900u);
}

TEST_F(CacheTest, PinnedFoliosStayAndTheOverdraftEndsInAnError) {
  std::vector<FolioRef> pinned;
  Error last(err::io, "none");
  for (uint64_t i = 0; i < 1000; ++i) {
    auto result = cache_.get(key(i), 16384, mapped, [&](MutableBytes bytes) -> Result<void> {
      paint(bytes, i);
      return {};
    });
    if (!result) {
      last = std::move(result).error();
      break;
    }
    pinned.push_back(*std::move(result));
  }
  EXPECT_TRUE(last.is(err::no_memory)) << last.message();
  EXPECT_EQ(pinned.size(), ((1 << 20) + (64 << 10)) / 16384u);
  for (uint64_t i = 0; i < pinned.size(); ++i) EXPECT_TRUE(painted(pinned[i].bytes(), i));
  EXPECT_EQ(cache_.statistics().refusals, 1u);
  pinned.clear();
  EXPECT_TRUE(get(5000, 16384));
  EXPECT_LE(cache_.statistics().bytes, size_t{1} << 20);
}

TEST_F(CacheTest, UnpublishedFoliosCountTowardsTheLimit) {
  std::vector<NewFolio> fresh;
  for (uint64_t i = 0;; ++i) {
    auto result = cache_.allocate(key(i), 65536, mapped);
    if (!result) break;
    fresh.push_back(*std::move(result));
  }
  EXPECT_EQ(fresh.size(), ((1 << 20) + (64 << 10)) / 65536u);
}

// A scan over much more than fits does not drive out what is used again and again.
TEST_F(CacheTest, AScanDoesNotEvictTheWorkingSet) {
  for (int round = 0; round < 3; ++round)
    for (uint64_t i = 0; i < 100; ++i) get(i);
  for (uint64_t i = 1000; i < 11000; ++i) get(i);
  size_t survivors = 0;
  for (uint64_t i = 0; i < 100; ++i)
    if (cache_.peek(key(i))) ++survivors;
  EXPECT_EQ(survivors, 100u);
}

TEST_F(CacheTest, WhatComesBackSoonAfterItsEvictionIsKeptLonger) {
  // Twice as much as fits, in a loop: with a plain first-in-first-out every access would miss.
  for (int round = 0; round < 20; ++round)
    for (uint64_t i = 0; i < 512; ++i) get(i);
  EXPECT_GT(cache_.statistics().hits, 1000u);
}

TEST_F(CacheTest, ReclaimAndALowerLimitGiveMemoryBack) {
  for (uint64_t i = 0; i < 200; ++i) get(i);
  EXPECT_GE(cache_.reclaim(100 * 4096), 100u * 4096);
  cache_.set_limit(64 << 10);
  EXPECT_LE(cache_.statistics().bytes, 64u << 10);
  EXPECT_EQ(cache_.statistics().warm_bytes, 0u);
}

TEST_F(CacheTest, CountsHitsAndMisses) {
  get(1);
  get(1);
  cache_.find(key(1));
  cache_.find(key(2));
  cache_.peek(key(1));
  const CacheStatistics statistics = cache_.statistics();
  EXPECT_EQ(statistics.hits, 2u);
  EXPECT_EQ(statistics.misses, 2u);
  EXPECT_EQ(statistics.insertions, 1u);
}

class GivingCache : public Shrinker {
 public:
  explicit GivingCache(Cache& cache) : cache_(cache) {}
  ~GivingCache() override { cache_.uncharge(held); }
  void hold(size_t bytes) {
    held += bytes;
    cache_.charge(bytes);
  }
  size_t shrink(size_t bytes) override {
    const size_t given = std::min(bytes, held);
    held -= given;
    cache_.uncharge(given);
    ++calls;
    return given;
  }
  size_t held = 0;
  int calls = 0;

 private:
  Cache& cache_;
};

TEST_F(CacheTest, OtherCachesGiveMemoryBackWhenFoliosCannot) {
  GivingCache other(cache_);
  auto registration = cache_.add_shrinker(other);
  other.hold(900 << 10);
  std::vector<FolioRef> pinned;
  for (uint64_t i = 0; i < 10; ++i) pinned.push_back(get(i, 65536));
  EXPECT_GT(other.calls, 0);
  EXPECT_LE(cache_.statistics().bytes, size_t{1} << 20);
  registration = {};
  const int calls = other.calls;
  for (uint64_t i = 10; i < 30; ++i) std::ignore = cache_.allocate(key(i), 65536, mapped);
  std::vector<NewFolio> more;
  while (auto next = cache_.allocate(key(99), 65536, mapped)) more.push_back(*std::move(next));
  EXPECT_EQ(other.calls, calls);
}

TEST_F(CacheTest, WithoutWaitingNoShrinkerRuns) {
  GivingCache other(cache_);
  const auto registration = cache_.add_shrinker(other);
  other.hold(1 << 20);
  std::ignore = cache_.allocate(key(1), 4096, mapped, Waiting::refused);
  EXPECT_EQ(other.calls, 0);
}

struct CountedAttachment : Attachment {
  explicit CountedAttachment(int& alive) : alive_(alive) { ++alive_; }
  ~CountedAttachment() override { --alive_; }
  int& alive_;
};

// BT-078: state that belongs to a folio lives as long as it.
TEST_F(CacheTest, AnAttachmentIsMadeOnceAndGoesWithItsFolio) {
  int alive = 0;
  const auto make = [&] { return std::make_unique<CountedAttachment>(alive); };
  {
    const FolioRef one = get(1);
    auto& attachment = one.attachment<CountedAttachment>(make);
    EXPECT_EQ(&cache_.find(key(1)).attachment<CountedAttachment>(make), &attachment);
    EXPECT_EQ(alive, 1);
  }
  cache_.reclaim(SIZE_MAX);
  EXPECT_EQ(alive, 0);
}

TEST(CacheLifetime, AReferenceThatOutlivesTheCacheIsReported) {
  const MisuseTrap trap;
  FolioRef outlives;
  {
    Cache cache;
    outlives = get_painted(cache, cache.new_object(), 1);
  }
  EXPECT_EQ(trap.seen(), std::vector{Misuse::reference_outlives_cache});
  EXPECT_TRUE(painted(outlives.bytes(), 1));
}

// CO-008
TEST(CacheLifetime, AnUnusedCacheEndsQuietly) { const Cache cache({.limit = 0}); }

TEST(FolioMemoryTest, FootprintsWasteLittleAndHoldTheSize) {
  for (uint32_t size = 512; size <= folio_size_max; size += 512) {
    const size_t footprint = FolioMemory::footprint(size, mapped);
    ASSERT_GE(footprint, size);
    ASSERT_LE(footprint, std::max<size_t>(size + size / 4 + 4095, 1024)) << size;
  }
}

TEST(FolioMemoryTest, SlotsDoNotOverlapAndAreAligned) {
  FolioMemory memory;
  std::map<std::byte*, uint32_t> taken;
  for (int round = 0; round < 3; ++round) {
    uint32_t size = 512;
    for (int i = 0; i < 400; ++i, size = size * 5 % 100003 / 512 * 512 + 512) {
      std::byte* slot = memory.allocate(size, mapped);
      ASSERT_NE(slot, nullptr);
      const size_t alignment = size <= 2048 ? std::bit_ceil(size) : 4096;
      ASSERT_EQ(reinterpret_cast<uintptr_t>(slot) % alignment, 0u);
      const auto next = taken.lower_bound(slot);
      ASSERT_TRUE(next == taken.end() || slot + size <= next->first);
      ASSERT_TRUE(next == taken.begin() || std::prev(next)->first + std::prev(next)->second <= slot);
      taken.emplace(slot, size);
    }
    for (auto it = taken.begin(); it != taken.end();) {
      memory.free(it->first, it->second, mapped);
      it = std::next(taken.erase(it)) == taken.end() ? taken.end() : taken.begin();
      if (taken.size() < 50) break;
    }
  }
  for (const auto& [slot, size] : taken) memory.free(slot, size, mapped);
}

#ifndef KARST_SANITIZED

size_t resident_bytes() {
  FILE* file = std::fopen("/proc/self/statm", "r");
  size_t all = 0, resident = 0;
  const int fields = std::fscanf(file, "%zu %zu", &all, &resident);
  std::fclose(file);
  return fields == 2 ? resident * 4096 : 0;
}

// What the process holds follows the limit, also when the sizes in use change.
TEST(FolioMemoryTest, ResidentMemoryFollowsTheLimitThroughChangingSizes) {
  constexpr size_t limit = 32 << 20;
  Cache cache({.limit = limit});
  const ObjectId object = cache.new_object();
  const size_t before = resident_bytes();
  uint64_t index = 0;
  size_t records = 0;
  for (const uint32_t size : {16384u, 4096u, 131072u, 1u << 20, 1024u, 65536u})
    for (size_t filled = 0; filled < 2 * limit; filled += size) {
      get_painted(cache, object, index++, size);
      if (index % 64 != 0) continue;
      records = std::max(records, cache.statistics().folios * 200);  // the allocator keeps what it had
      ASSERT_LE(resident_bytes(), before + limit + limit / 4 + records) << size;
    }
  cache.set_limit(1 << 20);
  EXPECT_LE(resident_bytes(), before + (16 << 20));
}

#endif

}  // namespace
}  // namespace karst::cache
