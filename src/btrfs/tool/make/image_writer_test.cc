// New file systems: what they say of themselves is so, whatever the options, sizes and faults.
#include "btrfs/tool/make/image_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "block/recording_device.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/inode_mode.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/tool/make/testing_make.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t MiB = 1 << 20;

MakeOptions seeded(MakeOptions options = {}) {
  options.seed = "test";
  return options;
}

class ImageWriterTest : public ::testing::Test {
 protected:
  // The file system on the devices, checked against itself; the reasons if there is none or it is wrong.
  std::vector<std::string> audit(MemoryDevices& devices) {
    auto opened = open(devices);
    return opened ? Audit::of(**opened) : std::vector{opened.error().message()};
  }
  Result<std::unique_ptr<Filesystem>> open(MemoryDevices& devices) {
    return Filesystem::open(devices.lend(), {}, cache_, Logger());
  }
  cache::Cache cache_;
};

// What block groups and the free space tree say is what is there (BT-038, BT-047).
TEST_F(ImageWriterTest, TreesThatAccountForThemselvesSettleForAnyNumberOfExtents) {
  for (uint64_t files : {0, 1, 2, 50, 51, 52, 53, 54, 333, 1000, 4000, 20'000}) {
    for (uint64_t bits : {uint64_t{0}, compat_ro::block_group_tree}) {
      MakeOptions options = seeded({.nodesize = 4096});
      options.compat_ro |= bits;
      MemoryDevices devices({400 * MiB});
      ASSERT_TRUE(make_filesystem(devices.for_making(), options, files)) << files;
      EXPECT_THAT(audit(devices), IsEmpty()) << files << " files, compat_ro " << bits;
    }
  }
}

struct ProfileCase {
  const char* name;
  uint64_t profile;
  size_t devices;
  int copies;
};
class EveryProfile : public ImageWriterTest, public ::testing::WithParamInterface<ProfileCase> {};

// For raid5 and raid6 the further copies are rebuilt from parity (volume.h).
TEST_P(EveryProfile, HasEachByteInEachCopy_BT092) {
  MakeOptions options = seeded();
  options.data_profile = options.metadata_profile = GetParam().profile;
  std::vector<uint64_t> sizes;
  for (size_t i = 0; i < GetParam().devices; ++i) sizes.push_back((100 + 30 * i) * MiB);
  MemoryDevices devices(sizes);
  std::vector<WrittenSector> written;
  ASSERT_TRUE(make_filesystem(devices.for_making(), options, 500, &written));
  auto fs = open(devices).value();
  EXPECT_THAT(Audit::of(*fs), IsEmpty());
  std::vector<std::byte> read(4096);
  for (const WrittenSector& sector : written) {
    ASSERT_GE(fs->volume().copies(Logical(sector.address)).value(), GetParam().copies);
    for (int copy = 0; copy < GetParam().copies; ++copy) {
      ASSERT_TRUE(fs->volume().read_copy(Logical(sector.address), read, copy));
      ASSERT_EQ(read, sector.bytes) << sector.address << " copy " << copy;
    }
  }
}

constexpr ProfileCase profile_cases[] = {
    {"single", 0, 1, 1},
    {"singleOnThree", 0, 3, 1},
    {"dup", block_group::dup, 1, 2},
    {"raid0", block_group::raid0, 3, 1},
    {"raid1", block_group::raid1, 3, 2},
    {"raid1c3", block_group::raid1c3, 3, 3},
    {"raid1c4", block_group::raid1c4, 5, 4},
    {"raid10", block_group::raid10, 5, 2},
    {"raid5", block_group::raid5, 3, 2},
    {"raid6", block_group::raid6, 4, 4},
    {"raid6OnFive", block_group::raid6, 5, 5},
};
INSTANTIATE_TEST_SUITE_P(All, EveryProfile, ::testing::ValuesIn(profile_cases),
                         [](const auto& tested) { return tested.param.name; });

TEST_F(ImageWriterTest, ChunksDoNotOverlapOnLargeDevices) {
  for (uint64_t size : {uint64_t{64} << 30, uint64_t{300} << 30}) {
    MemoryDevices devices({size});
    auto report = make_filesystem(devices.for_making(), seeded({.discard = false}), 3);
    ASSERT_TRUE(report);
    EXPECT_THAT(audit(devices), IsEmpty());
    for (const auto& chunk : report->chunks)
      EXPECT_GE(chunk.length, chunk.type & block_group::metadata ? uint64_t{1} << 30 : 8 * MiB);
  }
}

// The copies that a device of this size has; what lies there is no chunk's.
TEST_F(ImageWriterTest, EachCopyOfTheSuperblockOpensTheFileSystem) {
  MemoryDevices devices({uint64_t{257} << 30});
  ASSERT_TRUE(make_filesystem(devices.for_making(), seeded({.discard = false}), 3));
  for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
    auto fs = Filesystem::open(devices.lend(), {.volume = {.super_mirror = mirror}, .backup_root = {}},
                               cache_, Logger());
    ASSERT_TRUE(fs) << mirror;
    EXPECT_THAT(Audit::of(**fs), IsEmpty());
  }
}

