// When memory ends: each allocation of a step fails in turn, and afterwards nothing is lost, nothing hangs
// and nothing is held twice or for ever (CO-005, BT-029).
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <thread>

#include "cache/cache.h"
#include "cache/test_helpers.h"
#include "core/testing_allocation.h"

namespace karst::cache {
namespace {

using karst::testing::FailingAllocations;
using testing::get_painted;
using testing::paint;
using testing::painted;

// Keeps what was written, which takes memory.
class Store : public ObjectOwner {
 public:
  Result<void> write_back(ObjectId, std::span<const FolioRef> folios) override {
    for (const FolioRef& folio : folios) {
      const Mapping mapping(folio);
      contents[folio.key().index].assign(mapping.bytes().begin(), mapping.bytes().end());
    }
    return {};
  }
  std::map<uint64_t, std::vector<std::byte>> contents;
};

class NoMemoryTest : public ::testing::Test {
 protected:
  Store store_;
  Cache cache_{{.limit = 1 << 20}};
  ObjectId object_ = cache_.new_object(store_);
  ~NoMemoryTest() override {
    cache_.remove_object(object_);
    const auto end = cache_.statistics();
    EXPECT_EQ(end.bytes, 0u);
    EXPECT_EQ(end.dirty_bytes, 0u);
    EXPECT_EQ(end.folios, 0u);
  }

