#include "btrfs/format/inode.h"

#include <gtest/gtest.h>

#include "btrfs/format/backref.h"

namespace karst::btrfs {
namespace {

// The values are those in the keys of images made by mkfs.btrfs and Linux.
TEST(NameHash, IsTheOneOfDirItemKeys_BT010) { EXPECT_EQ(name_hash("default"), 2378154706u); }

TEST(ExtrefHash, IsSeededWithTheLowHalfOfTheParent_BT010) {
  EXPECT_EQ(extref_hash(256, "a"), extref_hash((1ull << 32) | 256, "a"));
  EXPECT_NE(extref_hash(256, "a"), extref_hash(257, "a"));
  EXPECT_EQ(extref_hash(0xfffffffe, "default"), name_hash("default"));
}

TEST(ExtentDataRefHash, IsTheOneThatTheStockToolPrints_BT010) {
  EXPECT_EQ(extent_data_ref_hash(5, 262, 0), 0xdfb591f7df159f2u);
}

}  // namespace
}  // namespace karst::btrfs
