#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

constexpr Key inode_key{257, ItemType::inode_item, 0};

std::string inode_verdict(void (*change)(InodeItem&)) {
  return verdict(LeafBuilder().item(inode_key, packed(changed(sample_inode(), change))));
}

TEST(CheckInode, RefusesEachFieldThatContradictsTheFormat_BT021) {
  using I = InodeItem;
  EXPECT_EQ(inode_verdict([](I&) {}), "ok");
  EXPECT_EQ(inode_verdict([](I& i) { i.generation = test_generation + 1; }), "ok") << "as in a log tree";
  EXPECT_EQ(inode_verdict([](I& i) { i.generation = test_generation + 2; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.transid = test_generation + 2; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.mode = 0; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.mode = 0170000 | 0644; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.mode |= 1u << 20; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.mode = mode::directory, i.nlink = 2; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.mode = mode::symlink | 0777, i.nlink = 2; }), "ok");
  EXPECT_EQ(inode_verdict([](I& i) { i.flags = 1 << 20; }), "item-inode");
  EXPECT_EQ(inode_verdict([](I& i) { i.flags = 1ull << 40; }), "ok") << "forbids writing only";
}

TEST(CheckInode, RefusesKeysThatNoInodeHas_BT021) {
  auto at = [](const Key& key) { return verdict(LeafBuilder().item(key, packed(sample_inode()))); };
  EXPECT_EQ(at({id::root_tree_dir, ItemType::inode_item, 0}), "ok");
  EXPECT_EQ(at({id::free_ino, ItemType::inode_item, 0}), "ok");
  EXPECT_EQ(at({255, ItemType::inode_item, 0}), "item-inode");
  EXPECT_EQ(at({257, ItemType::inode_item, 1}), "item-inode");
  EXPECT_EQ(verdict(LeafBuilder().item(inode_key, std::string(159, '\0'))), "item-inode");
}

std::string ref_verdict(std::string_view data, uint64_t parent = 256, uint64_t before = 257) {
  return verdict(LeafBuilder()
                     .item({before, ItemType::inode_item, 0}, packed(sample_inode()))
                     .item({257, ItemType::inode_ref, parent}, data));
}

TEST(CheckInodeRef, AcceptsSeveralNamesAndRefusesThoseThatDoNotFit_BT021) {
  std::string two = sample_inode_ref(2, "one") + sample_inode_ref(3, "two");
  EXPECT_EQ(ref_verdict(two), "ok");
  EXPECT_EQ(ref_verdict(""), "item-inode-ref");
  EXPECT_EQ(ref_verdict(two.substr(0, two.size() - 1)), "item-inode-ref");
  EXPECT_EQ(ref_verdict(two + "x"), "item-inode-ref");
}

TEST(CheckInodeRef, NeedsItsInodeBeforeIt_BT021) {
  EXPECT_EQ(ref_verdict(sample_inode_ref(2, "a"), 256, 256), "item-inode-missing");
  auto leaf = LeafBuilder(id::tree_log)
                  .item({256, ItemType::inode_item, 0}, packed(sample_inode()))
                  .item({257, ItemType::inode_ref, 256}, sample_inode_ref(2, "a"));
  EXPECT_EQ(verdict(leaf), "ok") << "log trees hold what changed only";
}

// Names are used as paths by export and mount.
TEST(CheckName, RefusesNamesThatNoFileCanHave_BT021) {
  for (std::string_view name : {"a/b", "/", ".", "..", ""})
    EXPECT_EQ(ref_verdict(sample_inode_ref(2, name)), "item-name") << name;
  for (size_t at = 0; at < 20; ++at) {
    std::string name(20, 'x');
    name[at] = '\0';
    EXPECT_EQ(ref_verdict(sample_inode_ref(2, name)), "item-name") << at;
    name[at] = '/';
    EXPECT_EQ(ref_verdict(sample_inode_ref(2, name)), "item-name") << at;
    name[at] = '\xaf';  // a slash with the upper bit
    EXPECT_EQ(ref_verdict(sample_inode_ref(2, name)), "ok") << at;
  }
  EXPECT_EQ(ref_verdict(sample_inode_ref(2, std::string(255, 'x'))), "ok");
  EXPECT_EQ(ref_verdict(sample_inode_ref(2, std::string(256, 'x'))), "item-name");
  EXPECT_EQ(ref_verdict(sample_inode_ref(2, "...")), "ok");
  EXPECT_EQ(ref_verdict(sample_inode_ref(0, ".."), 257), "ok") << "a root directory is its own parent";
}

TEST(CheckInodeExtref, NeedsTheHashOfParentAndNameAsItsKey_BT021) {
  auto at = [](uint64_t offset, std::string_view data) {
    return verdict(LeafBuilder()
                       .item({257, ItemType::inode_item, 0}, packed(sample_inode()))
                       .item({257, ItemType::inode_extref, offset}, data));
  };
  uint64_t hash = extref_hash(300, "name");
  std::string good = sample_extref(300, 9, "name");
  EXPECT_EQ(at(hash, good), "ok");
  EXPECT_EQ(at(hash + 1, good), "item-name-hash");
  EXPECT_EQ(at(hash, good.substr(0, good.size() - 1)), "item-inode-ref");
  EXPECT_EQ(at(hash, ""), "item-inode-ref");
  EXPECT_EQ(at(extref_hash(300, ".."), sample_extref(300, 9, "..")), "item-name");
}

TEST(CheckSmallItems, HaveTheirSizes_BT021) {
  auto of = [](const Key& key, std::string_view data) {
    return verdict(LeafBuilder(id::tree_log).item(key, data));
  };
  EXPECT_EQ(of({id::orphan, ItemType::orphan_item, 300}, ""), "ok");
  EXPECT_EQ(of({id::orphan, ItemType::orphan_item, 300}, "x"), "item-orphan");
  EXPECT_EQ(of({256, ItemType::dir_log_index, 3}, packed(le64(9))), "ok");
  EXPECT_EQ(of({256, ItemType::dir_log_index, 3}, "1234567"), "item-dir-log");
  EXPECT_EQ(of({257, ItemType::verity_desc_item, 0}, packed(VerityDescriptorItem{})), "ok");
  EXPECT_EQ(of({257, ItemType::verity_desc_item, 0}, "x"), "item-verity");
  EXPECT_EQ(of({257, ItemType::verity_desc_item, 1}, "x"), "ok");
}

}  // namespace
}  // namespace karst::btrfs
