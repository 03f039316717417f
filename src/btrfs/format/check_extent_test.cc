#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

constexpr uint64_t start = 13631488;
constexpr uint64_t future = test_generation + 2;

LeafBuilder extent_tree() { return LeafBuilder(id::extent_tree); }
std::string data_verdict(std::string_view item, const Key& key = {start, ItemType::extent_item, 8192}) {
  return verdict(extent_tree().item(key, item));
}
std::string skinny_verdict(std::string_view item, const Key& key = {start, ItemType::metadata_item, 0}) {
  return verdict(extent_tree().item(key, item));
}

TEST(CheckExtent, RefusesEachFieldThatContradictsTheFormat_BT021_CO007) {
  const std::string one = data_ref(5, 257, 0, 1);
  EXPECT_EQ(data_verdict(sample_data_extent(1, one)), "ok");
  EXPECT_EQ(data_verdict(sample_data_extent(0, one)), "item-backref");
  EXPECT_EQ(data_verdict(sample_data_extent(1, one), {start + 1, ItemType::extent_item, 8192}),
            "item-extent");
  EXPECT_EQ(data_verdict(sample_data_extent(1, one), {start, ItemType::extent_item, 8191}), "item-extent");
  EXPECT_EQ(data_verdict(sample_data_extent(1, one), {start, ItemType::extent_item, 0}), "item-extent");
  EXPECT_EQ(data_verdict(sample_data_extent(1, one), {~4095ull, ItemType::extent_item, 8192}), "item-extent");
  EXPECT_EQ(data_verdict("too short"), "item-extent");
  EXPECT_EQ(data_verdict(packed(ExtentItem{1, future, extent_flag::data})), "item-extent");
  EXPECT_EQ(data_verdict(packed(ExtentItem{1, 6, 0})), "item-extent");
  EXPECT_EQ(data_verdict(packed(ExtentItem{1, 6, extent_flag::data | extent_flag::tree_block})),
            "item-extent");
  EXPECT_EQ(data_verdict(packed(ExtentItem{1, 6, extent_flag::data | extent_flag::full_backref})),
            "item-extent");
}

TEST(CheckExtent, KnowsBothFormsOfTreeBlocks_BT021) {
  const std::string one = plain_ref(ItemType::tree_block_ref, 5);
  const std::string info = packed(TreeBlockInfo{DiskKey::from({256, ItemType::inode_item, 0}), 0});
  const Key full{start, ItemType::extent_item, 4096};
  EXPECT_EQ(skinny_verdict(sample_tree_extent(1, one)), "ok");
  EXPECT_EQ(skinny_verdict(sample_tree_extent(1, one), {start, ItemType::metadata_item, 8}), "item-extent");
  EXPECT_EQ(skinny_verdict(sample_data_extent(1, one)), "item-extent");
  EXPECT_EQ(data_verdict(sample_tree_extent(1, info + one), full), "ok");
  EXPECT_EQ(data_verdict(sample_tree_extent(1, info + one)), "item-extent") << "not a node's size";
  EXPECT_EQ(data_verdict(sample_tree_extent(1, info.substr(1)), full), "item-extent");
  TreeBlockInfo high{{}, 8};
  EXPECT_EQ(data_verdict(sample_tree_extent(1, packed(high) + one), full), "item-extent");
  Geometry old = test_geometry();
  old.incompat &= ~incompat::skinny_metadata;
  EXPECT_EQ(verdict(extent_tree().item({start, ItemType::metadata_item, 0}, sample_tree_extent(1, one)), old),
            "item-extent");
}

TEST(CheckInlineRefs, AreOfKnownTypesInsideTheItemAndInOrder_BT021) {
  const std::string tree5 = plain_ref(ItemType::tree_block_ref, 5),
                    tree7 = plain_ref(ItemType::tree_block_ref, 7);
  const std::string shared = plain_ref(ItemType::shared_block_ref, 4096);
  EXPECT_EQ(skinny_verdict(sample_tree_extent(3, tree7 + tree5 + shared)), "ok");
  EXPECT_EQ(skinny_verdict(sample_tree_extent(2, tree7 + tree5 + shared)), "item-backref") << "too many";
  EXPECT_EQ(skinny_verdict(sample_tree_extent(2, tree5 + tree7)), "item-backref") << "ascending";
  EXPECT_EQ(skinny_verdict(sample_tree_extent(2, shared + tree5)), "item-backref") << "types descending";
  EXPECT_EQ(skinny_verdict(sample_tree_extent(1, tree5.substr(1))), "item-backref") << "cut";
  EXPECT_EQ(skinny_verdict(sample_tree_extent(1, tree5 + "x")), "item-backref") << "a tail";
  EXPECT_EQ(skinny_verdict(sample_tree_extent(1, plain_ref(ItemType::shared_block_ref, 4097))),
            "item-backref");
  EXPECT_EQ(skinny_verdict(sample_tree_extent(1, plain_ref(ItemType{99}, 5))), "item-backref") << "unknown";
  EXPECT_EQ(data_verdict(sample_data_extent(9, data_ref(5, 257, 1, 1))), "item-backref") << "odd offset";
  EXPECT_EQ(data_verdict(sample_data_extent(9, data_ref(5, 257, 0, 10))), "item-backref") << "count";
  EXPECT_EQ(
      data_verdict(sample_data_extent(1, plain_ref(ItemType::extent_owner_ref, 5) + data_ref(5, 257, 0, 1))),
      "ok")
      << "an owner is no reference";
}

