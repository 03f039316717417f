#include "btrfs/file/attributes.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace karst::btrfs {
namespace {

InodeItem sample() {
  InodeItem item{};
  item.mode = S_IFREG | 0644;
  item.nlink = 1;
  return item;
}

// What file handles are made of; a 32-bit one would be that of another file.
TEST(Attributes, KeepAllBitsOfWhatTellsFilesApart_BT064) {
  InodeItem item = sample();
  item.generation = 0x1234'5678'9abc'def0;
  item.transid = 0xfedc'ba98'7654'3210;
  item.sequence = 0x8000'0000'0000'0001;
  const Attributes attributes = attributes_from_item(0xffff'ffff'0000'0101, item);
  EXPECT_EQ(attributes.generation, 0x1234'5678'9abc'def0u);
  EXPECT_EQ(attributes.transid, 0xfedc'ba98'7654'3210u);
  EXPECT_EQ(attributes.sequence, 0x8000'0000'0000'0001u);
  EXPECT_EQ(attributes.to_stat(4096).st_ino, 0xffff'ffff'0000'0101u);
}

TEST(Attributes, HaveDeviceNumbersAsLinuxStoresThem_BT010) {
  InodeItem item = sample();
  item.mode = S_IFCHR | 0600;
  item.rdev = (uint64_t{0xabc} << 20) | 0xfedcb;
  const struct stat status = attributes_from_item(257, item).to_stat(4096);
  EXPECT_EQ(major(status.st_rdev), 0xabcu);
  EXPECT_EQ(minor(status.st_rdev), 0xfedcbu);
  item.mode = S_IFREG;
  EXPECT_EQ(attributes_from_item(257, item).to_stat(4096).st_rdev, 0u);
}

TEST(Attributes, CountBlocksOfWholeSectors_BT010) {
  InodeItem item = sample();
  for (auto [nbytes, sectorsize, blocks] : {std::tuple{0u, 4096u, 0}, std::tuple{1u, 4096u, 8},
                                            std::tuple{4096u, 4096u, 8}, std::tuple{4097u, 65536u, 128}}) {
    item.nbytes = nbytes;
    EXPECT_EQ(attributes_from_item(257, item).to_stat(sectorsize).st_blocks, blocks) << nbytes;
  }
}

TEST(Attributes, KeepTimesBefore1970_BT010) {
  InodeItem item = sample();
  item.mtime = {-5, 999'999'999};
  const struct stat status = attributes_from_item(257, item).to_stat(4096);
  EXPECT_EQ(status.st_mtim.tv_sec, -5);
  EXPECT_EQ(status.st_mtim.tv_nsec, 999'999'999);
}

}  // namespace
}  // namespace karst::btrfs
