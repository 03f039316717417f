// What repair finds again.
#include "thin/tool/salvage.h"

#include <gtest/gtest.h>

#include "thin/format/errors.h"
#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing;

void wipe(block::Device& disk, MetadataBlock number) {
  disk.write(raw(number) * metadata_block_size, std::vector<std::byte>(metadata_block_size)).value();
}

TEST(ThinRepair, CopiesWhatIsWhole) {
  const auto disk = make_pool();
  const auto repaired = blank_metadata();
  const auto salvaged = repair(*disk, *repaired).value();
  EXPECT_EQ(salvaged.report.losses, 0u);
  EXPECT_EQ(dump_text(*repaired).value(), dump_text(*disk).value());
  EXPECT_TRUE(check(*repaired).value().report.good);
}

TEST(ThinRepair, NeedsTheSizeOfBlocksWhenTheSuperblockIsLost) {
  const auto disk = make_pool();
  const std::string text = dump_text(*disk).value();
  wipe(*disk, superblock_at);
  const auto repaired = blank_metadata();
  const auto refused = repair(*disk, *repaired);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(err::invalid));
  const auto salvaged =
      repair(*disk, *repaired, {.transaction_id = 0, .data_block_size = 128, .nr_data_blocks = 20000});
  ASSERT_TRUE(salvaged) << salvaged.error().message();
  EXPECT_TRUE(salvaged->report.roots_searched);
  EXPECT_EQ(dump_text(*repaired).value(), text);
}

TEST(ThinRepair, FindsTheRootsThatTheSuperblockHasLost) {
  const auto disk = make_pool();
  const std::string text = dump_text(*disk).value();
  change_block(*disk, superblock_at, BlockKind::superblock, [](MutableBytes block) {
    auto& super = *reinterpret_cast<Superblock*>(block.data());
    super.data_mapping_root = 1;
    super.device_details_root = 0;
  });
  const auto repaired = blank_metadata();
  ASSERT_TRUE(repair(*disk, *repaired));
  EXPECT_EQ(dump_text(*repaired).value(), text);
}

TEST(ThinRepair, TellsWhichBlocksAreLostAndKeepsTheRest) {
  const auto disk = make_pool();
  cache::Cache cache({.limit = 4 << 20});
  MetadataBlock leaf{};
  uint64_t lost = 0;
  {
    const auto metadata = MetadataReader::open(*disk, cache, {}).value();
    const auto note = [&](NodeView node, uint32_t, uint32_t) -> Result<bool> {
      leaf = node.number();
      lost = node.size();
      return false;
    };
    metadata->walk_mappings(metadata->device(2).value(), note).value();
  }
  wipe(*disk, leaf);
  const auto repaired = blank_metadata();
  const auto salvaged = repair(*disk, *repaired).value();
  ASSERT_EQ(salvaged.losses.size(), 1u);
  EXPECT_NE(salvaged.losses[0].find("device 2: blocks 77 to "), std::string::npos) << salvaged.losses[0];
  EXPECT_TRUE(check(*repaired).value().report.good);
  const auto metadata = MetadataReader::open(*repaired, cache, {}).value();
  EXPECT_EQ(metadata->device(2).value().facts.mapped_blocks, 900 - lost);
  EXPECT_EQ(metadata->device(1).value().facts.mapped_blocks, 2000u);
}

TEST(ThinRepair, FindsNothingOnABlankDevice) {
  EXPECT_FALSE(repair(*blank_metadata(), *blank_metadata(), {.data_block_size = 128}));
}

}  // namespace
}  // namespace karst::thin
