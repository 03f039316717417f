// Contents that stream by, and what is kept of them.
#include "btrfs/tool/build/stored_contents.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include "btrfs/tool/make/testing_make.h"

namespace karst::btrfs::build {
namespace {

constexpr uint64_t sector = 4096;

class StoredContentsTest : public ::testing::Test {
 protected:
  // Sectors with holes between them: each is an extent. All are the same, and on the device once.
  void write_sectors(uint64_t count) {
    ASSERT_TRUE(stored_.begin_file("/file", {}, 0));
    const std::vector<std::byte> content(sector, std::byte{7});
    for (uint64_t n = 0; n < count; ++n) ASSERT_TRUE(stored_.write(2 * n * sector, content));
  }
  std::vector<PlacedExtent> extents_of(Bytes token) {
    std::vector<PlacedExtent> extents;
    const StoredContent content = stored_.find(token).value();
    EXPECT_TRUE(stored_.for_each_extent(content, [&](const PlacedExtent& extent) -> Result<void> {
      extents.push_back(extent);
      return {};
    }));
    EXPECT_EQ(extents.size(), content.extents);
    return extents;
  }
  static uint64_t allocated() {
    const auto heap = ::mallinfo2();
    return heap.uordblks + heap.hblkhd;
  }

  btrfs::testing::MemoryDevices devices_{{256 << 20}};
  std::unique_ptr<ImageWriter> writer_ =
      ImageWriter::create(devices_.for_making(), {.temporary_directory = ::testing::TempDir()}).value();
  std::unique_ptr<WorkerPool> pool_ = WorkerPool::create({.threads = 2}).value();
  Codecs codecs_;
  BatchBuffers buffers_;
  ExtentPlacer placer_{*writer_, 1000};
  StoredContents stored_{
      placer_, writer_->geometry(),
      codecs_, buffers_,
      *pool_,  {.memory = 1 << 20, .known_memory = 2 << 20, .temporary_directory = ::testing::TempDir()}};
};

TEST_F(StoredContentsTest, ExtentsOfEachContentAreFoundAgain) {
  std::vector<ContentToken> tokens;
  for (uint64_t count : {3ull, 700ull, 0ull, 1ull}) {
    write_sectors(count);
    tokens.push_back(stored_.end_file(2 * count * sector).value());
  }
  write_sectors(5);
  stored_.abandon_file();
  write_sectors(2);
  tokens.push_back(stored_.end_file(4 * sector).value());
  ASSERT_TRUE(stored_.finish());
  const std::vector<uint64_t> counts{3, 700, 0, 1, 2};
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto extents = extents_of(tokens[i]);
    ASSERT_EQ(extents.size(), counts[i]);
    for (uint64_t n = 0; n < counts[i]; ++n) EXPECT_EQ(extents[n].file_offset, 2 * n * sector);
    EXPECT_EQ(stored_.find(tokens[i])->nbytes, counts[i] * sector);
  }
}

// Forty bytes for each extent of one file would be 8 MB here.
TEST_F(StoredContentsTest, MemoryDoesNotGrowWithTheExtentsOfOneContent) {
  constexpr uint64_t few = 60'000, many = 200'000;  // more than `known_memory` has room for
  write_sectors(few);
  const uint64_t before = allocated();
  ASSERT_TRUE(stored_.end_file(2 * few * sector));
  write_sectors(many);
  EXPECT_LT(allocated(), before + (4 << 20));
  const ContentToken token = stored_.end_file(2 * many * sector).value();
  ASSERT_TRUE(stored_.finish());
  EXPECT_EQ(extents_of(token).size(), many);
}

}  // namespace
}  // namespace karst::btrfs::build
