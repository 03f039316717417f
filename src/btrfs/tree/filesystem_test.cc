// Opening: the roots that are found, and what comes of reads that fail on the way.
#include <gtest/gtest.h>

#include "block/faulty_device.h"
#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {
namespace {

using Devices = std::vector<std::unique_ptr<block::Device>>;

Root root_of(const RootItem& item, uint64_t tree, size_t size = sizeof(RootItem)) {
  return root_from_item({tree, ItemType::root_item, 0}, bytes_of(item).first(size));
}

TEST(RootItems, LeaveOutWhatAnOldKernelDidNotUpdate_BT010) {
  RootItem item{};
  item.generation = 9;
  item.generation_v2 = 8;
  item.uuid.bytes[0] = 1;
  item.ctransid = 8;
  EXPECT_TRUE(root_of(item, 257).item.uuid.is_null());
  EXPECT_EQ(root_of(item, 257).item.ctransid, 0u);
  item.generation_v2 = 9;
  EXPECT_EQ(root_of(item, 257).item.uuid, item.uuid);
  EXPECT_TRUE(root_of(item, 257, root_item_legacy_size).item.uuid.is_null());
  EXPECT_EQ(root_of(item, 257, root_item_legacy_size).item.generation, 9u);
}

TEST(RootItems, OfSubvolumesHaveFlagsOnlyIfTheseWereInitialised_BT010) {
  RootItem item{};
  item.flags = root_flag::readonly | 0x70;
  EXPECT_EQ(root_of(item, 257).item.flags, 0u);
  EXPECT_EQ(root_of(item, id::fs_tree).item.flags, 0u);
  EXPECT_EQ(root_of(item, id::csum_tree).item.flags, item.flags);
  item.inode.flags = inode_flag::root_item_init;
  EXPECT_EQ(root_of(item, 257).item.flags, item.flags);
}

class Opening : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Image>> open(Devices devices, const ImageOptions& options) {
    return Image::open_on(std::move(devices), options, cache_, Logger(log_));
  }
  cache::Cache cache_;
  MemorySink log_;
};

TEST_F(Opening, RefusesABackupRootWhoseLevelNoTreeHas_BT032) {
  PristineImage pristine("empty");
  ImageOptions options = pristine.options();
  options.open.backup_root = 1;
  void (*const changes[])(RootBackup&) = {
      [](RootBackup& backup) { backup.chunk_root_level = 200; },
      [](RootBackup& backup) { backup.tree_root_level = 200; },
  };
  for (auto change : changes) {
    Devices devices = pristine.overlays();
    for_each_superblock(*devices[0], [&](Superblock& super) { change(super.super_roots[1]); });
    auto image = open(std::move(devices), options);
    ASSERT_FALSE(image);
    EXPECT_TRUE(image.error().is(err::super_invalid)) << image.error().message();
  }
}

void change_first_superblock(block::Device& device, FunctionRef<void(Superblock&)> change) {
  Superblock super;
  ASSERT_TRUE(device.read(superblock_offset, mutable_bytes(super)));
  change(super);
  seal(mutable_bytes(super), ChecksumType::crc32c);
  ASSERT_TRUE(device.write(superblock_offset, mutable_bytes(super)));
}

// A damaged checksum type cannot be told from one that is not known yet; the other copies can.
TEST_F(Opening, TakesAnotherSuperblockWhereTheChecksumTypeIsUnknown_BT032) {
  PristineImage pristine("single-1");
  Devices devices = pristine.overlays();
  change_first_superblock(*devices[0], [](Superblock& super) { super.csum_type = 0x104; });
  EXPECT_TRUE(open(std::move(devices), pristine.options()));

  devices = pristine.overlays();
  for_each_superblock(*devices[0], [](Superblock& super) { super.csum_type = 0x104; });
  auto unknown = open(std::move(devices), pristine.options());
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(unknown.error().is(err::super_unsupported)) << unknown.error().message();
}

TEST_F(Opening, TakesNoOlderSuperblockWhereAFeatureIsUnknown_BT032) {
  PristineImage pristine("single-1");
  Devices devices = pristine.overlays();
  change_first_superblock(*devices[0], [](Superblock& super) { super.incompat_flags |= 1ull << 40; });
  auto unknown = open(std::move(devices), pristine.options());
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(unknown.error().is(err::super_unsupported)) << unknown.error().message();
}

TEST_F(Opening, TellsTheSeedFromAnotherOneWithItsNumber_BT093) {
  PristineImage pristine("seed-sprout-2"), other("seed");
  Devices devices = pristine.overlays(), others = other.overlays();
  devices.insert(devices.begin() + 1, std::move(others[0]));
  ImageOptions options = pristine.options();
  options.allow_missing = false;
  auto image = open(std::move(devices), options);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_TRUE((*image)->fs().missing_devices().empty());
}

// Whatever was made before the failure goes again (the sanitizers look), and the next try starts afresh.
TEST_F(Opening, EndsCleanlyWhicheverReadFails_BT111) {
  for (const char* name : {"single-1", "raid1-2", "log-create"}) {
    PristineImage pristine(name);
    Devices overlays = pristine.overlays();
    std::vector<std::unique_ptr<block::FaultyDevice>> faulty;
    for (auto& overlay : overlays)
      faulty.push_back(std::make_unique<block::FaultyDevice>(*overlay, block::FaultPlan{}));
    auto try_again = [&] {
      Devices devices;
      for (auto& device : faulty) devices.push_back(std::make_unique<Borrowed>(*device));
      cache::Cache cache;
      auto image = Image::open_on(std::move(devices), pristine.options(), cache, Logger(log_));
      if (!image) {
        EXPECT_EQ(image.error().errno_value(), EIO) << image.error().message();
      }
      return image.has_value();
    };
    int failed = 0;
    for (uint64_t nth = 1;; ++nth) {
      const uint64_t met_before = faulty[0]->faults_met();
      faulty[0]->set_faults({{.op = block::IoOp::read, .nth = nth}});
      failed += !try_again();
      const bool met = faulty[0]->faults_met() > met_before;
      faulty[0]->set_faults({});
      EXPECT_TRUE(try_again()) << name << ", after read " << nth << " had failed";
      if (!met) break;
      ASSERT_LT(nth, 1000u) << name << ": opening never gets by without the fault";
    }
    // The first superblock has copies, and so have the trees of raid1.
    if (name == std::string("single-1")) {
      EXPECT_GT(failed, 0);
    }
    if (name == std::string("raid1-2")) {
      EXPECT_EQ(failed, 0);
    }
  }
}

}  // namespace
}  // namespace karst::btrfs::testing
