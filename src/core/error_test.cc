#include "core/error.h"

#include <gtest/gtest.h>

#include "core/result.h"

namespace karst {
namespace {

const ErrorKind leaf_broken{"leaf-broken", &err::corrupt, EIO};

Result<int> fails() {
  return Error::make(leaf_broken, "item {} overlaps", 3).at("device", "a.img").at("offset", 4096);
}
Result<int> passes_on() {
  return TRY(fails().context([] { return std::string("reading tree 5"); })) + 1;
}
Result<std::unique_ptr<int>> moves_through() {
  Result<std::unique_ptr<int>> inner = std::make_unique<int>(7);
  return TRY(std::move(inner));
}
Result<void> void_step(bool ok) {
  if (ok) return {};
  return Error(err::busy, "in use");
}
Result<int> after_void(bool ok) {
  TRY(void_step(ok));
  return 1;
}

TEST(Error, CarriesKindPlaceAndTheOperationsItCameThrough) {
  auto result = passes_on();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(),
            "reading tree 5: item 3 overlaps at device a.img, offset 4096 [leaf-broken]");
}

TEST(Error, IsAlsoEachOfItsParents) {
  Error error(leaf_broken, "x");
  EXPECT_TRUE(error.is(leaf_broken));
  EXPECT_TRUE(error.is(err::corrupt));
  EXPECT_FALSE(error.is(err::io));
}

TEST(Error, ShowsExpectedAndFound) {
  Error error = Error(err::checksum, "bad checksum").expected("0x1", "0x2");
  EXPECT_EQ(error.message(), "bad checksum (expected 0x1, found 0x2) [checksum]");
}

TEST(Error, FromErrnoTakesTheFamilyWithThatErrno) {
  EXPECT_TRUE(Error::from_errno(ENOSPC, "x").is(err::no_space));
  EXPECT_TRUE(Error::from_errno(EIO, "x").is(err::io));
  EXPECT_EQ(Error::from_errno(EACCES, "x").errno_value(), EACCES);
}

TEST(Result, TryMovesTheValueOutOrReturnsTheError) {
  EXPECT_EQ(*moves_through().value(), 7);
  EXPECT_EQ(after_void(true).value(), 1);
  EXPECT_TRUE(after_void(false).error().is(err::busy));
}

}  // namespace
}  // namespace karst
