// Damage of each kind is found, and only that.
#include "thin/tool/check.h"

#include <gtest/gtest.h>

#include "thin/format/space_map.h"
#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing;

MetadataBlock first_data_bitmap(block::Device& disk) {
  std::vector<std::byte> node(metadata_block_size);
  disk.read(superblock_of(disk).data_space_map().bitmap_root * metadata_block_size, node).value();
  return MetadataBlock{NodeView(node).value_as<IndexEntry>(0).blocknr.value()};
}

// A leaf of device 1, which device 3 does not share.
MetadataBlock leaf_of_device_1(block::Device& disk) {
  cache::Cache cache({.limit = 4 << 20});
  const auto metadata = MetadataReader::open(disk, cache, {}).value();
  MetadataBlock found{};
  metadata
      ->walk_mappings(metadata->device(1).value(),
                      [&](NodeView leaf, uint32_t, uint32_t) -> Result<bool> {
                        found = leaf.number();
                        return leaf.key(leaf.size() - 1) < 500;
                      })
      .value();
  return found;
}

TEST(ThinCheck, FindsNothingWrongWithAPool) {
  for (const bool snapshot : {false, true}) {
    const auto checked = check(*make_pool({.metadata_snapshot = snapshot})).value();
    EXPECT_TRUE(checked.report.good);
    EXPECT_TRUE(checked.findings.empty());
    EXPECT_EQ(checked.report.devices, snapshot ? 4u + 5 : 5u);
  }
}

TEST(ThinCheck, LooksAtTheMetadataSnapshotAlone) {
  const auto disk = make_pool({.metadata_snapshot = true});
  const auto checked = check(*disk, {.snapshot_only = true}).value();
  EXPECT_TRUE(checked.report.good);
  EXPECT_EQ(checked.report.devices, 5u);
  EXPECT_FALSE(check(*make_pool(), {.snapshot_only = true}));
}

TEST(ThinCheck, FindsADamagedSuperblock) {
  const auto disk = make_pool();
  disk->write(0, std::vector<std::byte>(4096)).value();
  const auto checked = check(*disk).value();
  EXPECT_FALSE(checked.report.good);
  EXPECT_EQ(checked.findings, (std::map<std::string, uint64_t>{{"superblock", 1}}));
}

TEST(ThinCheck, FindsADamagedLeafAndWhoLosesByIt) {
  const auto disk = make_pool();
  disk->write(raw(leaf_of_device_1(*disk)) * metadata_block_size, std::vector<std::byte>(4096)).value();
  const auto checked = check(*disk).value();
  EXPECT_EQ(checked.findings.at("block"), 1u);
  EXPECT_EQ(checked.findings.at("device"), 1u);
}

TEST(ThinCheck, FindsMappingsOutsideOfTheDataDevice) {
  const auto disk = make_pool();
  change_block(*disk, leaf_of_device_1(*disk), BlockKind::node, [](MutableBytes block) {
    MutableNode node(block);
    const le64 value = Mapping{DataBlock{20000}, 0}.pack();
    node.set_value(3, bytes_of(value));
  });
  EXPECT_EQ(check(*disk).value().findings.at("mapping"), 1u);
}

TEST(ThinCheck, FindsKeysThatTheParentHasElsewhere) {
  const auto disk = make_pool();
  change_block(*disk, leaf_of_device_1(*disk), BlockKind::node, [](MutableBytes block) {
    MutableNode node(block);
    node.set_key(node.size() - 1, 1 << 20);
  });
  const auto checked = check(*disk).value();
  EXPECT_EQ(checked.findings.at("node-range"), 1u);
  EXPECT_EQ(checked.findings.at("device"), 1u);
}

TEST(ThinCheck, FindsAWrongNumberOfMappings) {
  const auto disk = make_pool();
  const MetadataBlock details{superblock_of(*disk).device_details_root.value()};
  change_block(*disk, details, BlockKind::node, [](MutableBytes block) {
    MutableNode node(block);
    DeviceDetails first = node.value_as<DeviceDetails>(0);
    first.mapped_blocks += 1;
    node.set_value(0, bytes_of(first));
  });
  EXPECT_EQ(check(*disk).value().findings, (std::map<std::string, uint64_t>{{"device", 1}}));
}

TEST(ThinCheck, TellsALeakFromACountThatIsTooLow) {
  const auto disk = make_pool();
  const MetadataBlock bitmap = first_data_bitmap(*disk);
  change_block(*disk, bitmap, BlockKind::bitmap,
               [](MutableBytes block) { MutableBitmapView(block).set(0, 2); });
  auto checked = check(*disk).value();
  EXPECT_EQ(checked.findings, (std::map<std::string, uint64_t>{{"leak", 1}}));
  EXPECT_FALSE(checked.report.good);
  EXPECT_TRUE(check(*disk, {.ignore_non_fatal = true}).value().report.good);
  change_block(*disk, bitmap, BlockKind::bitmap,
               [](MutableBytes block) { MutableBitmapView(block).set(0, 0); });
  checked = check(*disk).value();
  EXPECT_EQ(checked.findings.at("reference-count"), 1u);
  EXPECT_FALSE(check(*disk, {.ignore_non_fatal = true}).value().report.good);
}

TEST(ThinCheck, RepairsLeaks) {
  const auto disk = make_pool();
  const MetadataBlock index{superblock_of(*disk).data_space_map().bitmap_root.value()};
  change_block(*disk, first_data_bitmap(*disk), BlockKind::bitmap, [](MutableBytes block) {
    for (const uint32_t entry : {15000, 15001, 16000}) MutableBitmapView(block).set(entry, 1);
  });
  change_block(*disk, index, BlockKind::node, [](MutableBytes block) {
    MutableNode node(block);
    IndexEntry entry = node.value_as<IndexEntry>(0);
    entry.nr_free -= 3;
    node.set_value(0, bytes_of(entry));
  });
  change_block(*disk, superblock_at, BlockKind::superblock, [](MutableBytes block) {
    auto& super = *reinterpret_cast<Superblock*>(block.data());
    SpaceMapRoot root = super.data_space_map();
    root.nr_allocated += 3;
    super.set_data_space_map(root);
    super.flags = needs_check_flag;
  });
  EXPECT_EQ(check(*disk).value().findings, (std::map<std::string, uint64_t>{{"leak", 3}}));
  const auto repaired = check(*disk, {.repair_leaks = true, .clear_needs_check = true}).value().report;
  EXPECT_TRUE(repaired.good && repaired.cleared_needs_check);
  EXPECT_EQ(repaired.leaks_repaired, 1u);
  const auto after = check(*disk).value();
  EXPECT_TRUE(after.report.good && after.findings.empty());
  EXPECT_FALSE(superblock_of(*disk).needs_check());
}

TEST(ThinCheck, KeepsTheFlagOfWhatIsDamaged) {
  const auto disk = make_pool();
  change_block(*disk, superblock_at, BlockKind::superblock, [](MutableBytes block) {
    reinterpret_cast<Superblock*>(block.data())->flags = needs_check_flag;
  });
  change_block(*disk, first_data_bitmap(*disk), BlockKind::bitmap,
               [](MutableBytes block) { MutableBitmapView(block).set(0, 0); });
  EXPECT_FALSE(check(*disk, {.clear_needs_check = true}).value().report.cleared_needs_check);
  EXPECT_TRUE(superblock_of(*disk).needs_check());
}

TEST(ThinCheck, RefusesTablesLargerThanItsMemory) {
  const auto refused = check(*make_pool(), {.memory = 1000});
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(err::limit));
}

}  // namespace
}  // namespace karst::thin