TEST_F(ImageWriterTest, ItemsComeBackInOrderThroughACursor_BT013) {
  std::mt19937_64 random(7);
  for (uint32_t nodesize : {4096u, 8192u, 16384u, 32768u, 65536u}) {
    std::map<Key, std::string> items;
    const size_t count = nodesize == 4096 ? 120'000 : 20'000;
    while (items.size() < count) {
      std::string value(random() % (random() % 50 == 0 ? BulkTree::max_item_size(nodesize) + 1 : 60), '\0');
      for (char& byte : value) byte = static_cast<char>(random());
      items[{random() % 5000, ItemType(222), random()}] = value;
    }
    MemoryDevices devices({4096 * MiB});
    auto writer = ImageWriter::create(devices.for_making(), seeded({.nodesize = nodesize})).value();
    ASSERT_TRUE(writer->begin());
    BulkTree tree = writer->begin_tree(id::fs_tree);
    for (const auto& [key, value] : items) ASSERT_TRUE(tree.add(key, as_bytes(value)));
    ASSERT_TRUE(writer->add_subvolume({.root = tree.finish().value(), .place = {}, .snapshot_of = {}}));
    ASSERT_TRUE(writer->finish());
    auto fs = open(devices).value();
    EXPECT_THAT(Audit::of(*fs), IsEmpty());
    Cursor cursor(fs->tree(id::fs_tree).value());
    auto expected = items.begin();
    for (bool more = cursor.seek({}).value(); more; more = cursor.next().value(), ++expected) {
      ASSERT_EQ(cursor.key(), expected->first);
      ASSERT_EQ(as_text(cursor.data()), expected->second);
    }
    EXPECT_EQ(expected, items.end());
  }
}

