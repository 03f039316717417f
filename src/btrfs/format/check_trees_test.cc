// Items of the trees that have no files: roots, checksums, space, devices, quotas, UUIDs.
#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

std::string of(uint64_t owner, const Key& key, std::string_view item) {
  return verdict(LeafBuilder(owner).item(key, item));
}

TEST(CheckRoot, RefusesEachFieldThatContradictsTheFormat_BT021) {
  using R = RootItem;
  auto with = [](void (*change)(R&)) {
    return of(id::root_tree, {257, ItemType::root_item, 0}, packed(changed(sample_root(), change)));
  };
  EXPECT_EQ(with([](R&) {}), "ok");
  EXPECT_EQ(with([](R& r) { r.generation = test_generation + 2; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.generation_v2 = test_generation + 2; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.last_snapshot = test_generation + 2; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.bytenr += 1; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.level = 8; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.drop_level = 8; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.flags = 2; }), "item-root");
  EXPECT_EQ(with([](R& r) { r.flags = root_flag::readonly | root_flag::dead; }), "ok");
}

// Linux before 2.6.39 wrote whatever was in memory there.
TEST(CheckRoot, AcceptsAnyFlagsWhereTheyWereNotInitialised_BT010) {
  RootItem root = sample_root();
  root.inode.flags = 0;
  root.flags = ~0ull;
  EXPECT_EQ(of(id::root_tree, {257, ItemType::root_item, 0}, packed(root)), "ok");
  EXPECT_EQ(of(id::root_tree, {id::csum_tree, ItemType::root_item, 0}, packed(root)), "item-root");
}

TEST(CheckRoot, HasOneOfTwoSizesAndATreesKey_BT021) {
  std::string root = packed(sample_root());
  EXPECT_EQ(of(id::root_tree, {257, ItemType::root_item, 0}, root.substr(0, root_item_legacy_size)), "ok");
  EXPECT_EQ(of(id::root_tree, {257, ItemType::root_item, 0}, root.substr(1)), "item-root");
  EXPECT_EQ(of(id::root_tree, {0, ItemType::root_item, 0}, root), "item-root");
  EXPECT_EQ(of(id::root_tree, {id::tree_reloc, ItemType::root_item, 257}, root), "ok");
  EXPECT_EQ(of(id::root_tree, {id::tree_reloc, ItemType::root_item, id::csum_tree}, root), "item-root");
}

TEST(CheckRootRef, HoldsExactlyItsName_BT021) {
  std::string ref = sample_root_ref("snap");
  for (ItemType type : {ItemType::root_ref, ItemType::root_backref}) {
    EXPECT_EQ(of(id::root_tree, {5, type, 257}, ref), "ok");
    EXPECT_EQ(of(id::root_tree, {5, type, 257}, ref.substr(0, ref.size() - 1)), "item-root-ref");
    EXPECT_EQ(of(id::root_tree, {5, type, 257}, ref + "x"), "item-root-ref");
    EXPECT_EQ(of(id::root_tree, {5, type, 257}, "x"), "item-root-ref");
    EXPECT_EQ(of(id::root_tree, {5, type, 257}, sample_root_ref("../x")), "item-name");
  }
}

TEST(CheckCsum, HoldsWholeChecksumsOfAlignedDataInOrder_BT021_CO007) {
  const Key key{id::extent_csum, ItemType::extent_csum, 13631488};
  EXPECT_EQ(of(id::csum_tree, key, "abcdefgh"), "ok");
  EXPECT_EQ(of(id::csum_tree, key, "abcdefg"), "item-csum");
  EXPECT_EQ(of(id::csum_tree, key, ""), "item-csum");
  EXPECT_EQ(of(id::csum_tree, {5, ItemType::extent_csum, 4096}, "abcd"), "item-csum");
  EXPECT_EQ(of(id::csum_tree, {id::extent_csum, ItemType::extent_csum, 1}, "abcd"), "item-csum");
  EXPECT_EQ(of(id::csum_tree, {id::extent_csum, ItemType::extent_csum, ~4095ull}, "abcdefgh"), "item-csum");
  auto second_at = [&](uint64_t offset) {
    return verdict(LeafBuilder(id::csum_tree)
                       .item(key, "abcdefgh")
                       .item({id::extent_csum, ItemType::extent_csum, key.offset + offset}, "abcd"));
  };
  EXPECT_EQ(second_at(8192), "ok");
  EXPECT_EQ(second_at(4096), "item-csum-overlap");
}

