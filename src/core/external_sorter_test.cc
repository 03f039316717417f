#include "core/external_sorter.h"

#include <gtest/gtest.h>
#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace karst {
namespace {

using Records = std::vector<std::pair<std::string, std::string>>;

Records read_all(const ExternalSorter& sorter) {
  Records records;
  auto reader = sorter.reader();
  while (reader.next().value()) records.emplace_back(as_text(reader.key()), as_text(reader.value()));
  return records;
}

void add_all(ExternalSorter& sorter, const Records& records) {
  for (const auto& [key, value] : records) ASSERT_TRUE(sorter.add(as_bytes(key), as_bytes(value)));
}

Records sorted(Records records) {
  std::stable_sort(records.begin(), records.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return records;
}

// Few different bytes and a long beginning that is shared, so that keys are equal and are prefixes of each
// other.
Records random_records(uint32_t seed, size_t count) {
  std::mt19937 random(seed);
  Records records;
  for (size_t i = 0; i < count; ++i) {
    std::string key = random() % 8 ? "shared/beginning/" : "shared/";
    for (size_t n = random() % 6; n > 0; --n) key += static_cast<char>("\0a\xff"[random() % 3]);
    records.emplace_back(key, std::string(random() % 40, 'v') + std::to_string(i));
  }
  return records;
}

TEST(ExternalSorter, OrdersByKeyAndKeepsTheOrderOfEqualKeys) {
  for (uint64_t memory : {uint64_t{64} << 20, uint64_t{100'000}, uint64_t{20'000}, uint64_t{1}}) {
    for (uint32_t seed = 1; seed <= 3; ++seed) {
      SCOPED_TRACE(testing::Message() << "memory " << memory << " seed " << seed);
      Records records = random_records(seed, memory == 1 ? 700 : 20'000);
      ExternalSorter sorter({.memory = memory, .directory = testing::TempDir()});
      add_all(sorter, records);
      ASSERT_TRUE(sorter.finish());
      EXPECT_EQ(sorter.record_count(), records.size());
      EXPECT_EQ(sorter.spilled_bytes() > 0, memory < 1'000'000);
      EXPECT_EQ(read_all(sorter), sorted(records));
    }
  }
}

TEST(ExternalSorter, ReadersAreIndependent) {
  ExternalSorter sorter({.memory = 30'000, .directory = testing::TempDir()});
  Records records = random_records(7, 3000);
  add_all(sorter, records);
  ASSERT_TRUE(sorter.finish());
  records = sorted(records);
  auto ahead = sorter.reader(), behind = sorter.reader();
  for (size_t i = 0; i < records.size() + 100; ++i) {
    EXPECT_EQ(ahead.next().value(), i < records.size());
    if (i < 100) continue;
    ASSERT_TRUE(behind.next().value());
    ASSERT_EQ(as_text(behind.key()), records[i - 100].first);
    ASSERT_EQ(as_text(behind.value()), records[i - 100].second);
  }
}

TEST(ExternalSorter, WhatArrivesInOrderIsWrittenOnceAndNeverMerged) {
  ExternalSorter sorter({.memory = 50'000, .directory = testing::TempDir()});
  Records records = sorted(random_records(9, 20'000));
  add_all(sorter, records);
  const uint64_t before = sorter.spilled_bytes();
  ASSERT_TRUE(sorter.finish());
  EXPECT_GT(before, 400'000u);
  EXPECT_LT(sorter.spilled_bytes(), before + 50'000);
  EXPECT_EQ(read_all(sorter), records);
}

TEST(ExternalSorter, RecordsMayBeEmptyOrBiggerThanItsMemory) {
  Records records = {{"b", std::string(300'000, 'x')}, {"", ""}, {std::string(200'000, 'a'), ""}, {"", "2"}};
  for (uint64_t memory : {uint64_t{1} << 20, uint64_t{1000}}) {
    ExternalSorter sorter({.memory = memory, .directory = testing::TempDir()});
    add_all(sorter, records);
    ASSERT_TRUE(sorter.finish());
    EXPECT_EQ(read_all(sorter), sorted(records));
  }
}

TEST(ExternalSorter, NothingAddedNothingRead) {
  ExternalSorter sorter({.directory = "/nonexistent"});
  ASSERT_TRUE(sorter.finish());
  EXPECT_TRUE(read_all(sorter).empty());
}

TEST(ExternalSorter, MemoryAloneNeedsNoDirectory) {
  ExternalSorter sorter({.memory = 1 << 20, .directory = "/nonexistent"});
  add_all(sorter, random_records(1, 1000));
  EXPECT_TRUE(sorter.finish());
}

TEST(ExternalSorter, ErrorsOfTheTemporaryFileComeOut) {
  ExternalSorter nowhere({.memory = 1000, .directory = "/nonexistent"});
  ExternalSorter full({.memory = 1000, .directory = testing::TempDir(), .spill_limit = 5000});
  auto until_error = [](ExternalSorter& sorter) -> Result<void> {
    for (const auto& [key, value] : random_records(3, 20'000))
      TRY(sorter.add(as_bytes(key), as_bytes(value)));
    return sorter.finish();
  };
  EXPECT_TRUE(until_error(nowhere).error().is(err::not_found));
  EXPECT_TRUE(until_error(full).error().is(err::no_space));
}

// Merging needs room too; without it the error comes from finish().
TEST(ExternalSorter, NoRoomForMergingIsAnErrorOfFinish) {
  Records records = random_records(5, 2000);
  ExternalSorter measure({.memory = 20'000, .directory = testing::TempDir()});
  add_all(measure, records);
  ASSERT_TRUE(measure.finish());
  ExternalSorter tight(
      {.memory = 20'000, .directory = testing::TempDir(), .spill_limit = measure.spilled_bytes() * 3 / 4});
  add_all(tight, records);
  auto end = tight.finish();
  ASSERT_FALSE(end);
  EXPECT_TRUE(end.error().is(err::no_space)) << end.error().message();
}

}  // namespace
}  // namespace karst
