#include "cache/mapping.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "cache/cache.h"
#include "cache/test_helpers.h"

namespace karst::cache {
namespace {

using testing::get_painted;
using testing::MisuseTrap;
using testing::painted;

using Misuses = std::vector<Misuse>;

class MappingTest : public ::testing::Test {
 protected:
  Cache cache_{{.limit = 1 << 20}};
  ObjectId object_ = cache_.new_object();
  FolioRef folio(uint64_t index, Residence residence = Residence::on_demand, uint32_t size = 4096) {
    return get_painted(cache_, object_, index, size, residence);
  }
};

// MP-001
TEST_F(MappingTest, GivesTheBytesForItsScope) {
  const FolioRef one = folio(1);
  {
    const MutableMapping mapping(one);
    ASSERT_EQ(mapping.bytes().size(), 4096u);
    mapping.bytes()[7] = std::byte{0x77};
  }
  EXPECT_EQ(Mapping(one).bytes()[7], std::byte{0x77});
}

// MP-001: every exit path, MP-013: also one before any mapping was made.
TEST_F(MappingTest, EndsOnEarlyReturnsAndExceptions) {
  const MisuseTrap trap;
  const FolioRef one = folio(1);
  const auto step = [&](int how) -> Result<int> {
    if (how == 0) return Error(err::io, "before");
    const Mapping outer(one);
    if (how == 1) return Error(err::io, "between");
    const Mapping inner(one);
    if (how == 2) throw std::runtime_error("thrown");
    return static_cast<int>(inner.bytes()[0]);
  };
  EXPECT_FALSE(step(0));
  EXPECT_FALSE(step(1));
  EXPECT_THROW(step(2).has_value(), std::runtime_error);
  EXPECT_TRUE(step(3));
  EXPECT_EQ(cache_.statistics().pinned_folios, 1u);  // by `one`
  EXPECT_EQ(trap.seen(), Misuses{});
}

// MP-010
TEST_F(MappingTest, MayBeHeldWhileTheThreadSleeps) {
  const FolioRef one = folio(1);
  const Mapping mapping(one);
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(painted(mapping.bytes(), 1));
}

// MP-002, MP-005: each thread maps for itself, and they may do so together.
TEST_F(MappingTest, EachThreadMapsForItself) {
  const FolioRef one = folio(1);
  const Mapping mine(one);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) ASSERT_TRUE(painted(Mapping(one).bytes(), 1));
    });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(painted(mine.bytes(), 1));
}

TEST_F(MappingTest, KeepsItsFolioByItself) {
  auto mapping = std::make_unique<Mapping>(folio(1));
  cache_.reclaim(SIZE_MAX);
  cache_.invalidate(object_);
  EXPECT_TRUE(painted(mapping->bytes(), 1));
  mapping.reset();
  EXPECT_EQ(cache_.statistics().bytes, 0u);
}

// MP-007
TEST_F(MappingTest, TheAddressOfAnAlwaysMappedFolioIsFixed) {
  const FolioRef one = folio(1, Residence::always_mapped);
  const Mapping mapping(one);
  EXPECT_EQ(mapping.bytes().data(), one.bytes().data());
  EXPECT_TRUE(painted(one.bytes(), 1));
}

// MP-006
TEST_F(MappingTest, TakingTheAddressOfAnOnDemandFolioIsMisuse) {
  const MisuseTrap trap;
  const FolioRef one = folio(1);
  std::ignore = one.bytes();
  EXPECT_EQ(trap.seen(), Misuses{Misuse::address_of_on_demand});
}

// MP-007: what one user declared, another cannot have differently.
TEST_F(MappingTest, AUserMustStateTheResidenceThatTheFolioHas) {
  const FolioRef one = folio(1);
  const auto fill = [](MutableBytes) -> Result<void> { return {}; };
  const auto other = cache_.get({object_, 1}, 4096, Residence::always_mapped, fill);
  ASSERT_FALSE(other);
  EXPECT_TRUE(other.error().is(err::invalid));
}

// MP-009: the two are apart.
TEST_F(MappingTest, AMappingIsNoNoFaultSection) {
  const FolioRef one = folio(1);
  const Mapping mapping(one);
  EXPECT_FALSE(NoFaultSection::active());
  {
    const NoFaultSection outer;
    const NoFaultSection inner;
    EXPECT_TRUE(NoFaultSection::active());
    std::thread([] { EXPECT_FALSE(NoFaultSection::active()); }).join();
  }
  EXPECT_FALSE(NoFaultSection::active());
}

