// What the phases share: roots and what is left of them.
#include "btrfs/tool/check/state.h"

#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs::check {
namespace {

using namespace karst::btrfs::testing;

// Linux frees a subvolume from the first key to the last and notes on which key of which level it is.
// Whatever lies before is gone, on every level above too.
TEST(RootRecord, KnowsWhatADeletionHasLeft) {
  const Block node =
      build_node(id::first_free, {pointer_to(100, 4096), pointer_to(200, 8192), pointer_to(300, 12288)});
  auto first_kept = [&](uint8_t drop_level, uint64_t objectid) {
    RootRecord root;
    root.drop_level = drop_level;
    root.drop_progress = Key{objectid, ItemType::inode_item, 0};
    Block at_level_one = node;
    return root.first_kept_slot(at_level_one.view());
  };
  EXPECT_EQ(RootRecord().first_kept_slot(node.view()), 0u);
  EXPECT_EQ(first_kept(1, 200), 1u);  // goes on with it
  EXPECT_EQ(first_kept(1, 201), 2u);
  EXPECT_EQ(first_kept(0, 200), 1u);  // is below it
  EXPECT_EQ(first_kept(0, 201), 1u);
  EXPECT_EQ(first_kept(0, 1), 0u);
  EXPECT_EQ(first_kept(2, 200), 0u);  // has not come down to this level
}

}  // namespace
}  // namespace karst::btrfs::check
