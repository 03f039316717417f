#include <gtest/gtest.h>

#include <map>
#include <stdexcept>
#include <thread>

#include "cache/cache.h"
#include "cache/test_helpers.h"

namespace karst::cache {
namespace {

using testing::get_painted;
using testing::paint;
using testing::painted;

// Keeps what was written, like a device.
class Store : public ObjectOwner {
 public:
  Result<void> write_back(ObjectId, std::span<const FolioRef> folios) override {
    ++calls;
    if (during) during();
    for (const FolioRef& folio : folios) {
      if (fails_at == folio.key().index) return Error::make(err::io, "no place for {}", folio.key().index);
      const Mapping mapping(folio);
      contents[folio.key().index].assign(mapping.bytes().begin(), mapping.bytes().end());
      order.push_back(folio.key().index);
    }
    return {};
  }
  std::map<uint64_t, std::vector<std::byte>> contents;
  std::vector<uint64_t> order;
  std::optional<uint64_t> fails_at;
  std::function<void()> during;
  std::atomic<int> calls{0};
};

class WriteBackTest : public ::testing::Test {
 protected:
  Store store_;
  int pressure_ = 0;
  Cache cache_{{.limit = 1 << 20, .overdraft = 64 << 10, .dirty_limit = 256 << 10, .on_pressure = [this] {
                  ++pressure_;
                }}};
  ObjectId object_ = cache_.new_object(store_);
  ~WriteBackTest() override { cache_.remove_object(object_); }

