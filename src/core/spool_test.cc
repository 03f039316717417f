#include "core/spool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace karst {
namespace {

std::vector<std::byte> numbers(size_t size) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// Appended in pieces of many sizes, with this much of it kept in memory.
Spool filled(Bytes bytes, uint64_t memory) {
  Spool spool({.directory = testing::TempDir(), .memory = memory});
  for (size_t length = 1; !bytes.empty(); length = length * 3 + 1) {
    const Bytes piece = bytes.first(std::min(bytes.size(), length % (3 << 20)));
    EXPECT_TRUE(spool.append(piece));
    bytes = bytes.subspan(piece.size());
  }
  return spool;
}

constexpr size_t piece = Spool::piece_size;
constexpr uint64_t memories[] = {0, 1, piece - 1, piece, piece + 1, 2 * piece, 100 * piece};

TEST(Spool, GivesBackWhatWasAppendedWhereverItIsKept) {
  const std::vector<std::byte> bytes = numbers(5 * piece / 2);
  for (uint64_t memory : memories) {
    const Spool spool = filled(bytes, memory);
    ASSERT_EQ(spool.size(), bytes.size());
    std::vector<std::byte> all;
    ASSERT_TRUE(spool.for_each([&](Bytes some) -> Result<void> {
      all.insert(all.end(), some.begin(), some.end());
      return {};
    }));
    EXPECT_TRUE(all == bytes) << memory;
  }
}

TEST(Spool, ReadsAnyRangeAlsoOverTheEndsOfPieces) {
  const std::vector<std::byte> bytes = numbers(5 * piece / 2);
  for (uint64_t memory : memories) {
    const Spool spool = filled(bytes, memory);
    for (uint64_t start : {size_t{0}, piece - 1, piece, 2 * piece - 7, 2 * piece, bytes.size() - 1}) {
      for (uint64_t length : {size_t{1}, size_t{8}, piece + 1, 3 * piece}) {
        std::vector<std::byte> read(std::min(length, bytes.size() - start));
        ASSERT_TRUE(spool.read(start, read));
        ASSERT_TRUE(std::equal(read.begin(), read.end(), bytes.begin() + static_cast<ptrdiff_t>(start)))
            << memory << " at " << start;
      }
    }
  }
}

TEST(Spool, CanBeReadBetweenAppends) {
  Spool spool({.directory = testing::TempDir(), .memory = piece});
  const std::vector<std::byte> bytes = numbers(3 * piece);
  for (size_t at = 0; at < bytes.size(); at += piece / 2) {
    ASSERT_TRUE(spool.append(Bytes(bytes).subspan(at, piece / 2)));
    std::vector<std::byte> read(at + piece / 2);
    ASSERT_TRUE(spool.read(0, read));
    ASSERT_TRUE(std::equal(read.begin(), read.end(), bytes.begin()));
  }
}

TEST(Spool, NeedsNoFileForWhatFitsIntoMemory) {
  Spool spool({.directory = "/nonexistent", .memory = 2 * piece});
  EXPECT_TRUE(spool.append(numbers(2 * piece)));
  // The piece that is being filled is in memory too.
  EXPECT_TRUE(spool.append(numbers(piece - 1)));
  EXPECT_FALSE(spool.append(numbers(1)));
}

TEST(Spool, SaysWhenTheFileIsFull) {
  Spool spool({.directory = testing::TempDir(), .memory = 0, .spill_limit = 2 * piece});
  EXPECT_TRUE(spool.append(numbers(2 * piece)));
  EXPECT_TRUE(spool.append(numbers(piece)).error().is(err::no_space));
}

}  // namespace
}  // namespace karst