// More tree blocks than one range of addresses has; stripes round the chunks of each up.
TEST_F(ImageWriterTest, MetadataGoesOnInFurtherRanges) {
  MakeOptions options = seeded({.nodesize = 65536});
  options.metadata_profile = block_group::raid0;
  options.metadata_least = 1;
  MemoryDevices devices({2048 * MiB, 2048 * MiB, 2048 * MiB});
  auto writer = ImageWriter::create(devices.for_making(), options).value();
  ASSERT_TRUE(writer->begin());
  BulkTree tree = writer->begin_tree(id::fs_tree);
  const std::vector<std::byte> large(60'000);
  for (uint64_t n = 0; n < 4500; ++n) ASSERT_TRUE(tree.add({n, ItemType(222), 0}, large));
  ASSERT_TRUE(writer->add_subvolume({.root = tree.finish().value(), .place = {}, .snapshot_of = {}}));
  ASSERT_TRUE(writer->finish());
  EXPECT_THAT(audit(devices), IsEmpty());
}

// --- snapshots ---

// The source with so many files, and two snapshots of it.
Result<MakeReport> make_snapshots(MemoryDevices& devices, MakeOptions options, uint64_t files) {
  auto writer = TRY(ImageWriter::create(devices.for_making(), std::move(options)));
  TRY(writer->begin());
  const FilledTree top = TRY(fill_tree(*writer, id::fs_tree, files));
  TRY(writer->add_subvolume({.root = top.root, .place = {}, .snapshot_of = {}}));
  for (uint64_t id : {256, 257}) {
    const TreeRoot root = TRY(writer->snapshot(id, top.root, TreeBlock(top.root_block)));
    TRY(writer->add_subvolume({.id = id,
                               .root = root,
                               .place = {{id::fs_tree, id::first_free, id, fmt::format("snapshot {}", id)}},
                               .snapshot_of = id::fs_tree}));
  }
  return writer->finish();
}

TEST_F(ImageWriterTest, SnapshotsShareWhatTheirSourceHas) {
  for (uint64_t files : {0, 10, 2000}) {  // one leaf; one leaf with extents; a root of many leaves
    MemoryDevices devices({256 * MiB});
    ASSERT_TRUE(make_snapshots(devices, seeded(), files));
    auto fs = open(devices).value();
    EXPECT_THAT(Audit::of(*fs), IsEmpty()) << files;
    const RootItem source = fs->root(id::fs_tree)->item, snapshot = fs->root(257)->item;
    EXPECT_EQ(snapshot.level, source.level);
    EXPECT_EQ(snapshot.bytes_used, source.bytes_used)
        << "else Linux counts below zero when it deletes blocks";
    EXPECT_EQ(source.last_snapshot, fs->super().generation) << "else Linux changes shared blocks in place";
    EXPECT_EQ(snapshot.parent_uuid, source.uuid);
  }
}

// --- the same twice ---

std::vector<std::byte> first_bytes(MemoryDevices& devices) {
  std::vector<std::byte> bytes(100 * MiB);
  EXPECT_TRUE(devices[0].read(0, bytes));
  return bytes;
}

TEST_F(ImageWriterTest, OneSeedMakesOneImage) {
  MemoryDevices first({100 * MiB}), second({100 * MiB}), other({100 * MiB});
  ASSERT_TRUE(make_filesystem(first.for_making(), seeded(), 300));
  // What was there before makes no difference, nor does how much is kept in memory.
  ASSERT_TRUE(make_filesystem(second.for_making(), seeded({.nodesize = 4096, .memory = 0}), 900));
  ASSERT_TRUE(make_filesystem(second.for_making(), seeded({.memory = 0}), 300));
  EXPECT_TRUE(first_bytes(first) == first_bytes(second));
  ASSERT_TRUE(make_filesystem(other.for_making(), {.seed = "another"}, 300));
  EXPECT_FALSE(first_bytes(first) == first_bytes(other));
}

TEST_F(ImageWriterTest, TheLimitIsTheSizeOfTheFileSystem) {
  MemoryDevices devices({300 * MiB});
  auto making = devices.for_making();
  making[0].limit = 200 * MiB;
  auto report = make_filesystem(std::move(making), seeded(), 3);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->total_bytes, 200 * MiB);
  EXPECT_THAT(audit(devices), IsEmpty());
}

TEST_F(ImageWriterTest, ASystemChunkOfMoreStripesThanTheSuperblockCanNameIsRefused) {
  MakeOptions options = seeded();
  options.metadata_profile = block_group::raid0;
  MemoryDevices devices(std::vector<uint64_t>(70, 64 * MiB));
  EXPECT_TRUE(make_filesystem(devices.for_making(), options, 0).error().is(karst::err::limit));
}

TEST_F(ImageWriterTest, WhatIsRefusedTouchesNothing) {
  MemoryDevices devices({100 * MiB});
  ASSERT_TRUE(make_filesystem(devices.for_making(), seeded(), 3));
  MakeOptions options;
  options.data_profile = block_group::raid10;
  EXPECT_TRUE(make_filesystem(devices.for_making(), options, 0).error().is(karst::err::invalid));
  EXPECT_THAT(audit(devices), IsEmpty());
}

// --- faults ---

TEST_F(ImageWriterTest, EachSizeEndsInAFileSystemOrInNoSpaceWithNumbers) {
  for (uint64_t profile : {uint64_t{0}, block_group::dup}) {
    bool fitted = false;
    for (uint64_t size = MiB / 2; size < 40 * MiB; size += 11 * MiB / 16) {
      MakeOptions options = seeded({.system_least = MiB, .metadata_least = MiB, .data_least = MiB});
      options.metadata_profile = options.data_profile = profile;
      MemoryDevices devices({size / 4096 * 4096});
      auto made = make_filesystem(devices.for_making(), options, 1500);
      if (made) {
        fitted = true;
        EXPECT_THAT(audit(devices), IsEmpty()) << size;
        continue;
      }
      EXPECT_FALSE(fitted) << size << " bytes were too few, though less was enough";
      EXPECT_TRUE(made.error().is(karst::err::no_space)) << made.error().message();
      EXPECT_THAT(made.error().message(), ::testing::ContainsRegex("expected .*[0-9]+.*found .*[0-9]+"));
      EXPECT_FALSE(open(devices)) << size;
    }
    EXPECT_TRUE(fitted);
  }
}