  // Runs the step with its first, second … allocation failing, until it needs no more, and checks after each.
  static void fail_each(const std::function<void(int)>& step, const std::function<void(int)>& check) {
    for (int n = 0, met = 1; met != 0; ++n) {
      ASSERT_LT(n, 1000);
      try {
        const FailingAllocations failing(n);
        const struct Note {
          const FailingAllocations& failing;
          int& met;
          ~Note() { met = failing.met(); }
        } note{failing, met};
        step(n);
      } catch (const std::bad_alloc&) {
      }
      check(n);
    }
  }
};

// In a new cache each time, so that its tables and its memory are made under failure too.
TEST_F(NoMemoryTest, AFolioThatCannotBeReadNowCanBeReadLater) {
  std::unique_ptr<uint64_t> painter;
  const auto fill = [&](MutableBytes bytes) -> Result<void> {
    painter = std::make_unique<uint64_t>(7);
    paint(bytes, *painter);
    return {};
  };
  for (const uint32_t size : {512u, 4096u, 65536u})
    for (const Residence residence : {Residence::always_mapped, Residence::on_demand}) {
      std::optional<Cache> cache;
      const FolioKey key{object_, 1};
      cache.emplace(CacheOptions{.limit = 1 << 20});
      fail_each([&](int) { cache->get(key, size, residence, fill).has_value(); },
                [&](int) {
                  EXPECT_EQ(cache->statistics().pinned_folios, 0u);
                  EXPECT_TRUE(painted(Mapping(cache->get(key, size, residence, fill).value()).bytes(), 7));
                  cache->invalidate(object_);
                  EXPECT_EQ(cache->statistics().bytes, 0u);
                  cache.emplace(CacheOptions{.limit = 1 << 20});
                });
    }
}

// The table grows on the way: more folios than it has buckets at first.
TEST_F(NoMemoryTest, APublicationHappensOrDoesNot) {
  fail_each(
      [&](int n) {
        for (uint64_t i = 0; i < 100; ++i) {
          auto fresh = cache_.allocate({object_, n * 1000 + i}, 512, Residence::always_mapped);
          if (!fresh) return;
          cache_.publish(*std::move(fresh));
        }
      },
      [&](int) {
        EXPECT_EQ(cache_.statistics().pinned_folios, 0u);
        EXPECT_EQ(cache_.statistics().bytes % 4096, 0u);
      });
}

// The filler and its waiter get the published folio, or the publisher an exception and they the filled one.
TEST_F(NoMemoryTest, APublicationOverAFillHappensOrDoesNot) {
  fail_each(
      [&](int n) {
        const ObjectId object = static_cast<ObjectId>(1000 + n);  // its list in the table is new
        auto fresh = cache_.allocate({object, 1}, 4096, Residence::always_mapped);
        if (!fresh) return;
        paint(fresh->bytes(), 77);
        const auto fill = [&](MutableBytes bytes) -> Result<void> {
          paint(bytes, 1);
          // More of the shards' tables are full each time, so that insertion has to grow one.
          cache_.publish(*std::move(fresh));
          return {};
        };
        auto read = cache_.get({object, 1}, 4096, Residence::always_mapped, fill);
        EXPECT_TRUE(!read || painted(read->bytes(), 77));
      },
      [&](int n) {
        const ObjectId object = static_cast<ObjectId>(1000 + n);
        EXPECT_EQ(cache_.statistics().pinned_folios, 0u);
        const FolioRef found = cache_.find({object, 1});
        EXPECT_TRUE(!found || painted(found.bytes(), 77));
        cache_.invalidate(object);
      });
}

TEST_F(NoMemoryTest, WhoWaitsForAFillThatRanOutOfMemoryIsWoken) {
  std::atomic<bool> filling{false};
  std::thread filler([&] {
    const auto fill = [&](MutableBytes) -> Result<void> {
      filling.store(true), filling.notify_all();
      while (cache_.statistics().fill_waits == 0) std::this_thread::yield();
      throw std::bad_alloc();
    };
    std::optional<Result<FolioRef>> result;
    try {
      const FailingAllocations failing(8);
      result = cache_.get({object_, 1}, 4096, Residence::always_mapped, fill);
    } catch (const std::bad_alloc&) {
    }
    EXPECT_TRUE(!result || !*result);
  });
  filling.wait(false);
  const auto fill = [](MutableBytes) -> Result<void> { return {}; };
  const auto waited = cache_.get({object_, 1}, 4096, Residence::always_mapped, fill);
  filler.join();
  ASSERT_FALSE(waited);
  EXPECT_TRUE(waited.error().is(err::no_memory));
}

TEST_F(NoMemoryTest, WhatWasMarkedDirtyIsWrittenAndWhatCouldNotBeMarkedIsNotDirty) {
  const uint64_t first = 100;
  std::vector<FolioRef> folios;
  for (uint64_t i = 0; i < 16; ++i) folios.push_back(get_painted(cache_, object_, first + i));
  std::vector<bool> marked(folios.size());
  fail_each([&](int n) { marked[n] = cache_.mark_dirty(folios[n]); },
            [&](int n) {
              EXPECT_EQ(folios[n].dirty(), marked[n]);
              EXPECT_EQ(cache_.statistics().dirty_bytes, std::ranges::count(marked, true) * 4096u);
              if (marked[n]) return;
              EXPECT_TRUE(cache_.mark_dirty(folios[n]));
              ASSERT_TRUE(cache_.write_back(object_));
              EXPECT_TRUE(store_.contents.contains(first + n));
            });
}

TEST_F(NoMemoryTest, AWriteBackThatRanOutOfMemoryCanBeRepeated) {
  for (uint64_t index = 0; index < 8; ++index) {
    const FolioRef folio = get_painted(cache_, object_, index);
    ASSERT_TRUE(cache_.mark_dirty(folio));
  }
  fail_each([&](int) { cache_.write_back(object_).has_value(); },
            [&](int n) { EXPECT_EQ(cache_.statistics().dirty_bytes % 4096, 0u) << n; });
  EXPECT_EQ(cache_.statistics().dirty_bytes, 0u);
  for (uint64_t index = 0; index < 8; ++index) EXPECT_TRUE(painted(store_.contents[index], index));
}

// MP-011
TEST_F(NoMemoryTest, MappingNeedsNone) {
  const FolioRef folio = get_painted(cache_, object_, 1, 4096, Residence::on_demand);
  std::ignore = Mapping(folio);  // the thread's first may make its list of mappings
  const FailingAllocations failing(0);
  {
    const MutableMapping outer(folio);
    const Mapping inner(folio);
  }
  EXPECT_FALSE(failing.met());
}

TEST_F(NoMemoryTest, InvalidationAndEvictionNeedNone) {
  for (uint64_t index = 0; index < 200; ++index) {
    const FolioRef folio = get_painted(cache_, object_, index, index % 2 == 0 ? 1024 : 4096);
    EXPECT_TRUE(index % 3 != 0 || cache_.mark_dirty(folio));
  }
  const FailingAllocations failing(0);
  cache_.reclaim(200 << 10);
  cache_.invalidate(object_, 0, 50);
  cache_.invalidate(object_);
  EXPECT_FALSE(failing.met());
}

}  // namespace
}  // namespace karst::cache
