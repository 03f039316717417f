// Races: many threads on few keys under a tiny limit. Meant for ThreadSanitizer and the lock-order validator,
// and checks itself in every build; with folios that are accessible only while mapped, it is also what shows
// mappings to be right (MP-014). KARST_STRESS multiplies its length.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "cache/cache.h"
#include "cache/pieces.h"
#include "cache/test_helpers.h"

namespace karst::cache {
namespace {

constexpr uint64_t key_count = 64;
constexpr uint32_t folio_size = 4096;

int steps() {
  const char* factor = std::getenv("KARST_STRESS");
  return 3000 * (factor != nullptr ? std::atoi(factor) : 1);
}

// The store: each key has a version, in every 8 bytes of its folio. A folio that mixes two was seen while it
// was incomplete; one older than the store after a write-back was lost.
class VersionStore : public ObjectOwner {
 public:
  Result<void> write_back(ObjectId, std::span<const FolioRef> folios) override {
    for (const FolioRef& folio : folios) {
      const std::scoped_lock lock(content[folio.key().index]);
      const Mapping mapping(folio);
      const uint64_t version = version_of(mapping.bytes());
      EXPECT_GE(version, stored[folio.key().index]);
      stored[folio.key().index] = version;
    }
    return {};
  }
  Result<void> read(uint64_t index, MutableBytes bytes) {
    const std::scoped_lock lock(content[index]);
    set_version(bytes, stored[index]);
    return {};
  }
  static uint64_t version_of(Bytes bytes) {
    uint64_t first, other;
    std::memcpy(&first, bytes.data(), 8);
    for (size_t at = 8; at < bytes.size(); at += 8) {
      std::memcpy(&other, bytes.data() + at, 8);
      EXPECT_EQ(first, other);
    }
    return first;
  }
  static void set_version(MutableBytes bytes, uint64_t version) {
    for (size_t at = 0; at < bytes.size(); at += 8) std::memcpy(bytes.data() + at, &version, 8);
  }

  // The owner's own rule: bytes of a key change under its lock.
  std::array<std::mutex, key_count> content;
  std::array<uint64_t, key_count> stored{};
};

class CacheStress : public ::testing::TestWithParam<Residence> {};

TEST_P(CacheStress, ReadersWritersInvalidationAndReclaimTogether) {
  VersionStore store;
  std::atomic<int> refused{0};
  Cache cache(
      {.limit = 24 * folio_size, .overdraft = 16 * folio_size, .dirty_limit = 8 * folio_size, .shards = 4});
  const ObjectId object = cache.new_object(store, WriteBackWhen::asked);
  const ObjectId read_only = cache.new_object();

  const auto worker = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int step = 0; step < steps(); ++step) {
      const uint64_t index = random() % key_count;
      const FolioKey key{random() % 4 == 0 ? read_only : object, index};
      const unsigned what = random() % 100;
      if (what < 50 || (what < 80 && key.object == read_only)) {
        const auto got = cache.get(key, folio_size, GetParam(), [&](MutableBytes bytes) -> Result<void> {
          if (random() % 50 == 0) return Error(err::io, "injected");
          return store.read(index, bytes);
        });
        if (!got) {
          ASSERT_TRUE(got.error().is(err::io) || got.error().is(err::no_memory)) << got.error().message();
          ++refused;
          continue;
        }
        const std::scoped_lock lock(store.content[index]);
        const Mapping mapping(*got);
        VersionStore::version_of(mapping.bytes());
      } else if (what < 80) {
        const FolioRef folio = cache.find(key);
        if (!folio) continue;
        {
          const std::scoped_lock lock(store.content[index]);
          const MutableMapping mapping(folio);
          const uint64_t version = VersionStore::version_of(mapping.bytes());
          VersionStore::set_version(mapping.bytes(), version + 1);
        }
        cache.mark_dirty(folio);
      } else if (what < 85) {
        // Read-only data comes and goes; of the written object nothing is dropped.
        cache.invalidate(read_only, index, index + random() % 8);
      } else if (what < 92) {
        auto fresh = cache.allocate({read_only, index}, folio_size, GetParam(),
                                    random() % 2 == 0 ? Waiting::allowed : Waiting::refused);
        if (!fresh) continue;
        ASSERT_TRUE(store.read(index, fresh->bytes()));
        const FolioRef published = cache.publish(*std::move(fresh));
        const std::scoped_lock lock(store.content[index]);
        VersionStore::version_of(Mapping(published).bytes());
      } else if (what < 96) {
        ASSERT_TRUE(cache.balance_dirty());
      } else if (what < 98) {
        ASSERT_TRUE(cache.write_back(object, index, index + 16));
      } else if (what < 99) {
        cache.reclaim(folio_size * (random() % 8));
      } else {
        const CacheStatistics statistics = cache.statistics();
        ASSERT_LE(statistics.bytes, 40u * folio_size);
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 6; ++seed) threads.emplace_back(worker, seed);
  for (auto& thread : threads) thread.join();

  ASSERT_TRUE(cache.write_back(object));
  EXPECT_EQ(cache.statistics().dirty_bytes, 0u);
  for (uint64_t index = 0; index < key_count; ++index) {
    const FolioRef folio = cache.find({object, index});
    EXPECT_TRUE(!folio || VersionStore::version_of(Mapping(folio).bytes()) == store.stored[index]);
  }
  EXPECT_EQ(cache.statistics().pinned_folios, 0u);
  cache.remove_object(object);
  cache.remove_object(read_only);
  EXPECT_EQ(cache.statistics().bytes, 0u);
}

// One object's folios are invalidated while others dirty them: whatever wins, nothing dirty is left behind.
TEST_P(CacheStress, DirtyingAndInvalidatingTheSameFolios) {
  VersionStore store;
  Cache cache({.limit = 64 * folio_size});
  const ObjectId object = cache.new_object(store);
  const auto worker = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int step = 0; step < steps(); ++step) {
      const uint64_t index = random() % 8;
      if (random() % 4 == 0) {
        cache.invalidate(object, index, index + 2);
      } else if (random() % 8 == 0) {
        std::ignore = cache.write_back(object);
      } else {
        const auto got =
            cache.get({object, index}, folio_size, GetParam(), [&](MutableBytes bytes) -> Result<void> {
              VersionStore::set_version(bytes, 1u << 30);
              return {};
            });
        ASSERT_TRUE(got);
        cache.mark_dirty(*got);
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(worker, seed);
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(cache.write_back(object));
  EXPECT_EQ(cache.statistics().dirty_bytes, 0u);
  for (uint64_t index = 0; index < 10; ++index) {
    const FolioRef folio = cache.find({object, index});
    EXPECT_FALSE(folio && folio.dirty()) << "marked, and nobody knows of it";
  }
  cache.invalidate(object);
  EXPECT_EQ(cache.statistics().bytes, 0u);
  cache.remove_object(object);
}

INSTANTIATE_TEST_SUITE_P(Residences, CacheStress,
                         ::testing::Values(Residence::always_mapped, Residence::on_demand),
                         [](const ::testing::TestParamInfo<Residence>& tested) {
                           return tested.param == Residence::on_demand ? "OnDemand" : "AlwaysMapped";
                         });

}  // namespace
}  // namespace karst::cache
