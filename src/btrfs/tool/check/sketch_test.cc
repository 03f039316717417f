#include "btrfs/tool/check/sketch.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "btrfs/tool/check/block_table.h"
#include "btrfs/tool/check/dirty_rounds.h"
#include "btrfs/tool/check/facts.h"
#include "btrfs/tool/check/root_sets.h"

namespace karst::btrfs::check {
namespace {

const SketchKey key = SketchKey::from_seed(1);

TEST(Sketch, CancelsWhenBothSidesSayTheSameInAnyOrder) {
  Sum sum;
  for (uint64_t i = 0; i < 1000; ++i) sum.add(key.hash({FactKind::data_ref, i, {i * 7, 1, 2}}), i % 5);
  for (uint64_t i = 1000; i-- > 0;) sum.add(key.hash({FactKind::data_ref, i, {i * 7, 1, 2}}), minus(i % 5));
  EXPECT_TRUE(sum.is_zero());
}

TEST(Sketch, TellsEveryPartOfAFactApart) {
  const Fact fact{FactKind::data_ref, 1, {2, 3, 4}};
  for (const Fact& other : {Fact{FactKind::tree_ref, 1, {2, 3, 4}}, Fact{FactKind::data_ref, 2, {2, 3, 4}},
                            Fact{FactKind::data_ref, 1, {3, 2, 4}}, Fact{FactKind::data_ref, 1, {2, 4, 3}},
                            Fact{FactKind::data_ref, 1, {2, 3, 5}}, Fact{FactKind::data_ref, 2, {1, 3, 4}}})
    EXPECT_FALSE(key.hash(fact) == key.hash(other));
}

// A kind and a word that differ by the same bits must not make up for each other.
TEST(Sketch, TellsKindsApartWhateverTheirWords) {
  for (uint8_t a = 0; a < 32; ++a)
    for (uint8_t b = 0; b < 32; ++b)
      for (uint64_t word = 0; word < 32; ++word)
        EXPECT_TRUE(a == b || !(key.hash({FactKind(a), 256, {0}}) == key.hash({FactKind(b), 256, {word}})));
}

TEST(Sketch, CountsMatter) {
  Sum sum;
  sum.add(key.hash({FactKind::tree_ref, 1, {5}}), 3);
  sum.add(key.hash({FactKind::tree_ref, 1, {5}}), minus(2));
  EXPECT_FALSE(sum.is_zero());
  sum.add(key.hash({FactKind::tree_ref, 1, {5}}), minus(1));
  EXPECT_TRUE(sum.is_zero());
}

TEST(Sketch, AddsUpNumbersFromParts) {
  Sum sum;
  const Sum one = key.hash({FactKind::inode_bytes, 257, {}});
  sum.add(one, 12288);
  sum.add(one, minus(4096));
  EXPECT_FALSE(sum.is_zero());
  sum.add(one, minus(8192));
  EXPECT_TRUE(sum.is_zero());
}

// A bit that flipped in a number on disk is a difference of a power of two.
TEST(Sketch, SeesEveryBitOfANumber) {
  for (uint64_t seed = 1; seed <= 32; ++seed) {
    const SketchKey some = SketchKey::from_seed(seed);
    for (unsigned bit = 0; bit < 64; ++bit) {
      Sum one, two;
      one.add(some.hash({FactKind::inode_bytes, 257, {}}), uint64_t{1} << bit);
      EXPECT_FALSE(one.is_zero()) << seed << ' ' << bit;
      two = one;
      two.add(some.hash({FactKind::inode_bytes, 258, {}}), uint64_t{1} << bit);
      EXPECT_FALSE(two.is_zero()) << seed << ' ' << bit;
    }
  }
}

TEST(Sketch, CancelsTheGreatestNumbers) {
  for (uint64_t number : {~0ull, ~0ull - 1, 1ull << 63, (1ull << 61) - 1, 1ull << 61}) {
    Sum sum;
    sum.add(key.hash({FactKind::inode_bytes, 257, {}}), number);
    EXPECT_FALSE(sum.is_zero());
    sum.add(key.hash({FactKind::inode_bytes, 257, {}}), minus(number));
    EXPECT_TRUE(sum.is_zero());
  }
}

TEST(Sketch, DependsOnTheKeySoThatNoImageIsMadeToCancel) {
  const Fact fact{FactKind::data_ref, 1, {2, 3, 4}};
  EXPECT_FALSE(key.hash(fact) == SketchKey::from_seed(2).hash(fact));
  EXPECT_FALSE(SketchKey::random().hash(fact) == SketchKey::random().hash(fact));
}

TEST(Sketch, HashesNamesByLengthAndContents) {
  EXPECT_EQ(key.hash_name("a name of some length"), key.hash_name("a name of some length"));
  EXPECT_NE(key.hash_name("a"), key.hash_name(std::string_view("a\0", 2)));
  EXPECT_NE(key.hash_name("12345678"), key.hash_name("123456789"));
  EXPECT_NE(key.hash_name("1234567887654321"), key.hash_name("8765432112345678"));
}

TEST(BucketSketch, IsDirtyOnlyWhereFactsDoNotAgree) {
  BucketSketch ours, theirs;
  for (uint64_t subject = 4096; subject < 4096 * 500; subject += 4096) {
    ours.add(key, {FactKind::data_extent, subject, {8192}}, 1);
    theirs.add(key, {FactKind::data_extent, subject, {subject == 4096 * 99 ? 4096u : 8192u}}, minus(1));
  }
  ours.add(theirs);
  const BucketSketch::Dirty dirty = ours.dirty();
  EXPECT_EQ(dirty.count, 1u);
  EXPECT_TRUE(dirty.flags[BucketSketch::bucket_of(key, 4096 * 99)]);
}

std::vector<bool> all_dirty() { return std::vector<bool>(BucketSketch::buckets, true); }

TEST(DirtyRounds, LookAtEachBucketOnceInPiecesThatFit) {
  const std::vector<bool> dirty = all_dirty();
  DirtyRounds rounds(dirty);
  std::vector<bool> chosen;
  std::vector<int> looked_at(dirty.size());
  while (rounds.next(chosen)) {
    size_t count = static_cast<size_t>(std::count(chosen.begin(), chosen.end(), true));
    if (count > 5000) {
      EXPECT_TRUE(rounds.shrink());
      continue;
    }
    for (size_t i = 0; i < chosen.size(); ++i) looked_at[i] += chosen[i];
  }
  EXPECT_EQ(rounds.unexplained(), 0u);
  EXPECT_EQ(std::count(looked_at.begin(), looked_at.end(), 1), std::ssize(looked_at));
}

TEST(DirtyRounds, EndHoweverLittleFits) {
  const std::vector<bool> dirty = all_dirty();
  DirtyRounds rounds(dirty);
  std::vector<bool> chosen;
  unsigned passes = 0;
  for (; rounds.next(chosen); ++passes)
    if (std::count(chosen.begin(), chosen.end(), true) > 1) rounds.shrink();
  EXPECT_LT(passes, 100u);
  EXPECT_EQ(rounds.unexplained(), dirty.size() - DirtyRounds::rounds_max);
}

TEST(DirtyRounds, PassOverABucketThatIsTooMuchByItself) {
  std::vector<bool> dirty(BucketSketch::buckets);
  dirty[3] = dirty[7] = true;
  DirtyRounds rounds(dirty);
  std::vector<bool> chosen;
  std::vector<size_t> fit;
  while (rounds.next(chosen))
    if (chosen[3])
      rounds.shrink();
    else
      fit.push_back(7);
  EXPECT_EQ(fit, std::vector<size_t>{7});
  EXPECT_EQ(rounds.unexplained(), 1u);
}

TEST(BlockTable, FindsWhatItWasGivenAndClaimsOnceInEachScan) {
  BlockTable table;
  constexpr uint64_t blocks = 20000, step = 16384;
  for (uint64_t i = 1; i <= blocks; ++i) {
    EXPECT_TRUE(table.claim(i * step));
    table.update(i * step, [&](BlockFacts& facts) { facts.generation = i; });
  }
  uint64_t wrong = 0, seen = 0;
  for (uint64_t i = 1; i <= blocks; ++i)
    wrong += table.find(i * step).generation != i || table.claim(i * step);
  for (size_t shard = 0; shard < BlockTable::shard_count; ++shard)
    table.for_each(shard, [&](uint64_t bytenr, const BlockFacts& facts) {
      ++seen;
      wrong += facts.generation * step != bytenr;
    });
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(seen, blocks);
  EXPECT_EQ(table.find(blocks * step + step).generation, 0u);
  EXPECT_FALSE(table.claim(0));
  table.next_scan();
  EXPECT_TRUE(table.claim(step));
}

TEST(RootSets, KeepsEqualSetsOnce) {
  RootSets sets;
  const auto both = sets.joined(sets.of(257), sets.of(5));
  EXPECT_EQ(both, sets.joined(sets.of(5), sets.of(257)));
  EXPECT_EQ(sets.members(both), (std::vector<uint64_t>{5, 257}));
  EXPECT_EQ(sets.joined(both, sets.of(5)), both);
  EXPECT_EQ(sets.joined(RootSets::none, both), both);
  EXPECT_TRUE(sets.members(RootSets::none).empty());
}

}  // namespace
}  // namespace karst::btrfs::check
