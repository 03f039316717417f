// What a file system is opened from: superblocks, chunk trees, root trees and their roots that are destroyed
// one by one and together.
#include "btrfs/tool/restore/open_damaged.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "btrfs/tool/restore/node_rebuild.h"
#include "btrfs/tool/restore/testing_restore.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;
using Kind = CopyLoss::Kind;

void destroy(const PristineImage& image, Devices& devices, uint64_t bytenr) {
  image.change_block(devices, bytenr,
                     [](MutableBytes bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0x5a}); });
}

Superblock superblock_of(const PristineImage& image) {
  Devices devices = image.overlays();
  Superblock super;
  for_each_superblock(*devices[0], [&](Superblock& found) { super = found; });
  return super;
}

RestoreOptions everything() {
  RestoreOptions options;
  options.snapshots = true;
  return options;
}

// Paths and contents of regular files, the part that any way of opening must agree on.
std::map<std::string, std::string> contents_of(const Manifest& entries) {
  std::map<std::string, std::string> sums;
  for (const auto& [path, entry] : entries)
    if (entry.contains("sha256")) sums[path] = entry["sha256"];
  return sums;
}

void expect_whole(const PristineImage& image, const Restored& restored) {
  auto whole = restore_all(image.overlays(), {}, everything());
  ASSERT_TRUE(whole);
  EXPECT_EQ(contents_of(restored.entries), contents_of(whole->entries)) << restored.text();
  EXPECT_EQ(restored.entries.size(), whole->entries.size());
}

std::set<std::string> told_as_older(const Restored& restored) {
  std::set<std::string> paths;
  for (const auto& loss : restored.losses)
    if (loss.kind == Kind::older) paths.insert(loss.path);
  return paths;
}

// Superblocks.

TEST(OpenDamaged, TakesTheFirstGoodCopyOfTheSuperblock_BT032) {
  for (const char* name : {"super-0-zeroed", "super-0-damaged", "super-0-1-zeroed"}) {
    PristineImage image(name);
    auto restored = restore_all(image.overlays(), {}, everything());
    ASSERT_TRUE(restored) << name << ": " << restored.error().message();
    EXPECT_EQ(restored->text(), "") << name;
  }
}

TEST(OpenDamaged, TakesASuperblockWithAWrongChecksumOnlyIfAsked) {
  PristineImage image("single-1");
  auto spoiled = [&] {
    Devices devices = image.overlays();
    for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
      const uint64_t offset = superblock_mirror_offset(mirror);
      Superblock super;
      if (offset + superblock_size > devices[0]->size()) continue;
      if (!devices[0]->read(offset, mutable_bytes(super))) continue;
      super.checksum[0] ^= 1;
      (void)devices[0]->write(offset, mutable_bytes(super));
    }
    return devices;
  };
  auto refused = restore_all(spoiled());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(err::super_checksum));
  auto restored = restore_all(spoiled(), {.ignore_checksums = true}, everything());
  ASSERT_TRUE(restored) << restored.error().message();
  expect_whole(image, *restored);
}

TEST(OpenDamaged, GoesOnWithoutADeviceThatHasNoSuperblock) {
  PristineImage image("raid1-2");
  Devices devices = image.overlays();
  for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
    const std::vector<std::byte> zeroes(superblock_size);
    if (superblock_mirror_offset(mirror) + superblock_size <= devices[0]->size())
      (void)devices[0]->write(superblock_mirror_offset(mirror), zeroes);
  }
  auto restored = restore_all(std::move(devices), {}, everything());
  ASSERT_TRUE(restored) << restored.error().message();
  expect_whole(image, *restored);
}

// Root trees.

TEST(OpenDamaged, UsesTheNewestBackupWhenTheRootTreeIsLost_BT032) {
  PristineImage image("single-1");
  Devices devices = image.overlays();
  const Superblock super = superblock_of(image);
  destroy(image, devices, super.root);
  auto restored = restore_all(std::move(devices), {}, everything());
  ASSERT_TRUE(restored) << restored.error().message();
  EXPECT_NE(restored->root_source, "the superblock");
  EXPECT_TRUE(restored->root_is_stand_in);
  EXPECT_FALSE(restored->entries.empty());
}

