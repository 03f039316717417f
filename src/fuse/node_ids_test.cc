#include "fuse/node_ids.h"

#include <gtest/gtest.h>

#include <set>

namespace karst::fuse {
namespace {

constexpr btrfs::InodeId mounted_root{5, 256};
constexpr btrfs::InodeId empty{5, btrfs::id::empty_subvol_dir};

TEST(NodeIds, TheRootIsOneAndHasItsOwnInodeNumber) {
  NodeIds ids(mounted_root);
  EXPECT_EQ(ids.computed(mounted_root), root_node);
  EXPECT_EQ(ids.find(root_node), Node{mounted_root});
  EXPECT_EQ(ids.st_ino(root_node), 256u);
}

TEST(NodeIds, InodesOfTheMountedSubvolumeAreTheirOwnNumbers) {
  NodeIds ids({260, 256});
  EXPECT_EQ(ids.computed({260, 300}), NodeId{300});
  EXPECT_EQ(ids.find(NodeId{300}), (Node{{260, 300}}));
}

TEST(NodeIds, InodesOfOtherSubvolumesAreComputedAndTheSameInEachMount_BT063) {
  NodeIds first(mounted_root), second(mounted_root);
  for (btrfs::InodeId id :
       {btrfs::InodeId{256, 256}, {256, 257}, {257, 256}, {0xfffffe, 256}, {300, (1ull << 40) - 1}}) {
    auto node = first.computed(id);
    ASSERT_TRUE(node);
    EXPECT_EQ(second.find(*node), Node{id});
    EXPECT_EQ(first.acquire(id, 0, "any"), *node);
  }
  EXPECT_EQ(first.table_size(), 0u);
}

TEST(NodeIds, DifferentInodesHaveDifferentNumbers) {
  NodeIds ids(mounted_root);
  std::set<uint64_t> inode_numbers;
  size_t count = 0;
  for (uint64_t subvolume : {5ull, 256ull, 257ull, 0xfffffeull, 0xffffffull, 1ull << 40})
    for (uint64_t inode : {256ull, 257ull, (1ull << 40) - 1, 1ull << 40, 1ull << 60}) {
      inode_numbers.insert(ids.st_ino(ids.acquire({subvolume, inode}, 0, "name")));
      ++count;
    }
  EXPECT_EQ(inode_numbers.size(), count);
}

//                    subvolume          inode
constexpr btrfs::InodeId too_large[] = {
    {5, 1ull << 40}, {256, 1ull << 40}, {0xffffff, 256}, {1ull << 40, 256}, {~0ull - 255, ~0ull - 255},
};

TEST(NodeIds, NumbersTooLargeAreInTheTableUntilForgotten) {
  for (btrfs::InodeId id : too_large) {
    NodeIds ids(mounted_root);
    EXPECT_FALSE(ids.computed(id));
    NodeId node = ids.acquire(id, 300, "name");
    // A hard link elsewhere is the same node.
    EXPECT_EQ(ids.acquire(id, 400, "other"), node);
    EXPECT_EQ(ids.find(node), Node{id});
    ids.forget(node, 1);
    EXPECT_EQ(ids.find(node), Node{id});
    ids.forget(node, 1);
    EXPECT_FALSE(ids.find(node));
    EXPECT_EQ(ids.table_size(), 0u);
  }
}

TEST(NodeIds, EachEmptyDirectoryOfASnapshotIsItsOwn) {
  NodeIds ids(mounted_root);
  EXPECT_FALSE(ids.computed(empty));
  NodeId a = ids.acquire(empty, 300, "a");
  EXPECT_NE(a, ids.acquire(empty, 300, "b"));
  EXPECT_NE(a, ids.acquire(empty, 301, "a"));
  EXPECT_EQ(a, ids.acquire(empty, 300, "a"));
  EXPECT_EQ(ids.find(a), (Node{empty, 300}));
  EXPECT_EQ(ids.table_size(), 3u);
}

TEST(NodeIds, ForgettingTooMuchOrAnythingElseIsHarmless) {
  NodeIds ids(mounted_root);
  NodeId node = ids.acquire(empty, 300, "a");
  ids.forget(root_node, 7);
  ids.forget(NodeId{300}, 7);
  ids.forget(NodeId{raw(node) + 1}, 7);
  EXPECT_EQ(ids.table_size(), 1u);
  ids.forget(node, ~0ull);
  EXPECT_EQ(ids.table_size(), 0u);
}

TEST(NodeIds, NumbersThatNobodyWasGivenAreUnknown) {
  NodeIds ids(mounted_root);
  for (uint64_t node : {0ull, 2ull, 255ull, (256ull << 40) + 1, 0xffffffull << 40})
    EXPECT_FALSE(ids.find(NodeId{node})) << node;
}

}  // namespace
}  // namespace karst::fuse
