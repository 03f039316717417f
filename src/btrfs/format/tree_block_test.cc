#include "btrfs/format/tree_block.h"

#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

TEST(TreeBlock, AnswersWithNothingForWhatIsNotInsideTheBlock_BT012) {
  Block block = LeafBuilder().item({256, ItemType{77}, 1}, "some bytes").build();
  EXPECT_EQ(as_text(block.view().item_data(0)), "some bytes");
  EXPECT_TRUE(block.view().item_data(1).empty());
  EXPECT_EQ(block.view().key(1), Key{});
  block.item(0).offset = 4096;
  EXPECT_TRUE(block.view().item_data(0).empty());
  block.item(0).offset = ~0u;
  EXPECT_TRUE(block.view().item_data(0).empty());
  block.item(0).offset = 0, block.item(0).size = ~0u;
  EXPECT_TRUE(block.view().item_data(0).empty());
}

TEST(TreeBlock, NeverHasMoreItemsThanFit_BT012) {
  Block block = LeafBuilder().build();
  block.header().nritems = ~0u;
  EXPECT_EQ(block.view().nritems(), (4096u - 101) / 25);
  block.header().level = 1;
  EXPECT_EQ(block.view().nritems(), (4096u - 101) / 33);
}

TEST(TreeBlock, FindsKeysAndChildren) {
  Block leaf = LeafBuilder()
                   .item({256, ItemType{1}, 0})
                   .item({256, ItemType{1}, 5})
                   .item({300, ItemType{1}, 0})
                   .build();
  EXPECT_EQ(leaf.view().lower_bound({256, ItemType{1}, 0}), 0u);
  EXPECT_EQ(leaf.view().lower_bound({256, ItemType{1}, 1}), 1u);
  EXPECT_EQ(leaf.view().lower_bound({301, ItemType{1}, 0}), 3u);
  Block node = build_node(id::fs_tree, {pointer_to(256, 4096), pointer_to(300, 8192)});
  EXPECT_EQ(node.view().child_slot({1, ItemType{1}, 0}), 0u);
  EXPECT_EQ(node.view().child_slot({299, ItemType{1}, 0}), 0u);
  EXPECT_EQ(node.view().child_slot({300, ItemType::inode_item, 0}), 1u);
  EXPECT_EQ(node.view().child_slot(Key::max()), 1u);
}

}  // namespace
}  // namespace karst::btrfs
