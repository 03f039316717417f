// Checksum, identity and structure of blocks; rules for items are in the tests of their families.
#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

Block leaf_of_two() {
  return LeafBuilder()
      .item({256, ItemType::inode_item, 0}, packed(sample_inode(mode::directory | 0755)))
      .item({257, ItemType::inode_item, 0}, packed(sample_inode()))
      .build();
}

Block node_of_two() { return build_node(id::fs_tree, {pointer_to(256, 4096), pointer_to(300, 8192)}); }

TEST(VerifyBlock, AcceptsAValidLeafAndNode_BT021) {
  EXPECT_EQ(verdict(leaf_of_two()), "ok");
  EXPECT_EQ(verdict(node_of_two()), "ok");
}

TEST(VerifyBlock, RefusesAWrongChecksumOfEveryType_BT035) {
  for (auto type :
       {ChecksumType::crc32c, ChecksumType::xxhash64, ChecksumType::sha256, ChecksumType::blake2b_256}) {
    Geometry geometry = test_geometry();
    geometry.checksum_type = type;
    geometry.checksum_size = static_cast<uint32_t>(checksum_size(type));
    Block block = leaf_of_two();
    block.fix_checksum(type);
    ASSERT_TRUE(check_block_checksum(block.bytes, geometry));
    block.bytes.back() ^= std::byte{1};
    auto result = verify_block(block.bytes, geometry, {Logical(test_bytenr)});
    ASSERT_FALSE(result);
    EXPECT_EQ(&result.error().kind(), &err::block_checksum);
    EXPECT_TRUE(result.error().is(karst::err::checksum));
  }
}

TEST(VerifyBlock, RefusesABlockThatItsParentDidNotMean_BT035) {
  BlockExpectation right{Logical(test_bytenr), test_generation, 0, id::fs_tree,
                         Key{256, ItemType::inode_item, 0}};
  auto with = [&](auto change) { return verdict(leaf_of_two(), test_geometry(), changed(right, change)); };
  using E = BlockExpectation;
  EXPECT_EQ(with([](E&) {}), "ok");
  EXPECT_EQ(with([](E& e) { e.bytenr = Logical(4096); }), "block-bytenr");
  EXPECT_EQ(with([](E& e) { e.generation = test_generation - 1; }), "block-generation");
  EXPECT_EQ(with([](E& e) { e.generation = test_generation + 1; }), "block-generation");
  EXPECT_EQ(with([](E& e) { e.level = 1; }), "block-level");
  EXPECT_EQ(with([](E& e) { e.owner = id::csum_tree; }), "block-owner");
  EXPECT_EQ(with([](E& e) { e.first_key = Key{255, ItemType::inode_item, 0}; }), "block-first-key");
}

TEST(VerifyBlock, AcceptsAnotherFileSystemsBlockOnlyIfThatIsItsSeed_BT035) {
  Block block = leaf_of_two();
  block.header().fsid.bytes[3] ^= 1;
  EXPECT_EQ(verdict(block), "block-fsid");
  Geometry geometry = test_geometry();
  geometry.seed_uuids.push_back(block.header().fsid);
  EXPECT_EQ(verdict(block, geometry), "ok");
}

struct OwnerCase {
  uint64_t owner, root;
  bool agrees;
};

TEST(OwnerAgrees, SubvolumesShareBlocksAndNoOtherTreeDoes_BT023) {
  const OwnerCase cases[] = {
      {id::fs_tree, id::fs_tree, true},
      {257, id::fs_tree, true},
      {id::fs_tree, 300, true},
      {300, 257, true},
      {id::csum_tree, id::csum_tree, true},
      {id::csum_tree, id::fs_tree, false},
      {257, id::csum_tree, false},
      {id::extent_tree, id::csum_tree, false},
      {id::tree_log, id::tree_log, true},
      {257, id::tree_log, false},
      {id::data_reloc_tree, 257, false},
      {id::data_reloc_tree, id::data_reloc_tree, true},
      {257, id::tree_reloc, true},
      {(1ull << 48) | 256, 257, false},
      {12345, 0, true},
  };
  for (const OwnerCase& c : cases)
    EXPECT_EQ(owner_agrees(c.owner, c.root), c.agrees) << c.owner << " " << c.root;
}

