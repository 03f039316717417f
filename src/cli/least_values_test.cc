#include "cli/least_values.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace karst::cli {
namespace {

std::vector<int> in_rounds(const std::vector<int>& all, size_t count, size_t& rounds) {
  std::vector<int> given;
  std::optional<int> last;
  for (bool more = true; more; ++rounds) {
    LeastValues<int> least(last, count);
    for (int value : all) least.add(value);
    std::vector<int> values = least.take();
    EXPECT_LE(values.size(), count);
    given.insert(given.end(), values.begin(), values.end());
    if (!values.empty()) last = values.back();
    more = least.left_some();
  }
  return given;
}

TEST(LeastValues, RoundsGiveEachValueOnceInOrder) {
  std::minstd_rand random(1);
  for (size_t size : {0, 1, 6, 7, 8, 13, 14, 15, 100, 1000}) {
    SCOPED_TRACE(size);
    std::vector<int> sorted(size);
    std::iota(sorted.begin(), sorted.end(), 0);
    std::vector<int> shuffled = sorted;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    size_t rounds = 0;
    EXPECT_EQ(in_rounds(shuffled, 7, rounds), sorted);
    EXPECT_EQ(rounds, std::max<size_t>(1, (size + 6) / 7));
  }
}

TEST(LeastValues, OrderOfComingDoesNotMatter) {
  std::vector<int> sorted(50);
  std::iota(sorted.begin(), sorted.end(), 0);
  std::vector<int> reversed(sorted.rbegin(), sorted.rend());
  size_t rounds = 0;
  EXPECT_EQ(in_rounds(sorted, 3, rounds), sorted);
  EXPECT_EQ(in_rounds(reversed, 3, rounds), sorted);
}

}  // namespace
}  // namespace karst::cli
