// What must not compile, what must not throw, and where the hot fields lie.
#include <gtest/gtest.h>

#include "cache/cache.h"
#include "cache/shard.h"
#include "cache/test_helpers.h"

namespace karst::cache {
namespace {

template <typename From, typename To>
concept converts = std::is_convertible_v<From, To>;

// CO-021, CO-013: whether to wait is said by name. A caller of a form that took a truth value or a mask would
// not compile.
template <typename Last>
concept can_be_allocated = requires(Cache& cache, Last last) {
  cache.allocate(FolioKey{}, 4096, Residence::on_demand, last);
};
static_assert(can_be_allocated<Waiting> && !can_be_allocated<bool> && !can_be_allocated<int>);
static_assert(!converts<uint64_t, ObjectId> && !converts<ObjectId, uint64_t>);
static_assert(!converts<bool, Residence> && !converts<bool, WriteBackWhen>);

// CO-021: what can only succeed returns nothing to check.
static_assert(std::is_void_v<decltype(std::declval<Cache&>().invalidate(ObjectId{}))>);
static_assert(std::is_void_v<decltype(std::declval<Cache&>().charge(0))>);

// CO-005: what is not published has one owner; a reference is copied as such, never from an address.
static_assert(!std::is_copy_constructible_v<NewFolio> && !std::is_constructible_v<FolioRef, std::byte*>);

// MP-011: mapping never fails: there is no result to look at, and nothing is thrown.
static_assert(std::is_nothrow_constructible_v<Mapping, const FolioRef&>);
static_assert(std::is_nothrow_constructible_v<MutableMapping, const FolioRef&>);

// MP-008: a mapping is made of a folio and ended by its scope. Nothing takes an address to unmap, or gives
// back a folio and an address apart.
static_assert(!std::is_constructible_v<Mapping, std::byte*> && !std::is_constructible_v<Mapping, Bytes>);
static_assert(!std::is_move_constructible_v<Mapping> && !std::is_copy_constructible_v<Mapping>);

// CO-015: a shard's lock shares its line with no other shard.
static_assert(alignof(Shard) == 64 && sizeof(Shard) % 64 == 0);

Mapping find_and_map(Cache& cache, ObjectId object, uint64_t index) {
  return Mapping(testing::get_painted(cache, object, index, 4096, Residence::on_demand));
}

// MP-008: who looks a folio up for others gives its mapping, which knows the address and pins the folio.
TEST(TypesTest, AFunctionGivesAMappedFolioAsItsMapping) {
  Cache cache({.limit = 1 << 20});
  const ObjectId object = cache.new_object();
  {
    const Mapping mapping = find_and_map(cache, object, 3);
    cache.invalidate(object);
    EXPECT_TRUE(testing::painted(mapping.bytes(), 3));
  }
  EXPECT_EQ(cache.statistics().bytes, 0u);
}

#ifdef KARST_DEBUG
// MP-011: so a completion may map, under a lock that must not be waited under.
TEST(TypesTest, MappingDoesNotBlock) {
  static constexpr LockClass spin{"cache.test.spin", {.no_block = true}};
  Mutex mutex{spin};
  Cache cache({.limit = 1 << 20});
  const FolioRef folio = testing::get_painted(cache, cache.new_object(), 1, 4096, Residence::on_demand);
  std::vector<std::string> reports;
  auto previous =
      lock_order::set_handler([&](const lock_order::Report& report) { reports.push_back(report.text); });
  {
    MutexLock lock(mutex);
    const MutableMapping outer(folio);
    const Mapping inner(folio);
    EXPECT_TRUE(testing::painted(inner.bytes(), 1));
  }
  lock_order::set_handler(std::move(previous));
  EXPECT_EQ(reports, std::vector<std::string>());
}

// CO-018: nor does a lookup or an allocation that refuses to wait, even if others have to give memory back.
TEST(TypesTest, WhoRefusesToWaitDoesNot) {
  static constexpr LockClass spin{"cache.test.spin", {.no_block = true}};
  Mutex mutex{spin};
  Cache cache({.limit = 64 << 10, .overdraft = 4096});
  const ObjectId object = cache.new_object();
  std::vector<FolioRef> pinned;
  for (uint64_t index = 0; index < 16; ++index) pinned.push_back(testing::get_painted(cache, object, index));
  std::vector<std::string> reports;
  auto previous =
      lock_order::set_handler([&](const lock_order::Report& report) { reports.push_back(report.text); });
  {
    MutexLock lock(mutex);
    const auto fill = [](MutableBytes) -> Result<void> { return {}; };
    for (uint64_t index = 14; index < 20; ++index)
      cache.get({object, index}, 4096, Residence::always_mapped, fill, Waiting::refused).has_value();
    cache.allocate({object, 100}, 1024, Residence::always_mapped, Waiting::refused).has_value();
    cache.find({object, 1});
  }
  lock_order::set_handler(std::move(previous));
  EXPECT_EQ(reports, std::vector<std::string>());
}
#endif

}  // namespace
}  // namespace karst::cache