// Fails the n-th request of this kind on each device, for n = 1, 2 … until none is left to fail.
class EveryFailure : public ImageWriterTest, public ::testing::WithParamInterface<block::IoOp> {};

TEST_P(EveryFailure, IsReportedAndLeavesNoPartOfAFileSystem) {
  MakeOptions options = seeded();
  options.data_profile = options.metadata_profile = block_group::raid1;
  for (uint64_t nth = 1;; ++nth) {
    ASSERT_LT(nth, 2000u);
    MemoryDevices devices({100 * MiB, 100 * MiB});
    options.seed = "old";
    const Uuid old_fsid = make_filesystem(devices.for_making(), options, 5)->fsid;
    options.seed = "new";
    block::FaultPlan plan;
    plan.faults.push_back({.op = GetParam(), .nth = nth});
    auto made = make_filesystem(devices.for_making(plan), options, 20);
    if (made) {
      EXPECT_GT(nth, 2u);
      EXPECT_THAT(audit(devices), IsEmpty());
      return;
    }
    EXPECT_TRUE(made.error().is(karst::err::io)) << made.error().message();
    // What was there may be left if its superblocks could not be taken away.
    if (auto left = open(devices)) {
      EXPECT_EQ((*left)->super().fsid, old_fsid) << nth;
      EXPECT_THAT(Audit::of(**left), IsEmpty()) << nth;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(All, EveryFailure,
                         ::testing::Values(block::IoOp::write, block::IoOp::flush, block::IoOp::write_zeroes),
                         [](const auto& tested) {
                           std::string name = block::name_of(tested.param);
                           std::erase(name, '-');
                           return name;
                         });

TEST_F(ImageWriterTest, ATemporaryFileThatIsFullIsReported) {
  MakeOptions options = seeded({.temporary_directory = "/nonexistent", .memory = 0});
  MemoryDevices devices({100 * MiB});
  EXPECT_FALSE(make_filesystem(devices.for_making(), options, 3000));
  EXPECT_FALSE(open(devices));
}

// A crash at any point leaves the file system that was there, none, or all of the new one (CO-017).
TEST_F(ImageWriterTest, ACrashNeverLeavesHalfAFileSystem) {
  MemoryDevices before({80 * MiB});
  MakeOptions old;
  old.seed = "old";
  const Uuid old_fsid = make_filesystem(before.for_making(), old, 100)->fsid;
  block::OverlayDevice target(before[0]);
  block::WriteLog log;
  std::vector<MakeDevice> devices;
  devices.push_back({std::make_unique<block::RecordingDevice>(target, log), {}});
  const Uuid new_fsid = make_filesystem(std::move(devices), seeded(), 100)->fsid;
  size_t states = 0, none = 0, complete = 0;
  auto done =
      block::for_each_crash(log, before[0], {.seed = 1, .samples = 6}, [&](const block::CrashState& state) {
        ++states;
        std::vector<std::unique_ptr<block::Device>> left;
        left.push_back(std::make_unique<block::FaultyDevice>(state.device, block::FaultPlan{}));
        cache::Cache cache;
        auto fs = Filesystem::open(std::move(left), {}, cache, Logger());
        if (!fs) {
          ++none;
          return Result<void>();
        }
        complete += (*fs)->super().fsid == new_fsid;
        EXPECT_TRUE((*fs)->super().fsid == new_fsid || (*fs)->super().fsid == old_fsid);
        EXPECT_THAT(Audit::of(**fs), IsEmpty()) << state.description;
        return Result<void>();
      });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_GT(none, 5u);
  EXPECT_GT(complete, 0u);
  EXPECT_LT(complete, states);
}

}  // namespace
}  // namespace karst::btrfs::testing
