#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

LeafBuilder file_with(std::string_view data, uint64_t offset = 0) {
  return LeafBuilder()
      .item({257, ItemType::inode_item, 0}, packed(sample_inode()))
      .item({257, ItemType::extent_data, offset}, data);
}
std::string extent_verdict(void (*change)(FileExtent&), uint64_t offset = 4096) {
  return verdict(file_with(packed(changed(sample_file_extent(), change)), offset));
}

TEST(CheckFileExtent, RefusesEachFieldThatContradictsTheFormat_BT021_CO007) {
  using E = FileExtent;
  EXPECT_EQ(extent_verdict([](E&) {}), "ok");
  EXPECT_EQ(extent_verdict([](E& e) { e.head.type = 2; }), "ok");
  EXPECT_EQ(extent_verdict([](E& e) { e.disk_bytenr = 0, e.disk_num_bytes = 0; }), "ok") << "a hole";
  EXPECT_EQ(extent_verdict([](E& e) { e.head.type = 3; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.head.compression = 4; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.head.encryption = 1; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.head.ram_bytes += 1; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.disk_bytenr += 512; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.disk_num_bytes += 1; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.offset = 1; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.num_bytes = 1; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.num_bytes = ~4095ull; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.offset = ~4095ull; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E& e) { e.disk_bytenr = ~4095ull; }), "item-file-extent");
  EXPECT_EQ(extent_verdict([](E&) {}, 4097), "item-file-extent");
  EXPECT_EQ(verdict(file_with(packed(sample_file_extent()).substr(0, 52))), "item-file-extent");
  EXPECT_EQ(verdict(file_with(packed(sample_file_extent()) + "x")), "item-file-extent");
  EXPECT_EQ(verdict(file_with("short")), "item-file-extent");
}

// Old kernels left such behind; they cover nothing, and lie between the others.
TEST(CheckFileExtent, AcceptsExtentsOfNoLength_BT021) {
  const std::string empty = packed(changed(sample_file_extent(), [](FileExtent& e) { e.num_bytes = 0; }));
  auto with_neighbours = [&](uint64_t offset) {
    return verdict(file_with(packed(sample_file_extent(8192)))
                       .item({257, ItemType::extent_data, offset}, empty)
                       .item({257, ItemType::extent_data, 16384}, packed(sample_file_extent(8192))));
  };
  EXPECT_EQ(with_neighbours(8192), "ok");
  EXPECT_EQ(with_neighbours(12288), "ok");
  EXPECT_EQ(with_neighbours(4096), "item-file-extent-overlap");
}

TEST(CheckFileExtent, BoundsCompressedExtents_BT021) {
  auto compressed = [](uint64_t ram_bytes, uint64_t disk_num_bytes) {
    FileExtent extent = sample_file_extent(4096);
    extent.head.compression = 1, extent.head.ram_bytes = ram_bytes, extent.disk_num_bytes = disk_num_bytes;
    return verdict(file_with(packed(extent)));
  };
  EXPECT_EQ(compressed(128 << 10, 4096), "ok");
  EXPECT_EQ(compressed(132 << 10, 4096), "item-file-extent");
  EXPECT_EQ(compressed(128 << 10, 132 << 10), "item-file-extent");
  EXPECT_EQ(verdict(file_with(sample_inline_extent("zz", 4096, 1))), "ok");
  EXPECT_EQ(verdict(file_with(sample_inline_extent("zz", 1ull << 40, 1))), "item-file-extent");
}

TEST(CheckFileExtent, InlineDataStartsTheFileAndHasItsSize_BT021) {
  EXPECT_EQ(verdict(file_with(sample_inline_extent("abc", 3))), "ok");
  EXPECT_EQ(verdict(file_with(sample_inline_extent("abc", 4))), "item-file-extent");
  EXPECT_EQ(verdict(file_with(sample_inline_extent("abc", ~0ull - 17))), "item-file-extent");
  EXPECT_EQ(verdict(file_with(sample_inline_extent("abc", 3), 4096)), "item-file-extent");
}

TEST(CheckFileExtent, ExtentsOfAFileDoNotOverlap_BT021) {
  auto second_at = [](std::string_view first, uint64_t offset) {
    return verdict(file_with(first).item({257, ItemType::extent_data, offset}, packed(sample_file_extent())));
  };
  EXPECT_EQ(second_at(packed(sample_file_extent(8192)), 8192), "ok");
  EXPECT_EQ(second_at(packed(sample_file_extent(8192)), 4096), "item-file-extent-overlap");
  EXPECT_EQ(second_at(sample_inline_extent("abc", 3), 4096), "ok");
  EXPECT_EQ(second_at(sample_inline_extent("abc", 8192, 1), 4096), "item-file-extent-overlap");
}

}  // namespace
}  // namespace karst::btrfs