TEST(OpenDamaged, FindsRootTreesByAScanWithoutBackups) {
  PristineImage image("single-1");
  Devices devices = image.overlays();
  const Superblock super = superblock_of(image);
  for_each_superblock(*devices[0], [](Superblock& copy) {
    for (RootBackup& backup : copy.super_roots) backup = {};
  });
  destroy(image, devices, super.root);
  auto restored = restore_all(std::move(devices), {}, everything());
  ASSERT_TRUE(restored) << restored.error().message();
  EXPECT_TRUE(restored->root_source == "a scan of the metadata" ||
              restored->root_source == "nothing: no root tree can be read")
      << restored->root_source;
}

TEST(OpenDamaged, TakesTheRootTreeThatWasAskedFor) {
  PristineImage image("single-1");
  const Superblock super = superblock_of(image);
  auto by_address = restore_all(image.overlays(), {.tree_location = super.root.value()}, everything());
  ASSERT_TRUE(by_address) << by_address.error().message();
  expect_whole(image, *by_address);
  auto by_generation = restore_all(image.overlays(), {.generation = super.generation.value()}, everything());
  ASSERT_TRUE(by_generation) << by_generation.error().message();
  EXPECT_EQ(by_generation->root_source, "a scan of the metadata");
  EXPECT_FALSE(by_generation->root_is_stand_in);
  expect_whole(image, *by_generation);
  EXPECT_FALSE(restore_all(image.overlays(), {.generation = super.generation + 5}));
  EXPECT_FALSE(restore_all(image.overlays(), {.tree_location = super.root + 1}));
}

TEST(OpenDamaged, BackupsLeadToFiles_BT032) {
  UnpackedImage files("lost-tree-root");
  Devices devices;
  for (const std::string& path : files.devices())
    devices.push_back(*block::open_device(path, block::OpenMode::read_only));
  auto restored = restore_all(std::move(devices), {}, everything());
  ASSERT_TRUE(restored) << restored.error().message();
  EXPECT_THAT(restored->root_source, StartsWith("backup"));
  std::map<std::string, std::string> expected;
  for (const auto& [path, entry] : files.manifest())
    if (entry.contains("sha256") && !restored->entries[path].contains("hardlink"))
      expected[path] = entry["sha256"];
  EXPECT_EQ(contents_of(restored->entries), expected);
}

TEST(OpenDamaged, RootItemsThatAreLostAreFoundByTheirTrees) {
  // A leaf of the root tree at a time; of an image with so many subvolumes that there are several.
  PristineImage image("snapshots-4k");
  auto whole = restore_all(image.overlays(), {}, everything());
  ASSERT_TRUE(whole);
  size_t leaves = 0;
  for (const auto& block : image.blocks()) {
    if (block.owner != id::root_tree || block.level != 0) continue;
    ++leaves;
    Devices devices = image.overlays();
    destroy(image, devices, block.bytenr);
    auto restored = restore_all(std::move(devices), {}, everything());
    ASSERT_TRUE(restored) << restored.error().message();
    std::set<std::string> before, after;
    for (const auto& [path, sum] : contents_of(whole->entries)) before.insert(sum);
    for (const auto& [path, sum] : contents_of(restored->entries)) after.insert(sum);
    // Every content is there, wherever it is now, if the checksum tree's root item is not what was lost.
    for (const std::string& sum : before)
      EXPECT_TRUE(after.contains(sum) || !restored->losses.empty())
          << "leaf " << block.bytenr << restored->text();
  }
  EXPECT_GT(leaves, 1u);
}

// Chunk trees.

// The chunk tree of a small image is one block; what it was before the last chunks were made does not map
// them.
TEST(OpenDamaged, PutsChunksTogetherWithoutTheChunkTree) {
  for (const char* name :
       {"single-1", "dup-1", "raid1-2", "levels-4k", "block-group-tree", "raid0-2", "raid10-4", "raid5-3",
        "raid6-5", "random-raid6-4", "raid0-raid1-5", "mixed-profiles-3"}) {
    SCOPED_TRACE(name);
    PristineImage image(name);
    Devices devices = image.overlays();
    for (const auto& block : image.blocks())
      if (block.owner == id::chunk_tree) destroy(image, devices, block.bytenr);
    auto restored = restore_all(std::move(devices), {}, everything());
    ASSERT_TRUE(restored) << restored.error().message();
    expect_whole(image, *restored);
  }
}