TEST(CheckBlockGroup, RefusesEachFieldThatContradictsTheFormat_BT021_CO007) {
  using namespace block_group;
  auto at = [](const Key& key, const BlockGroupItem& group) {
    return of(id::block_group_tree, key, packed(group));
  };
  const Key key{1 << 20, ItemType::block_group_item, 8 << 20};
  EXPECT_EQ(at(key, {4096, 256, data | raid1}), "ok");
  EXPECT_EQ(at(key, {4096, 256, data | metadata}), "ok");
  EXPECT_EQ(at(key, {(8 << 20) + 1, 256, data}), "item-block-group");
  EXPECT_EQ(at(key, {4096, 255, data}), "item-block-group");
  EXPECT_EQ(at(key, {4096, 256, data | raid1 | dup}), "item-block-group");
  EXPECT_EQ(at(key, {4096, 256, block_group::system | data}), "item-block-group");
  EXPECT_EQ(at(key, {4096, 256, 0}), "item-block-group");
  EXPECT_EQ(at({1 << 20, ItemType::block_group_item, 0}, {0, 256, data}), "item-block-group");
  EXPECT_EQ(at({4096, ItemType::block_group_item, ~4095ull}, {0, 256, data}), "item-block-group");
  EXPECT_EQ(of(id::block_group_tree, key, "x"), "item-block-group");
}

TEST(CheckFreeSpace, HasItsSizes_BT021) {
  auto at = [](ItemType type, uint64_t length, std::string_view item) {
    return of(id::free_space_tree, {1 << 20, type, length}, item);
  };
  EXPECT_EQ(at(ItemType::free_space_info, 1 << 20, packed(FreeSpaceInfo{1, 1})), "ok");
  EXPECT_EQ(at(ItemType::free_space_info, 1 << 20, packed(FreeSpaceInfo{1, 2})), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_info, 1 << 20, "x"), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_extent, 4096, ""), "ok");
  EXPECT_EQ(at(ItemType::free_space_extent, 4096, "x"), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_extent, 0, ""), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_extent, 4095, ""), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_extent, ~4095ull, ""), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_bitmap, 2048 * 4096, std::string(256, '\0')), "ok");
  EXPECT_EQ(at(ItemType::free_space_bitmap, 9 * 4096, std::string(2, '\0')), "ok");
  EXPECT_EQ(at(ItemType::free_space_bitmap, 9 * 4096, std::string(1, '\0')), "item-free-space");
  EXPECT_EQ(at(ItemType::free_space_bitmap, 2049 * 4096, std::string(257, '\0')), "item-free-space");
  EXPECT_EQ(of(id::root_tree, {id::free_space, ItemType{}, 1 << 20}, packed(FreeSpaceHeader{})), "ok");
  EXPECT_EQ(of(id::root_tree, {id::free_space, ItemType{}, 1 << 20}, "x"), "item-free-space");
}

TEST(CheckDevItem, RefusesEachFieldThatContradictsTheFormat_BT021) {
  using D = DevItem;
  auto with = [](void (*change)(D&)) {
    return of(id::chunk_tree, {1, ItemType::dev_item, 1}, packed(changed(sample_device(), change)));
  };
  EXPECT_EQ(with([](D&) {}), "ok");
  EXPECT_EQ(with([](D& d) { d.devid = 2; }), "item-dev");
  EXPECT_EQ(with([](D& d) { d.bytes_used = d.total_bytes + 1; }), "item-dev");
  EXPECT_EQ(of(id::chunk_tree, {2, ItemType::dev_item, 1}, packed(sample_device())), "item-dev");
  EXPECT_EQ(of(id::chunk_tree, {1, ItemType::dev_item, 1}, "x"), "item-dev");
}

