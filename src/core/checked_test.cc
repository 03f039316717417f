#include "core/checked.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "core/function_ref.h"

namespace karst {
namespace {

constexpr uint64_t most = std::numeric_limits<uint64_t>::max();

// CO-007.
TEST(Checked, GivesNothingExactlyWhenTheResultDoesNotFit) {
  EXPECT_EQ(checked_add(most, uint64_t{0}), most);
  EXPECT_FALSE(checked_add(most, uint64_t{1}));
  EXPECT_EQ(checked_sub(uint64_t{5}, uint64_t{5}), 0u);
  EXPECT_FALSE(checked_sub(uint64_t{5}, uint64_t{6}));
  EXPECT_EQ(checked_mul(most / 3, uint64_t{3}), most / 3 * 3);
  EXPECT_FALSE(checked_mul(most / 3 + 1, uint64_t{3}));
  EXPECT_FALSE(checked_mul(std::numeric_limits<int32_t>::min(), -1));
}

TEST(Checked, CarriesNothingThrough) {
  uint64_t count = most / 8;
  EXPECT_FALSE(checked_add(uint64_t{100}, checked_mul(count, uint64_t{8})));
  EXPECT_FALSE(checked_add(uint64_t{100}, checked_mul(count, uint64_t{17})));
  EXPECT_EQ(checked_add(uint64_t{100}, checked_mul(uint64_t{3}, uint64_t{8})), 124u);
}

TEST(Checked, CastsOnlyWhatStaysTheSame) {
  EXPECT_EQ(checked_cast<uint8_t>(255), 255);
  EXPECT_FALSE(checked_cast<uint8_t>(256));
  EXPECT_FALSE(checked_cast<uint64_t>(-1));
  EXPECT_FALSE(checked_cast<int64_t>(most));
}

TEST(Checked, RoundsUpOrGivesNothing) {
  EXPECT_EQ(checked_round_up<uint64_t>(0, 4096), 0u);
  EXPECT_EQ(checked_round_up<uint64_t>(1, 4096), 4096u);
  EXPECT_EQ(checked_round_up<uint64_t>(most - 4095, 4096), most - 4095);
  EXPECT_FALSE(checked_round_up<uint64_t>(most - 4094, 4096));
}

int twice(int value) { return 2 * value; }
int apply(FunctionRef<int(int)> function, int value) { return function(value); }

TEST(FunctionRef, CallsFunctionsAndTheVeryObjectItRefersTo) {
  EXPECT_EQ(apply(twice, 4), 8);
  int calls = 0;
  auto counting = [&calls, own = 0](int value) mutable {
    ++calls;
    return ++own + value;
  };
  EXPECT_EQ(apply(counting, 10), 11);
  EXPECT_EQ(apply(counting, 10), 12);
  EXPECT_EQ(calls, 2);
  const auto constant = [](int value) { return value; };
  EXPECT_EQ(apply(constant, 3), 3);
}

TEST(FunctionRef, ForwardsWhatOnlyMoves) {
  auto take = [](std::unique_ptr<int> value) { return *value; };
  FunctionRef<int(std::unique_ptr<int>)> reference = take;
  EXPECT_EQ(reference(std::make_unique<int>(9)), 9);
}

}  // namespace
}  // namespace karst