// The order of stripes is known from the devices that are there.
TEST(OpenDamaged, PutsStripedChunksTogetherWithoutADevice) {
  for (const char* name : {"raid10-4", "random-raid6-4"}) {
    SCOPED_TRACE(name);
    PristineImage image(name);
    Devices devices = image.overlays();
    for (const auto& block : image.blocks())
      if (block.owner == id::chunk_tree) destroy(image, devices, block.bytenr);
    devices.pop_back();
    auto restored = restore_all(std::move(devices), {}, everything());
    ASSERT_TRUE(restored) << restored.error().message();
    expect_whole(image, *restored);
  }
}

// Logs.

// A log that has lost a block would delete what it does not say any more.
TEST(OpenDamaged, ALogWithHolesIsNotUsed_BT005) {
  PristineImage image("log-directories");
  auto without = restore_all(image.overlays(), {.replay_log = false}, everything());
  ASSERT_TRUE(without);
  size_t blocks = 0;
  for (const auto& block : image.blocks()) {
    if (block.owner != id::tree_log) continue;
    ++blocks;
    Devices devices = image.overlays();
    destroy(image, devices, block.bytenr);
    auto restored = restore_all(std::move(devices), {}, everything());
    ASSERT_TRUE(restored) << restored.error().message();
    EXPECT_TRUE(restored->log_is_unused);
    EXPECT_EQ(contents_of(restored->entries), contents_of(without->entries));
  }
  EXPECT_GT(blocks, 0u);
}

// Copies.

TEST(OpenDamaged, AnOlderCopyIsBetterThanNone_BT035) {
  PristineImage image("dup-1");
  for (const auto& block : image.blocks()) {
    if (!is_fs_tree(block.owner)) continue;
    Devices devices = image.overlays();
    image.change_block(devices, block.bytenr, [](MutableBytes bytes) {
      auto& header = *reinterpret_cast<Header*>(bytes.data());
      header.generation = header.generation - 1;
    });
    image.spoil_last_copy(devices, block.bytenr);
    auto restored = restore_all(std::move(devices), {}, everything());
    ASSERT_TRUE(restored) << restored.error().message();
    expect_whole(image, *restored);
    EXPECT_GT(restored->tolerated, 0u);
    EXPECT_GT(told_as_older(*restored).size(), 0u);
    return;
  }
  FAIL() << "no block";
}

// Nodes.

TEST(OpenDamaged, InnerNodesAreMadeAgainFromTheirChildren) {
  for (const char* name : {"nodesize-4k", "levels-4k", "links", "snapshots-4k"}) {
    PristineImage image(name);
    size_t nodes = 0;
    for (const auto& block : image.blocks()) {
      if (nodes == 20) break;
      if (block.level == 0 || !(is_fs_tree(block.owner) || block.owner == id::csum_tree)) continue;
      ++nodes;
      SCOPED_TRACE(
          fmt::format("{}: block {} level {} of tree {}", name, block.bytenr, block.level, block.owner));
      Devices devices = image.overlays();
      destroy(image, devices, block.bytenr);
      auto restored = restore_all(std::move(devices), {}, everything());
      ASSERT_TRUE(restored) << restored.error().message();
      ASSERT_FALSE(restored->blocks.empty());
      EXPECT_TRUE(restored->blocks[0].rebuilt);
      expect_whole(image, *restored);
    }
    EXPECT_GT(nodes, 0u) << name;
  }
}