TEST(CheckChunk, IsUnderTheChunkTreesObject_BT021) {
  EXPECT_EQ(of(id::chunk_tree, {256, ItemType::chunk_item, 22 << 20}, packed(sample_chunk())), "ok");
  EXPECT_EQ(of(id::chunk_tree, {257, ItemType::chunk_item, 22 << 20}, packed(sample_chunk())), "item-chunk");
  EXPECT_EQ(of(id::chunk_tree, {256, ItemType::chunk_item, 22 << 20}, "x"), "item-chunk");
}

TEST(CheckDevExtent, RefusesWhatContradictsTheFormatAndOverlaps_BT021) {
  using D = DevExtent;
  auto with = [](void (*change)(D&), uint64_t offset = 22 << 20) {
    return of(id::dev_tree, {1, ItemType::dev_extent, offset}, packed(changed(sample_dev_extent(), change)));
  };
  EXPECT_EQ(with([](D&) {}), "ok");
  EXPECT_EQ(with([](D&) {}, 4097), "item-dev-extent");
  EXPECT_EQ(with([](D& d) { d.chunk_tree = 2; }), "item-dev-extent");
  EXPECT_EQ(with([](D& d) { d.chunk_objectid = 2; }), "item-dev-extent");
  EXPECT_EQ(with([](D& d) { d.chunk_offset = 1; }), "item-dev-extent");
  EXPECT_EQ(with([](D& d) { d.length = 1; }), "item-dev-extent");
  EXPECT_EQ(with([](D& d) { d.length = 0; }), "item-dev-extent");
  EXPECT_EQ(with([](D& d) { d.length = ~4095ull; }), "item-dev-extent");
  EXPECT_EQ(of(id::dev_tree, {1, ItemType::dev_extent, 4096}, "x"), "item-dev-extent");
  auto second_at = [](const Key& second) {
    return verdict(LeafBuilder(id::dev_tree)
                       .item({1, ItemType::dev_extent, 1 << 20}, packed(sample_dev_extent()))
                       .item(second, packed(sample_dev_extent())));
  };
  EXPECT_EQ(second_at({1, ItemType::dev_extent, 9 << 20}), "ok");
  EXPECT_EQ(second_at({2, ItemType::dev_extent, 2 << 20}), "ok");
  EXPECT_EQ(second_at({1, ItemType::dev_extent, 8 << 20}), "item-dev-extent-overlap");
}

struct SizeCase {
  Key key;
  size_t right, wrong;
  const char* verdict;
};

TEST(CheckItems, OfFixedSizeHaveIt_BT021) {
  const SizeCase cases[] = {
      {{0, ItemType::qgroup_status, 0}, 32, 33, "item-qgroup"},
      {{0, ItemType::qgroup_status, 0}, 40, 39, "item-qgroup"},
      {{0, ItemType::qgroup_info, 5}, 40, 41, "item-qgroup"},
      {{0, ItemType::qgroup_limit, 5}, 40, 0, "item-qgroup"},
      {{257, ItemType::qgroup_relation, 1ull << 48}, 0, 1, "item-qgroup"},
      {{id::balance, ItemType::temporary_item, 0}, 448, 447, "item-balance"},
      {{0, ItemType::dev_replace, 0}, 72, 71, "item-dev-replace"},
      {{0, ItemType::persistent_item, 1}, 40, 41, "item-dev-stats"},
      {{1, ItemType::uuid_subvol, 2}, 16, 9, "item-uuid"},
      {{1, ItemType::uuid_received_subvol, 2}, 8, 0, "item-uuid"},
  };
  for (const SizeCase& c : cases) {
    EXPECT_EQ(of(id::quota_tree, c.key, std::string(c.right, '\0')), "ok") << c.key.offset;
    EXPECT_EQ(of(id::quota_tree, c.key, std::string(c.wrong, '\0')), c.verdict) << c.key.offset;
  }
}

TEST(CheckRaidStripe, NeedsItsFeature_BT021) {
  Geometry geometry = test_geometry();
  auto leaf = LeafBuilder(id::raid_stripe_tree)
                  .item({4096, ItemType::raid_stripe, 4096}, packed(RaidStride{1, 4096}));
  EXPECT_EQ(verdict(leaf, geometry), "item-raid-stripe");
  geometry.incompat |= incompat::raid_stripe_tree;
  EXPECT_EQ(verdict(leaf, geometry), "ok");
}

}  // namespace
}  // namespace karst::btrfs
