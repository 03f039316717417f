#include "core/spill_queue.h"

#include <gtest/gtest.h>
#include <deque>
#include <random>
#include <string>

namespace karst {
namespace {

TEST(SpillQueue, GivesBackInOrderWhateverIsInMemory) {
  for (size_t memory : {size_t{1}, size_t{50}, size_t{1000}, size_t{1} << 20}) {
    std::mt19937 random(static_cast<uint32_t>(memory));
    SpillQueue queue(testing::TempDir(), memory);
    std::deque<std::string> model;
    for (int step = 0; step < 20'000; ++step) {
      // Grows for a while, then shrinks to nothing, twice.
      const bool growing = step % 10'000 < 5000;
      if (random() % 10 < (growing ? 7u : 3u)) {
        std::string record(random() % 30, static_cast<char>('a' + step % 26));
        ASSERT_TRUE(queue.push(as_bytes(record)));
        model.push_back(record);
      } else {
        auto front = queue.front().value();
        ASSERT_EQ(front.has_value(), !model.empty());
        if (!front) continue;
        ASSERT_EQ(as_text(*front), model.front());
        queue.pop();
        model.pop_front();
      }
      ASSERT_EQ(queue.empty(), model.empty());
    }
  }
}

}  // namespace
}  // namespace karst