// The files with items in the node's range, and the directories: a newer block than those found may be lost.
TEST(OpenDamaged, WhatTheExtentTreeDoesNotVouchForIsToldAsPerhapsOlder) {
  for (const char* name : {"nodesize-4k", "levels-4k", "links"}) {
    SCOPED_TRACE(name);
    PristineImage image(name);
    const auto& blocks = image.blocks();
    const auto root = std::find_if(blocks.begin(), blocks.end(), [](const auto& block) {
      return block.owner == id::fs_tree && block.level > 0;
    });
    ASSERT_NE(root, blocks.end());
    auto devices_without = [&](bool extent_tree) {
      Devices devices = image.overlays();
      destroy(image, devices, root->bytenr);
      for (const auto& block : blocks)
        if (!extent_tree && block.owner == id::extent_tree) destroy(image, devices, block.bytenr);
      return devices;
    };
    EXPECT_THAT(told_as_older(restore_all(devices_without(true), {}, everything()).value()), IsEmpty());
    const Restored restored = restore_all(devices_without(false), {}, everything()).value();
    const auto told = told_as_older(restored);
    for (const auto& [id, path] : restored.paths)
      EXPECT_EQ(told.contains(path), id.subvolume == id::fs_tree) << path;
    expect_whole(image, restored);
  }
}

// Also where the doubtful leaf has nothing but a file's extents, which no name leads to. It may tell more: a
// copy does not read what a file says of its names.
TEST(OpenDamaged, ADryRunTellsWhatMayBeOlder) {
  PristineImage image("nodesize-4k");
  size_t told = 0;
  for (const auto& block : image.blocks()) {
    if (!is_fs_tree(block.owner) || block.level > 0) continue;
    SCOPED_TRACE(fmt::format("block {}", block.bytenr));
    auto devices = [&] {
      Devices made = image.overlays();
      image.change_block(made, block.bytenr, [](MutableBytes bytes) {
        auto& header = *reinterpret_cast<Header*>(bytes.data());
        header.generation = header.generation - 1;
      });
      return made;
    };
    const auto restored = restore_all(devices(), {}, everything());
    const auto listed = restore_nothing(devices(), {}, everything());
    ASSERT_TRUE(restored && listed);
    EXPECT_THAT(told_as_older(*listed), IsSupersetOf(told_as_older(*restored)));
    told += told_as_older(*listed).size();
  }
  EXPECT_GT(told, 0u);
}

// Contents and checksums.

TEST(Restore, LeavesHolesWhereDataIsBadUnlessAskedToGiveItUnverified) {
  PristineImage image("bad-data");
  auto careful = restore_all(image.overlays(), {}, everything());
  ASSERT_TRUE(careful);
  ASSERT_EQ(careful->losses.size(), 1u) << careful->text();
  EXPECT_EQ(careful->losses[0].kind, Kind::range);
  RestoreOptions options = everything();
  options.copy.give_unverified = true;
  auto daring = restore_all(image.overlays(), {.ignore_checksums = true}, options);
  ASSERT_TRUE(daring);
  ASSERT_EQ(daring->losses.size(), 1u) << daring->text();
  EXPECT_EQ(daring->losses[0].kind, Kind::unverified);
  EXPECT_EQ(daring->losses[0].offset, careful->losses[0].offset);
  EXPECT_NE(daring->entries[daring->losses[0].path]["sha256"],
            careful->entries[daring->losses[0].path]["sha256"]);
}

TEST(Restore, GivesDataWithoutTheChecksumTreeIfAsked) {
  PristineImage image("single-1");
  auto spoiled = [&] {
    Devices devices = image.overlays();
    for (const auto& block : image.blocks())
      if (block.owner == id::csum_tree) destroy(image, devices, block.bytenr);
    return devices;
  };
  auto careful = restore_all(spoiled(), {}, everything());
  ASSERT_TRUE(careful);
  EXPECT_FALSE(careful->losses.empty());
  for (const auto& loss : careful->losses) EXPECT_EQ(loss.kind, Kind::range) << careful->text();
  RestoreOptions options = everything();
  options.copy.give_unverified = true;
  auto daring = restore_all(spoiled(), {.ignore_checksums = true}, options);
  ASSERT_TRUE(daring);
  for (const auto& loss : daring->losses) EXPECT_EQ(loss.kind, Kind::unverified) << daring->text();
  expect_whole(image, *daring);
}

}  // namespace
}  // namespace karst::btrfs::testing
