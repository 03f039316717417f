#include "btrfs/format/chunk.h"

#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

TEST(Profile, OfTwoBitsIsNone) {
  EXPECT_STREQ(profile_of(block_group::data | block_group::raid10)->name, "RAID10");
  EXPECT_STREQ(profile_of(block_group::data)->name, "single");
  EXPECT_EQ(profile_of(block_group::raid1 | block_group::dup), nullptr);
}

TEST(BlockGroupFlagsText, IsWhatDumpTreePrints_BT025) {
  EXPECT_EQ(block_group_flags_text(block_group::data), "DATA|single");
  EXPECT_EQ(block_group_flags_text(block_group::metadata | block_group::raid1c3), "METADATA|RAID1C3");
  EXPECT_EQ(block_group_flags_text(block_group::data | block_group::metadata | block_group::dup),
            "DATA|METADATA|DUP");
  EXPECT_EQ(block_group_flags_text(block_group::data | block_group::raid0 | block_group::raid1),
            "DATA|UNKNOWN.0x18");
}

std::string chunk_verdict(const ChunkOfTwo& chunk, uint64_t logical = 22 << 20) {
  auto result = check_chunk_item(bytes_of(chunk), logical, test_geometry());
  return result ? "ok" : result.error().kind().name;
}

struct ChunkCase {
  const char* what;
  void (*change)(ChunkOfTwo&);
};

TEST(CheckChunk, RefusesEachFieldThatContradictsTheFormat_BT021_CO007) {
  ASSERT_EQ(chunk_verdict(sample_chunk()), "ok");
  using namespace block_group;
  const ChunkCase cases[] = {
      {"no stripes", [](ChunkOfTwo& c) { c.chunk.num_stripes = 0; }},
      {"more stripes than bytes", [](ChunkOfTwo& c) { c.chunk.num_stripes = 3; }},
      {"fewer stripes than bytes", [](ChunkOfTwo& c) { c.chunk.num_stripes = 1; }},
      {"another sector size", [](ChunkOfTwo& c) { c.chunk.sector_size = 8192; }},
      {"no length", [](ChunkOfTwo& c) { c.chunk.length = 0; }},
      {"odd length", [](ChunkOfTwo& c) { c.chunk.length = 4097; }},
      {"huge length", [](ChunkOfTwo& c) { c.chunk.length = 1ull << 48; }},
      {"odd stripe length", [](ChunkOfTwo& c) { c.chunk.stripe_len = 32768; }},
      {"no type", [](ChunkOfTwo& c) { c.chunk.type = dup; }},
      {"unknown type", [](ChunkOfTwo& c) { c.chunk.type = data | dup | (1ull << 40); }},
      {"system and data", [](ChunkOfTwo& c) { c.chunk.type = block_group::system | data | dup; }},
      {"mixed without the feature", [](ChunkOfTwo& c) { c.chunk.type = metadata | data | dup; }},
      {"two profiles", [](ChunkOfTwo& c) { c.chunk.type = data | dup | raid1; }},
      {"single with two stripes", [](ChunkOfTwo& c) { c.chunk.type = data; }},
      {"raid6 with two stripes", [](ChunkOfTwo& c) { c.chunk.type = data | raid6; }},
      {"raid10 without pairs", [](ChunkOfTwo& c) { c.chunk.type = data | raid10; }},
      {"stripe past the end", [](ChunkOfTwo& c) { c.stripes[1].offset = ~0ull - 4096; }},
  };
  for (const ChunkCase& c : cases)
    EXPECT_EQ(chunk_verdict(changed(sample_chunk(), c.change)), "item-chunk") << c.what;
  EXPECT_EQ(chunk_verdict(sample_chunk(), 22020097), "item-chunk") << "odd address";
  EXPECT_EQ(chunk_verdict(sample_chunk(), ~0ull << 20), "item-chunk") << "wraps around";
}

TEST(CheckChunk, AcceptsEveryProfileThatTwoStripesCanHave) {
  using namespace block_group;
  for (uint64_t profile : {dup, raid0, raid1, raid5})
    EXPECT_EQ(chunk_verdict(sample_chunk(data | profile)), "ok") << profile;
  ChunkOfTwo raid10_chunk = sample_chunk(data | raid10);
  raid10_chunk.chunk.sub_stripes = 2;
  EXPECT_EQ(chunk_verdict(raid10_chunk), "ok");
}

}  // namespace
}  // namespace karst::btrfs
