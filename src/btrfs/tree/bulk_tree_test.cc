// Trees built from sorted items, block by block.
#include "btrfs/tree/bulk_tree.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "btrfs/format/object_ids.h"

namespace karst::btrfs {
namespace {

constexpr ItemType any_type{222};  // of no meaning, so that any bytes will do

// Keeps blocks, at addresses far apart.
class KeepingSink final : public BlockSink {
 public:
  Result<Logical> allocate() override { return Logical(next_ += 1 << 20); }
  Result<void> write(const TreeBlock& block) override {
    if (fails) return Error(karst::err::no_space, "sink");
    blocks[block.bytenr()].assign(block.bytes().begin(), block.bytes().end());
    return {};
  }
  std::map<uint64_t, std::vector<std::byte>> blocks;
  bool fails = false;

 private:
  uint64_t next_ = 0;
};

class BulkTreeTest : public ::testing::Test {
 protected:
  BulkTree begin(uint32_t nodesize, uint64_t owner = id::fs_tree) {
    stamp_.geometry.nodesize = nodesize;
    stamp_.geometry.sectorsize = 4096;
    stamp_.geometry.generation = 9;
    stamp_.geometry.checksum_type = ChecksumType::xxhash64;
    stamp_.geometry.checksum_size = 8;
    stamp_.geometry.metadata_uuid.bytes[3] = 3;
    stamp_.chunk_tree_uuid.bytes[5] = 5;
    return BulkTree(stamp_, owner, sink_);
  }
  // The items below a block, which is what its parent expects (BT-012, BT-023); and how full leaves are.
  void walk(uint64_t address, const BlockExpectation& expected) {
    const std::vector<std::byte>& bytes = sink_.blocks.at(address);
    auto verified = verify_block(bytes, stamp_.geometry, expected);
    ASSERT_TRUE(verified) << verified.error().message();
    const TreeBlock block(bytes);
    EXPECT_EQ(block.header().chunk_tree_uuid, stamp_.chunk_tree_uuid);
    ++blocks_;
    for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
      if (block.is_leaf()) {
        items_.emplace_back(block.key(slot), as_text(block.item_data(slot)));
        filled_ += sizeof(Item) + block.item_data(slot).size();
        continue;
      }
      const KeyPtr& child = block.key_ptr(slot);
      EXPECT_LT(child.blockptr, address) << "children are written before their parents";
      walk(child.blockptr, {.bytenr = Logical(uint64_t(child.blockptr)),
                            .generation = 9,
                            .level = static_cast<uint8_t>(block.level() - 1),
                            .owner = id::fs_tree,
                            .first_key = child.key.key()});
    }
    leaves_ += block.is_leaf();
  }
  void walk(const TreeRoot& root) {
    walk(raw(root.address), {.bytenr = root.address,
                             .generation = 9,
                             .level = root.level,
                             .owner = id::fs_tree,
                             .first_key = {}});
  }

