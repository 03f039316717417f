#include "btrfs/tool/check/sketch.h"

#include <gtest/gtest.h>

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