TEST(CheckBlock, RefusesHeadersThatContradictTheFormat_BT021) {
  auto with = [](Block block, auto change) { return verdict(changed(block, change)); };
  EXPECT_EQ(with(leaf_of_two(), [](Block& b) { b.header().level = 8; }), "block-level");
  EXPECT_EQ(with(leaf_of_two(), [](Block& b) { b.header().flags = 0; }), "block-flags");
  EXPECT_EQ(with(leaf_of_two(), [](Block& b) { b.header().nritems = 160; }), "block-nritems");
  EXPECT_EQ(with(leaf_of_two(), [](Block& b) { b.header().nritems = ~0u; }), "block-nritems");
  EXPECT_EQ(with(node_of_two(), [](Block& b) { b.header().nritems = 0; }), "block-nritems");
  EXPECT_EQ(with(node_of_two(), [](Block& b) { b.header().nritems = 122; }), "block-nritems");
}

TEST(CheckBlock, KnowsWhichTreesMayBeEmpty_BT021) {
  for (uint64_t owner :
       {id::root_tree, id::extent_tree, id::chunk_tree, id::dev_tree, id::fs_tree, id::data_reloc_tree})
    EXPECT_EQ(verdict(LeafBuilder(owner)), "block-empty") << owner;
  for (uint64_t owner : {id::csum_tree, id::uuid_tree, id::free_space_tree, uint64_t{257}})
    EXPECT_EQ(verdict(LeafBuilder(owner)), "ok") << owner;
  EXPECT_EQ(verdict(LeafBuilder(0)), "block-owner");
  Block relocating = LeafBuilder(id::fs_tree).build();
  relocating.header().flags |= header_flag_reloc;
  EXPECT_EQ(verdict(relocating), "ok");
}

TEST(CheckNode, RefusesKeysOutOfOrderAndBadPointers_BT021) {
  auto with = [](auto change) { return verdict(changed(node_of_two(), change)); };
  EXPECT_EQ(with([](Block& b) { b.key_ptr(1).key.objectid = 256; }), "node-key-order");
  EXPECT_EQ(with([](Block& b) { b.key_ptr(0).key.objectid = 301; }), "node-key-order");
  EXPECT_EQ(with([](Block& b) { b.key_ptr(0).blockptr = 0; }), "node-pointer");
  EXPECT_EQ(with([](Block& b) { b.key_ptr(1).blockptr = 0; }), "node-pointer");
  EXPECT_EQ(with([](Block& b) { b.key_ptr(1).blockptr = 4097; }), "node-pointer");
}

TEST(CheckLeaf, RefusesKeysOutOfOrderAndItemsOutOfPlace_BT012_BT021) {
  auto with = [](auto change) { return verdict(changed(leaf_of_two(), change)); };
  EXPECT_EQ(with([](Block& b) { b.item(1).key.objectid = 256; }), "leaf-key-order");
  EXPECT_EQ(with([](Block& b) { b.item(0).key.objectid = 258; }), "leaf-key-order");
  EXPECT_EQ(with([](Block& b) { b.item(0).offset += 1u; }), "leaf-item-bounds");
  EXPECT_EQ(with([](Block& b) { b.item(1).offset -= 1u; }), "leaf-item-bounds");
  EXPECT_EQ(with([](Block& b) { b.item(1).size += 1u; }), "leaf-item-bounds");
  EXPECT_EQ(with([](Block& b) { b.item(0).size = 0; }), "leaf-item-bounds");
  EXPECT_EQ(with([](Block& b) { b.item(0).offset = ~0u; }), "leaf-item-bounds");
  EXPECT_EQ(with([](Block& b) { b.item(0).offset = 0, b.item(0).size = 3995; }), "leaf-item-bounds");
}

TEST(CheckLeaf, CarriesUnknownItemTypesThrough) {
  EXPECT_EQ(verdict(LeafBuilder().item({256, ItemType{77}, 1}, "anything")), "ok");
}

TEST(CheckLeaf, NamesBlockSlotKeyAndItemInItsErrors_BT012) {
  Block block = leaf_of_two();
  block.item(1).key.offset = 5;
  auto result = check_block_structure(block.view(), test_geometry());
  ASSERT_FALSE(result);
  EXPECT_EQ(
      result.error().message(),
      "inode item at an offset (expected 0, found 5) at slot 1, key (257 INODE_ITEM 5), item inode 257, "
      "tree FS_TREE, block 30408704 [item-inode]");
}

}  // namespace
}  // namespace karst::btrfs
