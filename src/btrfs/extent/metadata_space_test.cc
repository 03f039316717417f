// Room for data and for tree blocks of a file system that is being made.
#include "btrfs/extent/metadata_space.h"

#include <gtest/gtest.h>

namespace karst::btrfs {
namespace {

constexpr uint64_t KiB64 = 64 << 10, MiB = 1 << 20;

TEST(DataSpace, FillsOneChunkAfterTheOther) {
  DeviceSpace devices({{1, {}, 100 * MiB}});
  LogicalSpace logical;
  DataSpace data(devices, logical, block_group::data, 8 * MiB);
  const auto first = data.allocate(5 * MiB, 4096).value();
  EXPECT_EQ(first.length, 5 * MiB);
  const auto second = data.allocate(5 * MiB, 4096).value();
  EXPECT_EQ(second.address, first.address + 5 * MiB);
  EXPECT_EQ(second.length, 3 * MiB) << "as much as there is left";
  const auto whole = data.allocate(5 * MiB, 5 * MiB).value();
  EXPECT_EQ(whole.length, 5 * MiB);
  EXPECT_TRUE(data.chunk_of(whole.address).contains(whole.address));
  EXPECT_FALSE(data.chunk_of(whole.address).contains(first.address));
  const auto chunks = data.finish(0).value();
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].length, 8 * MiB);
  EXPECT_EQ(chunks[1].length, 5 * MiB) << "the last is cut";
  EXPECT_EQ(devices.used(1), 13 * MiB);
}

TEST(DataSpace, HasAChunkThoughThereIsNoData) {
  for (uint64_t least : {uint64_t{0}, uint64_t{1}, 8 * MiB}) {
    DeviceSpace devices({{1, {}, 100 * MiB}});
    LogicalSpace logical;
    const auto chunks = DataSpace(devices, logical, block_group::data, 8 * MiB).finish(least).value();
    ASSERT_EQ(chunks.size(), 1u);
    EXPECT_EQ(chunks[0].length, std::max(least, KiB64));
  }
}

// A tree block that says of itself where it is.
std::vector<std::byte> block_at(Logical address, uint32_t nodesize) {
  std::vector<std::byte> bytes(nodesize, static_cast<std::byte>(raw(address) / nodesize));
  Header header{};
  header.bytenr = raw(address);
  header.owner = 5;
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

TEST(MetadataSpace, GivesBlocksAgainInOrderWhereverTheyWereKept) {
  for (uint32_t nodesize : {4096u, 65536u}) {
    LogicalSpace logical;
    MetadataSpace space(logical, nodesize, {.directory = ::testing::TempDir(), .memory = 2 * MiB});
    const uint64_t count = 5 * MiB / nodesize;
    for (uint64_t n = 0; n < count; ++n) {
      const Logical address = space.allocate().value();
      EXPECT_EQ(raw(address), space.address_of(n));
      ASSERT_TRUE(space.write(TreeBlock(block_at(address, nodesize))));
    }
    ASSERT_EQ(space.records().size(), count);
    uint64_t n = 0;
    ASSERT_TRUE(space.for_each([&](uint64_t address, Bytes blocks) -> Result<void> {
      for (; !blocks.empty(); blocks = blocks.subspan(nodesize), address += nodesize, ++n) {
        EXPECT_EQ(address, space.address_of(n));
        EXPECT_EQ(space.records()[n].bytenr, address);
        const auto expected = block_at(Logical(address), nodesize);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), blocks.begin()));
      }
      return {};
    }));
    EXPECT_EQ(n, count);
  }
}

TEST(MetadataSpace, SaysWhenBlocksDoNotFitIntoTheTemporaryFile) {
  LogicalSpace logical;
  MetadataSpace space(logical, 65536, {.directory = ::testing::TempDir(), .memory = 0, .spill_limit = MiB});
  Result<void> written;
  for (int n = 0; n < 40 && written; ++n)
    written = space.write(TreeBlock(block_at(space.allocate().value(), 65536)));
  EXPECT_TRUE(written.error().is(karst::err::no_space));
}

// Data goes on behind the addresses of tree blocks, and tree blocks behind those of data.
TEST(MetadataSpace, RangesAreNobodyElses) {
  LogicalSpace logical;
  MetadataSpace space(logical, 65536, {});
  std::vector<DataSpace::Run> taken{{logical.take(10 * MiB), 10 * MiB}};
  (void)space.address_of(0);
  taken.push_back({logical.take(10 * MiB), 10 * MiB});
  const uint64_t blocks = 10'000, spare = 1024 * MiB;  // 625 MiB of blocks
  uint64_t sum = 0, n = 0;
  for (const DataSpace::Run& run : space.ranges(blocks, spare)) {
    for (uint64_t at = 0; at < run.length && n < blocks; at += 65536, ++n)
      ASSERT_EQ(space.address_of(n), run.address + at);
    sum += run.length;
    // A chunk may be longer than its range, by what rounds its stripes up.
    taken.push_back({run.address, 2 * run.length});
  }
  EXPECT_EQ(sum, blocks * 65536 + spare);
  taken.push_back({logical.take(MiB), MiB});
  for (size_t a = 0; a < taken.size(); ++a)
    for (size_t b = a + 1; b < taken.size(); ++b)
      EXPECT_TRUE(taken[a].address + taken[a].length <= taken[b].address ||
                  taken[b].address + taken[b].length <= taken[a].address);
}

TEST(PredictingSink, GoesOnWhereTheSpaceEnds) {
  LogicalSpace logical;
  MetadataSpace space(logical, 4096, {});
  for (int n = 0; n < 3; ++n) ASSERT_TRUE(space.write(TreeBlock(block_at(space.allocate().value(), 4096))));
  PredictingSink sink(space, space.count());
  const Logical predicted = sink.allocate().value();
  ASSERT_TRUE(sink.write(TreeBlock(block_at(predicted, 4096))));
  EXPECT_EQ(sink.records().size(), 1u);
  EXPECT_EQ(space.records().size(), 3u);
  EXPECT_EQ(space.allocate().value(), predicted);
}

}  // namespace
}  // namespace karst::btrfs