// BT-022: extents whose byte ranges overlap are refused.
TEST(CheckExtent, RefusesExtentsThatOverlap_BT022) {
  const std::string data = sample_data_extent(1, data_ref(5, 257, 0, 1));
  const std::string tree = sample_tree_extent(1, plain_ref(ItemType::tree_block_ref, 5));
  auto after = [&](const Key& first, std::string_view first_item, uint64_t second) {
    return verdict(extent_tree().item(first, first_item).item({second, ItemType::extent_item, 4096}, data));
  };
  const Key data_key{start, ItemType::extent_item, 8192}, tree_key{start, ItemType::metadata_item, 0};
  EXPECT_EQ(after(data_key, data, start + 8192), "ok");
  EXPECT_EQ(after(data_key, data, start + 4096), "item-extent-overlap");
  EXPECT_EQ(after(tree_key, tree, start + 4096), "ok");
  Geometry big_nodes = test_geometry();
  big_nodes.nodesize = 16384;
  auto leaf = LeafBuilder(id::extent_tree, 16384)
                  .item(tree_key, tree)
                  .item({start + 8192, ItemType::metadata_item, 0}, tree);
  EXPECT_EQ(verdict(leaf.build(), big_nodes), "item-extent-overlap");
}

TEST(CheckExtent, SeesOverlapsAcrossReferencesAndBlockGroups_BT022) {
  const std::string data = sample_data_extent(1, data_ref(5, 257, 0, 1));
  auto leaf = extent_tree()
                  .item({start, ItemType::extent_item, 8192}, data)
                  .item({start, ItemType::shared_data_ref, 4096}, packed(SharedDataRef{1}))
                  .item({start, ItemType::block_group_item, 1 << 20},
                        packed(BlockGroupItem{0, id::first_chunk_tree, block_group::data}))
                  .item({start + 4096, ItemType::extent_item, 4096}, data);
  EXPECT_EQ(verdict(leaf), "item-extent-overlap");
}

TEST(CheckKeyedRefs, HaveTheirSizesAndAlignedAddresses_BT021) {
  auto of = [](const Key& key, std::string_view item) { return verdict(extent_tree().item(key, item)); };
  EXPECT_EQ(of({start, ItemType::tree_block_ref, 5}, ""), "ok");
  EXPECT_EQ(of({start, ItemType::tree_block_ref, 5}, "x"), "item-backref");
  EXPECT_EQ(of({start + 1, ItemType::tree_block_ref, 5}, ""), "item-backref");
  EXPECT_EQ(of({start, ItemType::shared_block_ref, 4096}, ""), "ok");
  EXPECT_EQ(of({start, ItemType::shared_block_ref, 5}, ""), "item-backref");
  EXPECT_EQ(of({start, ItemType::shared_data_ref, 4096}, packed(SharedDataRef{1})), "ok");
  EXPECT_EQ(of({start, ItemType::shared_data_ref, 4096}, ""), "item-backref");
  EXPECT_EQ(of({start, ItemType::extent_data_ref, 99}, packed(ExtentDataRef{5, 257, 0, 1})), "ok");
  EXPECT_EQ(of({start, ItemType::extent_data_ref, 99}, packed(ExtentDataRef{5, 257, 1, 1})), "item-backref");
  EXPECT_EQ(of({start, ItemType::extent_data_ref, 99}, "x"), "item-backref");
  EXPECT_EQ(of({start, ItemType::extent_owner_ref, 0}, packed(ExtentOwnerRef{5})), "ok");
  EXPECT_EQ(of({start, ItemType::extent_owner_ref, 0}, "x"), "item-backref");
}

}  // namespace
}  // namespace karst::btrfs
