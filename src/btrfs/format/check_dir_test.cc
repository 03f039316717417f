#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

std::string entry_verdict(ItemType type, uint64_t offset, std::string_view data) {
  return verdict(LeafBuilder()
                     .item({256, ItemType::inode_item, 0}, packed(sample_inode(mode::directory | 0755)))
                     .item({256, type, offset}, data));
}
std::string name_verdict(std::string_view name, std::string_view data) {
  return entry_verdict(ItemType::dir_item, name_hash(name), data);
}

TEST(CheckDirItem, NeedsTheHashOfTheNameAsItsKey_BT021) {
  EXPECT_EQ(name_verdict("file", sample_dir_entry("file")), "ok");
  EXPECT_EQ(name_verdict("elif", sample_dir_entry("file")), "item-name-hash");
  EXPECT_EQ(entry_verdict(ItemType::dir_index, 2, sample_dir_entry("file")), "ok");
}

TEST(CheckDirItem, RefusesEntriesThatDoNotFit_BT021) {
  std::string good = sample_dir_entry("file");
  EXPECT_EQ(name_verdict("file", ""), "item-dir");
  EXPECT_EQ(name_verdict("file", good.substr(0, good.size() - 1)), "item-dir");
  EXPECT_EQ(name_verdict("file", good + "x"), "item-dir");
  EXPECT_EQ(name_verdict("file", good.substr(0, 29)), "item-dir");
  EXPECT_EQ(entry_verdict(ItemType::dir_index, 2, good + good), "item-dir");
}

TEST(CheckDirItem, AcceptsSeveralNamesOfOneHash_BT021) {
  // Found by search: the two have the same CRC-32C.
  ASSERT_EQ(name_hash("n90b508f"), name_hash("n318a6c8"));
  EXPECT_EQ(name_verdict("n90b508f", sample_dir_entry("n90b508f") + sample_dir_entry("n318a6c8")), "ok");
}

TEST(CheckDirItem, RefusesNamesThatNoFileCanHave_BT021) {
  for (std::string_view name : {"a/b", ".", "..", ""}) {
    EXPECT_EQ(name_verdict(name, sample_dir_entry(name)), "item-name") << name;
    EXPECT_EQ(entry_verdict(ItemType::dir_index, 2, sample_dir_entry(name)), "item-name") << name;
  }
}

struct EntryCase {
  const char* what;
  FileType type;
  Key location;
  const char* verdict;
};

TEST(CheckDirItem, RefusesTypesAndLocationsThatNoEntryHas_BT021) {
  constexpr FileType file = FileType::regular, dir = FileType::directory;
  // clang-format off
  const EntryCase cases[] = {
      {"file",                   file,              {257, ItemType::inode_item, 0},               "ok"},
      {"subvolume",              dir,               {300, ItemType::root_item, ~0ull},            "ok"},
      {"subvolume as a file",    file,              {300, ItemType::root_item, ~0ull},            "item-dir"},
      {"a tree",                 dir,               {id::csum_tree, ItemType::root_item, ~0ull},  "item-dir"},
      {"an inode's offset",      file,              {257, ItemType::inode_item, 1},               "item-dir"},
      {"a reserved inode",       file,              {2, ItemType::inode_item, 0},                 "item-dir"},
      {"another item",           file,              {257, ItemType::extent_data, 0},              "item-dir"},
      {"no item",                dir,               {257, ItemType{}, 0},                         "item-dir"},
      {"no type",                FileType::unknown, {257, ItemType::inode_item, 0},               "item-dir"},
      {"unknown type",           FileType{9},       {257, ItemType::inode_item, 0},               "item-dir"},
      {"an attribute's type",    FileType::xattr,   {257, ItemType::inode_item, 0},               "item-dir"},
  };
  // clang-format on
  for (const EntryCase& c : cases)
    EXPECT_EQ(name_verdict("n", sample_dir_entry("n", c.type, c.location)), c.verdict) << c.what;
  EXPECT_EQ(name_verdict("n", sample_dir_entry("n", file, {257, ItemType::inode_item, 0}, "data")),
            "item-dir");
}

TEST(CheckXattr, RefusesWhatNoAttributeHas_BT021) {
  auto attribute = [](std::string_view name, FileType type, const Key& location = {}) {
    return entry_verdict(ItemType::xattr_item, name_hash(name),
                         sample_dir_entry(name, type, location, "value"));
  };
  EXPECT_EQ(attribute("user.a/b", FileType::xattr), "ok");
  EXPECT_EQ(attribute("user.a", FileType::regular), "item-xattr");
  EXPECT_EQ(attribute("user.a", FileType::xattr, {257, ItemType::inode_item, 0}), "item-xattr");
  EXPECT_EQ(attribute("", FileType::xattr), "item-name");
  EXPECT_EQ(attribute(std::string("user\0a", 6), FileType::xattr), "item-name");
  EXPECT_EQ(entry_verdict(ItemType::xattr_item, 1, sample_dir_entry("user.a", FileType::xattr, {}, "v")),
            "item-name-hash");
}

TEST(CheckDirItem, NeedsItsInodeBeforeIt_BT021) {
  EXPECT_EQ(verdict(LeafBuilder()
                        .item({256, ItemType::inode_item, 0}, packed(sample_inode()))
                        .item({257, ItemType::dir_index, 2}, sample_dir_entry("a"))),
            "item-inode-missing");
}

}  // namespace
}  // namespace karst::btrfs
