// Facts of single leaves: what must not cancel although nothing else in the tree speaks of it.
#include "btrfs/tool/check/inode_facts.h"

#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs::check {
namespace {

using namespace karst::btrfs::testing;

class SumSink final : public FactSink {
 public:
  void add(const Fact& fact, Times times) override { sum.add(key.hash(fact), times); }
  const SketchKey key = SketchKey::from_seed(1);
  Sum sum;
};

bool agrees(const LeafBuilder& leaf, InodeContext context = {}) {
  SumSink sink;
  Block block = leaf.build();
  add_file_facts(block.view(), file_rules(sink.key, test_geometry()), context, sink);
  return sink.sum.is_zero();
}

// Attributes and holes have no counterpart anywhere but the inode itself.
TEST(InodeFacts, ItemsWithoutAnInodeItemDoNotAgree) {
  LeafBuilder attribute;
  attribute.item({300, ItemType::xattr_item, 5}, sample_dir_entry("user.a", FileType::xattr, {}, "b"));
  EXPECT_FALSE(agrees(attribute));
  EXPECT_TRUE(agrees(attribute, {.inode = 300, .known = true}));
  EXPECT_FALSE(agrees(attribute, {.inode = 299, .known = true}));

  LeafBuilder hole;
  hole.item({300, ItemType::extent_data, 0}, packed(changed(sample_file_extent(), [](FileExtent& extent) {
              extent.disk_bytenr = extent.disk_num_bytes = 0;
            })));
  EXPECT_FALSE(agrees(hole));
  EXPECT_TRUE(agrees(hole, {.inode = 300, .known = true}));
}

TEST(InodeFacts, OrphanItemsNeedNoInode) {
  LeafBuilder leaf;
  leaf.item({id::orphan, ItemType::orphan_item, 300});
  InodeContext context;
  SumSink sink;
  Block block = leaf.build();
  add_file_facts(block.view(), file_rules(sink.key, test_geometry()), context, sink);
  sink.sum.add(sink.key.hash({FactKind::inode_orphan, 300, {}}), 1);
  EXPECT_TRUE(sink.sum.is_zero());
}

}  // namespace
}  // namespace karst::btrfs::check