  BlockStamp stamp_;
  KeepingSink sink_;
  std::vector<std::pair<Key, std::string>> items_;
  uint64_t blocks_ = 0, leaves_ = 0, filled_ = 0;
};

TEST_F(BulkTreeTest, HoldsTheItemsInOrderInFullLeaves) {
  std::mt19937_64 random(3);
  for (uint32_t nodesize : {4096u, 16384u, 65536u}) {
    items_.clear();
    blocks_ = leaves_ = filled_ = 0;
    std::map<Key, std::string> given;
    while (given.size() < 100'000)
      given[{random() % 1000, any_type, random()}] = std::string(random() % 40, static_cast<char>(random()));
    BulkTree tree = begin(nodesize);
    for (const auto& [key, data] : given)
      ASSERT_TRUE(
          tree.add(key, {as_bytes(data).first(data.size() / 2), as_bytes(data).subspan(data.size() / 2)}));
    const TreeRoot root = tree.finish().value();
    walk(root);
    EXPECT_TRUE(
        std::equal(given.begin(), given.end(), items_.begin(), items_.end(),
                   [](const auto& a, const auto& b) { return a.first == b.first && a.second == b.second; }));
    EXPECT_EQ(root.blocks, blocks_);
    EXPECT_EQ(root.level, nodesize == 4096 ? 2 : 1);
    EXPECT_GT(filled_, leaves_ * (nodesize - sizeof(Header)) * 95 / 100);
    EXPECT_TRUE(std::equal(tree.root_block().begin(), tree.root_block().end(),
                           sink_.blocks.at(raw(root.address)).begin()));
  }
}

TEST_F(BulkTreeTest, WithoutItemsIsOneEmptyLeaf) {
  const TreeRoot root = begin(4096, id::csum_tree).finish().value();
  EXPECT_EQ(root.level, 0);
  EXPECT_EQ(root.blocks, 1u);
  EXPECT_EQ(TreeBlock(sink_.blocks.at(raw(root.address))).nritems(), 0u);
}

TEST_F(BulkTreeTest, TakesItemsAsLargeAsALeaf) {
  BulkTree tree = begin(4096);
  const std::string largest(BulkTree::max_item_size(4096), 'x');
  for (uint64_t n = 0; n < 3; ++n) ASSERT_TRUE(tree.add({n, any_type, 0}, as_bytes(largest)));
  walk(tree.finish().value());
  EXPECT_EQ(leaves_, 3u);
  EXPECT_EQ(items_[2].second, largest);
}

TEST_F(BulkTreeTest, RefusesItemsLargerThanALeafAndGoesOn) {
  BulkTree tree = begin(4096);
  const std::string larger(BulkTree::max_item_size(4096) + 1, 'x');
  EXPECT_TRUE(tree.add({1, any_type, 0}, as_bytes(larger)).error().is(karst::err::invalid));
  EXPECT_TRUE(tree.add({1, any_type, 0}, as_bytes(larger).subspan(1)));
}

TEST_F(BulkTreeTest, RefusesKeysThatDoNotAscend) {
  BulkTree tree = begin(4096);
  ASSERT_TRUE(tree.add({1, any_type, 5}));
  for (Key key : {Key{1, any_type, 5}, Key{1, any_type, 4}, Key{0, any_type, 9}})
    EXPECT_TRUE(tree.add(key).error().is(karst::err::invalid)) << fmt::format("{}", key);
  // Also over the end of a leaf.
  ASSERT_TRUE(tree.add({2, any_type, 0}, as_bytes(std::string(3000, 'x'))));
  ASSERT_TRUE(tree.add({3, any_type, 0}, as_bytes(std::string(3000, 'x'))));
  EXPECT_FALSE(tree.add({2, any_type, 0}));
}

TEST_F(BulkTreeTest, WritesNoBlockThatItWouldNotRead_BT021) {
  BulkTree tree = begin(4096);
  ASSERT_TRUE(tree.add({256, ItemType::inode_item, 0}, as_bytes("too short")));
  EXPECT_TRUE(tree.finish().error().is(err::item_inode));
  EXPECT_TRUE(sink_.blocks.empty());
}

TEST_F(BulkTreeTest, CarriesTheSinksErrorsUp) {
  BulkTree tree = begin(4096);
  sink_.fails = true;
  Result<void> added;
  for (uint64_t n = 0; n < 200 && added; ++n)
    added = tree.add({n, any_type, 0}, as_bytes(std::string(100, 'x')));
  EXPECT_TRUE(added.error().is(karst::err::no_space));
}

// CO-009: nothing of an earlier block, and nothing uninitialised.
TEST_F(BulkTreeTest, LeavesNoBytesOfEarlierBlocksInLaterOnes_CO009) {
  BulkTree tree = begin(4096);
  ASSERT_TRUE(tree.add({1, any_type, 0}, as_bytes(std::string(BulkTree::max_item_size(4096), 'x'))));
  ASSERT_TRUE(tree.add({2, any_type, 0}, as_bytes(std::string("y"))));
  ASSERT_TRUE(tree.finish());
  const std::vector<std::byte>& second = sink_.blocks.at(2 << 20);
  EXPECT_EQ(std::count(second.begin(), second.end(), std::byte{'x'}), 0);
}

}  // namespace
}  // namespace karst::btrfs