TEST_F(MappingTest, FillingInsideANoFaultSectionIsMisuse) {
  const MisuseTrap trap;
  {
    const NoFaultSection section;
    folio(1);
  }
  EXPECT_EQ(trap.seen(), Misuses{Misuse::faulted_in_no_fault_section});
}

#ifdef KARST_DEBUG

// MP-003
TEST_F(MappingTest, ReleasingOutOfOrderIsReportedAtOnce) {
  const MisuseTrap trap;
  auto first = std::make_unique<Mapping>(folio(1));
  auto second = std::make_unique<Mapping>(folio(2));
  first.reset();
  EXPECT_EQ(trap.seen(), Misuses{Misuse::released_out_of_order});
  second.reset();
  EXPECT_EQ(trap.seen().size(), 1u);
}

// MP-002
TEST_F(MappingTest, UseAndReleaseByAnotherThreadAreReported) {
  const MisuseTrap trap;
  auto mapping = std::make_unique<Mapping>(folio(1));
  std::thread([&] {
    std::ignore = mapping->bytes();
    mapping.reset();
  }).join();
  EXPECT_EQ(trap.seen(), (Misuses{Misuse::used_by_another_thread, Misuse::released_by_another_thread}));
}

// MP-002
TEST_F(MappingTest, AMappingLeftAtTheEndOfItsThreadIsReported) {
  const MisuseTrap trap;
  std::unique_ptr<Mapping> leaked;
  std::thread([&] { leaked = std::make_unique<Mapping>(folio(1)); }).join();
  EXPECT_EQ(trap.seen(), Misuses{Misuse::leaked_at_thread_end});
}

TEST(MappingDeathTest, MisuseAbortsByDefault) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Cache cache;
        const ObjectId object = cache.new_object();
        auto first = std::make_unique<Mapping>(get_painted(cache, object, 1));
        auto second = std::make_unique<Mapping>(get_painted(cache, object, 2));
        first.reset();
      },
      "released out of order");
}

#ifndef KARST_SANITIZED

// MP-004, MP-006: an address that is kept after its mapping faults at the next use.
TEST(MappingDeathTest, AStaleAddressFaults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const uint32_t size : {512u, 4096u, 20480u, 2u << 20}) {
    Cache cache;
    const FolioRef folio = get_painted(cache, cache.new_object(), 1, size, Residence::on_demand);
    const volatile std::byte* kept = Mapping(folio).bytes().data() + size - 1;
    EXPECT_EXIT(static_cast<void>(*kept), ::testing::KilledBySignal(SIGSEGV), "");
  }
}

// MP-004: nor is the memory that a fill or a batch read was given usable once the folio is published.
TEST(MappingDeathTest, TheAddressFromBeforePublicationFaults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Cache cache;
  const ObjectId object = cache.new_object();
  const volatile std::byte* kept = nullptr;
  const auto fill = [&](MutableBytes bytes) -> Result<void> {
    kept = bytes.data();
    return {};
  };
  const FolioRef filled = cache.get({object, 1}, 4096, Residence::on_demand, fill).value();
  EXPECT_EXIT(static_cast<void>(*kept), ::testing::KilledBySignal(SIGSEGV), "");
  NewFolio fresh = cache.allocate({object, 2}, 4096, Residence::on_demand).value();
  kept = fresh.bytes().data();
  const FolioRef published = cache.publish(std::move(fresh));
  EXPECT_EXIT(static_cast<void>(*kept), ::testing::KilledBySignal(SIGSEGV), "");
}

// A mapping for reading does not let anybody write.
TEST(MappingDeathTest, WritingThroughAReadMappingFaults) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Cache cache;
  const FolioRef folio = get_painted(cache, cache.new_object(), 1, 4096, Residence::on_demand);
  const Mapping mapping(folio);
  auto* bytes = const_cast<volatile std::byte*>(mapping.bytes().data());
  EXPECT_EXIT(*bytes = std::byte{1}, ::testing::KilledBySignal(SIGSEGV), "");
  const MutableMapping writing(folio);
  *bytes = std::byte{1};
  EXPECT_EQ(mapping.bytes()[0], std::byte{1});
}

#endif
#endif

}  // namespace
}  // namespace karst::cache