  FolioRef dirty(uint64_t index, ObjectId object) {
    const FolioRef folio = get_painted(cache_, object, index);
    paint(folio.mutable_bytes(), index + 1);
    EXPECT_TRUE(cache_.mark_dirty(folio));
    return folio;
  }
  FolioRef dirty(uint64_t index) { return dirty(index, object_); }
};

TEST_F(WriteBackTest, WritesTheChangedBytesInOrderAndMakesThemClean) {
  for (const uint64_t index : {5, 1, 9, 3}) dirty(index);
  EXPECT_EQ(cache_.statistics().dirty_bytes, 4u * 4096);
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_EQ(store_.order, (std::vector<uint64_t>{1, 3, 5, 9}));
  EXPECT_TRUE(painted(store_.contents[5], 6));
  EXPECT_EQ(cache_.statistics().dirty_bytes, 0u);
  EXPECT_FALSE(cache_.find({object_, 5}).dirty());
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_EQ(store_.calls, 1);
}

TEST_F(WriteBackTest, WritesOnlyTheRangeAskedFor) {
  for (uint64_t index = 0; index < 10; ++index) dirty(index);
  ASSERT_TRUE(cache_.write_back(object_, 3, 6));
  EXPECT_EQ(store_.order, (std::vector<uint64_t>{3, 4, 5}));
  EXPECT_EQ(cache_.statistics().dirty_bytes, 7u * 4096);
}

TEST_F(WriteBackTest, DirtyFoliosAreNotEvicted) {
  for (uint64_t index = 0; index < 20; ++index) dirty(index);
  for (uint64_t index = 1000; index < 3000; ++index) get_painted(cache_, object_, index);
  cache_.reclaim(SIZE_MAX);
  ASSERT_TRUE(cache_.write_back(object_));
  for (uint64_t index = 0; index < 20; ++index) EXPECT_TRUE(painted(store_.contents[index], index + 1));
}

TEST_F(WriteBackTest, WhatIsMarkedAgainWhileWrittenStaysDirty) {
  const FolioRef folio = dirty(1);
  store_.during = [&] { EXPECT_TRUE(cache_.mark_dirty(folio)); };
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_TRUE(folio.dirty());
  EXPECT_EQ(cache_.statistics().dirty_bytes, 4096u);
  store_.during = nullptr;
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_EQ(store_.calls, 2);
  EXPECT_FALSE(folio.dirty());
  EXPECT_EQ(cache_.statistics().dirty_bytes, 0u);
}

TEST_F(WriteBackTest, WhatFailedStaysDirtyAndIsWrittenLater) {
  dirty(1);
  dirty(2);
  store_.fails_at = 2;
  EXPECT_TRUE(cache_.write_back(object_).error().is(err::io));
  EXPECT_EQ(cache_.statistics().dirty_bytes, 2u * 4096);
  store_.fails_at.reset();
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_TRUE(painted(store_.contents[2], 3));
}

TEST_F(WriteBackTest, AnErrorUnderPressureIsReportedOnceToTheNextWhoAsks) {
  for (uint64_t index = 0; index < 65; ++index) dirty(index);
  store_.fails_at = 0;
  EXPECT_TRUE(cache_.balance_dirty().error().is(err::io));
  store_.fails_at.reset();
  const auto reported = cache_.write_back(object_);
  ASSERT_FALSE(reported);
  EXPECT_TRUE(reported.error().is(err::io));
  EXPECT_EQ(cache_.statistics().dirty_bytes, 0u) << "all the same it was written";
  EXPECT_TRUE(cache_.write_back(object_));
}

TEST_F(WriteBackTest, OfTwoErrorsTheFirstIsReported) {
  for (uint64_t index = 0; index < 65; ++index) dirty(index);
  store_.fails_at = 3;
  EXPECT_FALSE(cache_.balance_dirty());
  store_.fails_at = 5;
  EXPECT_EQ(cache_.write_back(object_).error().what(), "no place for 3");
  EXPECT_EQ(cache_.write_back(object_).error().what(), "no place for 5");
  store_.fails_at.reset();
  EXPECT_TRUE(cache_.write_back(object_));
}

TEST_F(WriteBackTest, AnOwnerThatThrowsLeavesItsFoliosDirty) {
  const FolioRef folio = dirty(1);
  store_.during = [] { throw std::bad_alloc(); };
  EXPECT_TRUE(cache_.write_back(object_).error().is(err::no_memory));
  store_.during = [] { throw std::runtime_error("not ours"); };
  EXPECT_THROW(cache_.write_back(object_).has_value(), std::runtime_error);
  EXPECT_TRUE(folio.dirty());
  store_.during = nullptr;
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_FALSE(folio.dirty());
}

TEST_F(WriteBackTest, CrossingTheDirtyLimitIsSignalledOnce) {
  for (uint64_t index = 0; index < 64; ++index) dirty(index);
  EXPECT_EQ(pressure_, 0);
  EXPECT_FALSE(cache_.over_dirty_limit());
  for (uint64_t index = 64; index < 80; ++index) dirty(index);
  EXPECT_EQ(pressure_, 1);
  EXPECT_TRUE(cache_.over_dirty_limit());
  ASSERT_TRUE(cache_.balance_dirty());
  EXPECT_FALSE(cache_.over_dirty_limit());
}

TEST_F(WriteBackTest, BalancingWritesTheLongestDirtyObjectFirst) {
  Store other_store;
  const ObjectId other = cache_.new_object(other_store);
  for (uint64_t index = 0; index < 10; ++index) dirty(index, other);
  for (uint64_t index = 0; index < 60; ++index) dirty(index);
  ASSERT_TRUE(cache_.balance_dirty());
  EXPECT_EQ(other_store.order.size(), 10u);
  EXPECT_EQ(store_.calls, 0);
  cache_.remove_object(other);
}

TEST_F(WriteBackTest, AnAllocationWritesBackOwnersThatAllowIt) {
  Store willing_store;
  const ObjectId willing = cache_.new_object(willing_store, WriteBackWhen::any_time);
  for (uint64_t index = 0; index < 150; ++index) dirty(index);
  for (uint64_t index = 0; index < 100; ++index) dirty(index, willing);
  for (uint64_t index = 1000; index < 1100; ++index) std::ignore = get_painted(cache_, object_, index);
  EXPECT_GT(willing_store.calls, 0);
  EXPECT_EQ(store_.calls, 0);
  EXPECT_LE(cache_.statistics().bytes, size_t{1} << 20);
  cache_.remove_object(willing);
}

TEST_F(WriteBackTest, WhenAllIsDirtyAllocationFailsInsteadOfWaiting) {
  for (uint64_t index = 0; index < 272; ++index) dirty(index);
  const auto fill = [](MutableBytes) -> Result<void> { return {}; };
  const auto result = cache_.get({object_, 9999}, 4096, Residence::always_mapped, fill);
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(err::no_memory));
  EXPECT_GT(pressure_, 1);
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_TRUE(cache_.get({object_, 9999}, 4096, Residence::always_mapped, fill));
}

TEST_F(WriteBackTest, InvalidationDropsDirtyBytes) {
  const FolioRef held = dirty(1);
  dirty(2);
  cache_.invalidate(object_, 0, 2);
  EXPECT_EQ(cache_.statistics().dirty_bytes, 4096u);
  EXPECT_FALSE(cache_.mark_dirty(held)) << "nobody would write it";
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_EQ(store_.order, std::vector<uint64_t>{2});
}

TEST_F(WriteBackTest, AFolioThatReplacesAnInvalidatedOneWhileThatIsWrittenIsWrittenToo) {
  dirty(1);
  store_.during = [&] {
    store_.during = nullptr;
    cache_.invalidate(object_);
    const FolioRef fresh = get_painted(cache_, object_, 1);
    paint(fresh.mutable_bytes(), 77);
    EXPECT_TRUE(cache_.mark_dirty(fresh));
  };
  ASSERT_TRUE(cache_.write_back(object_));
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_TRUE(painted(store_.contents[1], 77));
  EXPECT_EQ(cache_.statistics().dirty_bytes, 0u);
}

// Otherwise the older bytes could reach the device after the newer ones.
TEST_F(WriteBackTest, TwoFoliosOfOneIndexAreNeverWrittenAtOnce) {
  dirty(1);
  std::atomic<int> writing{0};
  std::thread second;
  store_.during = [&] {
    EXPECT_EQ(++writing, 1);
    if (!second.joinable()) {
      cache_.invalidate(object_);
      const FolioRef fresh = get_painted(cache_, object_, 1);
      paint(fresh.mutable_bytes(), 77);
      EXPECT_TRUE(cache_.mark_dirty(fresh));
      std::atomic<bool> started{false};
      second = std::thread([&] {
        started.store(true), started.notify_all();
        EXPECT_TRUE(cache_.write_back(object_));
      });
      started.wait(false);
      for (int i = 0; i < 1000 && store_.calls == 1; ++i)
        std::this_thread::sleep_for(std::chrono::microseconds(10));
    }
    --writing;
  };
  ASSERT_TRUE(cache_.write_back(object_));
  second.join();
  EXPECT_TRUE(painted(store_.contents[1], 77));
}

// The window inside invalidate() between taking folios out and dropping what was dirty of them; opened here
// by an attachment that ends in it.
TEST_F(WriteBackTest, AFolioMarkedBeforeItsPredecessorIsDroppedIsNotDroppedWithIt) {
  struct AtEnd : Attachment {
    explicit AtEnd(std::function<void()> given) : action(std::move(given)) {}
    ~AtEnd() override { action(); }
    std::function<void()> action;
  };
  dirty(1);
  get_painted(cache_, object_, 2).attachment<AtEnd>([&] {
    return std::make_unique<AtEnd>([&] {
      const FolioRef fresh = get_painted(cache_, object_, 1);
      paint(fresh.mutable_bytes(), 77);
      EXPECT_TRUE(cache_.mark_dirty(fresh));
    });
  });
  cache_.invalidate(object_);
  EXPECT_EQ(cache_.statistics().dirty_bytes, 4096u);
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_TRUE(painted(store_.contents[1], 77));
}

TEST_F(WriteBackTest, WritingWaitsForAWriteBackThatStartedBeforeTheLastMark) {
  const FolioRef folio = dirty(1);
  std::atomic<bool> writing{false}, go_on{false};
  store_.during = [&] {
    writing.store(true), writing.notify_all();
    go_on.wait(false);
  };
  std::thread first([&] { EXPECT_TRUE(cache_.write_back(object_)); });
  writing.wait(false);
  EXPECT_TRUE(cache_.mark_dirty(folio));
  std::thread second([&] {
    EXPECT_TRUE(cache_.write_back(object_));
    EXPECT_EQ(store_.calls, 2) << "the mark came after the first one began";
  });
  go_on.store(true), go_on.notify_all();
  first.join();
  second.join();
  EXPECT_FALSE(folio.dirty());
}

TEST_F(WriteBackTest, ObjectsWithoutAnOwnerCannotBeDirty) {
  const FolioRef folio = get_painted(cache_, cache_.new_object(), 1);
  EXPECT_FALSE(cache_.mark_dirty(folio));
  EXPECT_FALSE(folio.dirty());
}

TEST_F(WriteBackTest, ManyDirtyFoliosAreWrittenInBoundedBatches) {
  for (uint64_t index = 0; index < 256; ++index) dirty(index);
  for (uint64_t index = 0; index < 16; ++index) dirty(1000 + index);
  ASSERT_TRUE(cache_.write_back(object_));
  EXPECT_EQ(store_.calls, 2);
  EXPECT_EQ(store_.contents.size(), 272u);
}

}  // namespace
}  // namespace karst::cache
