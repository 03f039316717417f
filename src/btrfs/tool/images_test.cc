// Every checked-in image, read by the library, against what the kernel showed of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <bitset>

#include "block/open.h"
#include "block/overlay_device.h"
#include "btrfs/tool/testing_image.h"
#include "btrfs/tool/testing_patch.h"
#include "btrfs/tool/usage.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Opens one image in several ways.
class Opener {
 public:
  explicit Opener(const std::string& name) : files(name) {}

  Result<std::unique_ptr<Image>> open(const ImageOptions& options) {
    return Image::open(options, cache, Logger(log));
  }
  // What differs from the manifest; or the error.
  std::vector<std::string> compare(const ImageOptions& options, const Manifest& expected) {
    auto image = open(options);
    if (!image) return {image.error().message()};
    auto found = manifest_of(**image);
    if (!found) return {found.error().message()};
    return differences(expected, *found);
  }
  std::vector<std::string> compare(const ImageOptions& options) { return compare(options, files.manifest()); }

  UnpackedImage files;
  cache::Cache cache;
  MemorySink log;
};

bool is_log(const std::string& name) { return name.starts_with("log-"); }

// The ones whose tree of roots is lost open with one of the backups: the newest that is whole.
ImageOptions whole_options(Opener& opener) {
  ImageOptions options = opener.files.options();
  if (opener.files.name() != "lost-tree-root") return options;
  auto device = block::open_device(options.devices[0], block::OpenMode::read_only);
  Superblock super;
  (void)(*device)->read(superblock_offset, {reinterpret_cast<std::byte*>(&super), sizeof super});
  uint64_t newest = 0;
  for (int i = 0; i < backup_root_count; ++i) {
    ImageOptions trial = opener.files.options();
    trial.open.backup_root = i;
    auto image = opener.open(trial);
    if (!image || !manifest_of(**image) || super.super_roots[i].tree_root_gen <= newest) continue;
    newest = super.super_roots[i].tree_root_gen;
    options = trial;
  }
  return options;
}

class EveryImage : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, EveryImage, ::testing::ValuesIn(image_names()), test_name);

// Names, inodes, modes, times, links, attributes, content, maps of holes (BT-010 BT-013 BT-054 BT-055 BT-059
// BT-061 BT-065 BT-077 BT-079 BT-081 BT-085 BT-092 BT-095), by whatever copies are good (BT-035), from
// another superblock or backup root (BT-032); with the log replayed (BT-005 BT-006 BT-007).
TEST_P(EveryImage, ShowsWhatTheKernelShows_BT010_BT035_BT054_BT065) {
  Opener opener(GetParam());
  EXPECT_EQ(joined(opener.compare(whole_options(opener))), "");
}

TEST_P(EveryImage, ShowsTheStateBeforeTheLogIfAsked_BT005_BT028) {
  if (!is_log(GetParam())) GTEST_SKIP() << "no log";
  Opener opener(GetParam());
  ImageOptions options = opener.files.options();
  options.replay_log = false;
  EXPECT_EQ(joined(opener.compare(options, opener.files.norecovery_manifest())), "");
  EXPECT_NE(opener.files.manifest(), opener.files.norecovery_manifest()) << "the log changes nothing here";
}

Json null_or(const Uuid& uuid) {
  if (uuid == Uuid{}) return nullptr;
  return fmt::format("{}", uuid);
}

// In the form of info.json. What the replay of a log changes in the kernel's copy is left out.
Json facts_of(const Subvolume& subvolume, bool replayed) {
  const RootItem& item = subvolume.root.item;
  Json facts = {
      {"id", subvolume.id()},
      {"parent", subvolume.linked ? Json(subvolume.parent) : Json(nullptr)},
      {"root_dirid", item.root_dirid.value()},
      {"readonly", subvolume.readonly()},
      {"deleted", subvolume.deleted()},
      {"uuid", null_or(item.uuid)},
      {"parent_uuid", null_or(item.parent_uuid)},
      {"received_uuid", null_or(item.received_uuid)},
      {"otransid", item.otransid.value()},
      {"path", escape(subvolume.path)},
  };
  if (replayed) return facts;
  facts["generation"] = item.generation.value();
  facts["bytenr"] = item.bytenr.value();
  facts["level"] = item.level;
  facts["ctransid"] = item.ctransid.value();
  facts["stransid"] = item.stransid.value();
  facts["rtransid"] = item.rtransid.value();
  return facts;
}

TEST_P(EveryImage, HasTheKernelsSubvolumes_BT051_BT053) {
  Opener opener(GetParam());
  const Json kernel = opener.files.info()["kernel"];
  if (kernel.empty()) GTEST_SKIP() << "was not mounted by a kernel";
  auto image = opener.open(whole_options(opener));
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(*default_subvolume((*image)->fs()), kernel["default_subvolid"].get<uint64_t>());
  auto list = list_subvolumes((*image)->fs());
  ASSERT_TRUE(list) << list.error().message();
  std::map<uint64_t, Json> ours;
  for (const Subvolume& subvolume : *list) ours[subvolume.id()] = facts_of(subvolume, is_log(GetParam()));
  for (const Json& expected : kernel["subvolumes"]) {
    const Json& found = ours[expected["id"]];
    for (const auto& [field, value] : found.items()) {
      if (field == "path" && expected["deleted"]) continue;
      EXPECT_EQ(value, expected[field]) << "subvolume " << expected["id"] << ", " << field;
    }
    ours.erase(expected["id"].get<uint64_t>());
  }
  // The kernel cleans up while it is mounted.
  std::erase_if(ours, [](const auto& entry) { return entry.second["deleted"] == true; });
  EXPECT_THAT(ours, IsEmpty());
}

TEST_P(EveryImage, HasTheKernelsFacts_BT010) {
  Opener opener(GetParam());
  const Json kernel = opener.files.info()["kernel"];
  if (kernel.empty()) GTEST_SKIP() << "was not mounted by a kernel";
  auto image = opener.open(whole_options(opener));
  ASSERT_TRUE(image) << image.error().message();
  const Superblock& super = (*image)->fs().super();
  EXPECT_EQ(std::string_view(super.label), kernel["label"].get<std::string>());
  EXPECT_EQ(fmt::format("{}", super.fsid), kernel["fsid"]);
  EXPECT_EQ(fmt::format("{}", metadata_fsid(super)), kernel["metadata_uuid"]);
  EXPECT_EQ(super.nodesize, kernel["nodesize"].get<uint32_t>());
  EXPECT_EQ(super.sectorsize, kernel["sectorsize"].get<uint32_t>());
  // The kernel does not count seeds.
  if (GetParam() != "seed-sprout-2") {
    EXPECT_EQ(super.num_devices, kernel["num_devices"].get<uint64_t>());
  }
  // Bits that a mount adds to the copy it was taken from.
  EXPECT_EQ(super.incompat_flags & ~kernel["incompat_flags"].get<uint64_t>(), 0u);
  if (!is_log(GetParam())) {
    EXPECT_EQ(super.incompat_flags, kernel["incompat_flags"].get<uint64_t>());
    EXPECT_EQ(super.compat_ro_flags, kernel["compat_ro_flags"].get<uint64_t>());
  }
}

TEST_P(EveryImage, HasTheKernelsSpaceUsage_BT038_BT092) {
  Opener opener(GetParam());
  const Json kernel = opener.files.info()["kernel"];
  if (kernel.empty() || is_log(GetParam()) || GetParam() == "lost-tree-root")
    GTEST_SKIP() << "figures are of another state";
  auto image = opener.open(opener.files.options());
  ASSERT_TRUE(image) << image.error().message();
  auto usage = measure_usage((*image)->fs());
  ASSERT_TRUE(usage) << usage.error().message();
  for (const Json& expected : kernel["spaces"]) {
    uint64_t flags = expected["flags"];
    if (flags & ~(block_group::type_mask | block_group::profile_mask)) continue;  // the kernel's own reserve
    auto ours = std::find_if(usage->spaces.begin(), usage->spaces.end(),
                             [&](const auto& space) { return space.flags == flags; });
    ASSERT_NE(ours, usage->spaces.end()) << flags;
    EXPECT_EQ(ours->total, expected["total"].get<uint64_t>()) << flags;
    EXPECT_EQ(ours->used, expected["used"].get<uint64_t>()) << flags;
  }
}

// Devices in any order; only which file comes first decides (of a seed and its sprout).
TEST_P(EveryImage, TakesItsDevicesInAnyOrder_BT093) {
  Opener opener(GetParam());
  if (opener.files.devices().size() < 2 || GetParam() == "seed-sprout-2") GTEST_SKIP() << "one order only";
  ImageOptions options = opener.files.options();
  std::reverse(options.devices.begin(), options.devices.end());
  EXPECT_EQ(joined(opener.compare(options)), "");
}

// How many devices may be missing for all to be readable.
size_t spare_devices(const Json& info) {
  const std::map<std::string, size_t> spare = {{"raid1", 1},   {"raid10", 1}, {"raid5", 1},
                                               {"raid1c3", 2}, {"raid6", 2},  {"raid1c4", 3}};
  auto of = [&](const char* kind) {
    auto found = spare.find(info[kind]);
    return found == spare.end() ? 0 : found->second;
  };
  return std::min(of("data"), of("metadata"));
}

std::vector<std::string> redundant_images() {
  std::vector<std::string> names;
  for (const std::string& name : image_names()) {
    // These need all: chunks of other profiles, or one copy spoiled already.
    if (name == "mixed-profiles-3" || name == "stale-mirror-2" || name.starts_with("bad-data")) continue;
    for (const char* profile : {"raid1", "raid5", "raid6", "removed-", "replaced-", "dev-stats-"})
      if (name.find(profile) != std::string::npos) {
        names.push_back(name);
        break;
      }
  }
  return names;
}

class RedundantImage : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, RedundantImage, ::testing::ValuesIn(redundant_images()), test_name);

TEST_P(RedundantImage, IsWholeWithDevicesMissing_BT035_BT093_BT095) {
  Opener opener(GetParam());
  const size_t spare = spare_devices(opener.files.info());
  if (spare == 0) GTEST_SKIP() << "needs all its devices";
  const Manifest manifest = opener.files.manifest();
  const auto devices = opener.files.devices();
  for (unsigned missing = 1; missing < 1u << devices.size(); ++missing) {
    const auto count = static_cast<size_t>(std::popcount(missing));
    if (count > spare || count == devices.size()) continue;
    ImageOptions options = opener.files.options();
    options.devices.clear();
    for (size_t i = 0; i < devices.size(); ++i)
      if (!(missing >> i & 1)) options.devices.push_back(devices[i]);
    EXPECT_EQ(joined(opener.compare(options, manifest)), "") << "missing: " << std::bitset<8>(missing);
    EXPECT_THAT(opener.log.lines(), Contains(HasSubstr("a member device is missing")));

    options.allow_missing = false;
    auto refused = opener.open(options);
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().is(btrfs::err::device_missing)) << refused.error().message();
  }
}

TEST(ImageWithTooManyDevicesMissing, IsRefusedOrGivesErrorsNotOtherBytes_BT095) {
  Opener opener("raid5-3");
  ImageOptions options = opener.files.options();
  options.devices.resize(1);
  auto image = opener.open(options);
  if (image) {
    auto manifest = manifest_of(**image);
    ASSERT_FALSE(manifest);
    EXPECT_EQ(manifest.error().errno_value(), EIO);
  } else {
    EXPECT_TRUE(image.error().is(karst::err::io)) << image.error().message();
  }
}

TEST(ImageDevices, ForeignDeviceIsRefusedByName_BT093) {
  Opener opener("raid1-2");
  UnpackedImage other("single-1");
  ImageOptions options = opener.files.options();
  options.devices.push_back(other.devices()[0]);
  auto image = opener.open(options);
  ASSERT_FALSE(image);
  EXPECT_TRUE(image.error().is(btrfs::err::device_foreign));
  EXPECT_THAT(image.error().message(), AllOf(HasSubstr("single-1.img"), HasSubstr("another file system")));
}

TEST(ImageDevices, SameDeviceTwiceIsRefusedByName_BT093) {
  Opener opener("raid1-2");
  ImageOptions options = opener.files.options();
  options.devices.push_back(options.devices[0]);
  auto image = opener.open(options);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().errno_value(), EINVAL);
  EXPECT_THAT(image.error().message(), AllOf(HasSubstr("given twice"), HasSubstr("raid1-2.1.img")));
}

TEST(ImageDevices, SproutNeedsItsSeed_BT093) {
  Opener opener("seed-sprout-2");
  ImageOptions options = opener.files.options();
  options.devices.resize(1);
  auto image = opener.open(options);
  if (image) {
    EXPECT_FALSE(manifest_of(**image));
  }
  EXPECT_FALSE(opener.log.lines().empty() && image);
}

TEST(ImageDevices, SeedAloneShowsItsOwnState_BT093) {
  // The seed's own image is whole by itself; the sprout was put over a copy of such a one.
  Opener opener("seed-sprout-2");
  ImageOptions options = opener.files.options();
  options.devices = {opener.files.devices()[1]};
  auto image = opener.open(options);
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_TRUE(manifest_of(**image));
}

TEST(DamagedCopies, AreReported_BT035_BT077_BT095) {
  for (const char* name : {"bad-data-2", "bad-data-raid5-3", "bad-metadata-copies", "stale-mirror-2"}) {
    Opener opener(name);
    EXPECT_EQ(joined(opener.compare(opener.files.options())), "") << name;
    EXPECT_THAT(opener.log.lines(), Contains(HasSubstr("a copy is bad, using another"))) << name;
  }
}

TEST(Superblocks, AnotherCopyIsUsedAndReported_BT032) {
  for (const char* name : {"super-0-zeroed", "super-0-damaged", "super-0-1-zeroed"}) {
    Opener opener(name);
    auto image = opener.open(opener.files.options());
    ASSERT_TRUE(image) << name << ": " << image.error().message();
    EXPECT_THAT(opener.log.lines(), Contains(HasSubstr("using another copy of the superblock"))) << name;
  }
}

TEST(Superblocks, TheCopyAskedForIsUsedOrItsErrorGiven_BT032) {
  Opener opener("super-0-zeroed");
  ImageOptions options = opener.files.options();
  options.open.volume.super_mirror = 1;
  EXPECT_EQ(joined(opener.compare(options)), "");
  options.open.volume.super_mirror = 0;
  auto image = opener.open(options);
  ASSERT_FALSE(image);
  EXPECT_TRUE(image.error().is(btrfs::err::super_magic)) << image.error().message();
}

TEST(LostTreeRoot, IsAnErrorWithoutABackupRoot_BT032) {
  Opener opener("lost-tree-root");
  auto image = opener.open(opener.files.options());
  ASSERT_FALSE(image);
  EXPECT_THAT(image.error().message(), HasSubstr("reading the root of the root tree"));
}

TEST(BackupRoot, OutsideTheFourIsRefused_BT032) {
  Opener opener("empty");
  ImageOptions options = opener.files.options();
  for (int number : {-1, 4, 1000}) {
    options.open.backup_root = number;
    auto image = opener.open(options);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().errno_value(), EINVAL);
  }
}

// Opens `image` after `change` was made to every copy of its superblock.
Result<std::unique_ptr<Image>> open_with_super(Opener& opener, FunctionRef<void(Superblock&)> change,
                                               std::unique_ptr<block::Device>& below) {
  below = TRY(block::open_device(opener.files.devices()[0], block::OpenMode::read_only));
  auto device = std::make_unique<block::OverlayDevice>(*below);
  for_each_superblock(*device, [&](Superblock& super) { change(super); });
  std::vector<std::unique_ptr<block::Device>> devices;
  devices.push_back(std::move(device));
  return Image::open_on(std::move(devices), opener.files.options(), opener.cache, Logger(opener.log));
}

TEST(Features, UnknownIncompatBitIsRefusedByName_BT010) {
  Opener opener("empty");
  std::unique_ptr<block::Device> below;
  auto unknown = open_with_super(
      opener, [](Superblock& super) { super.incompat_flags |= 1ull << 40; }, below);
  ASSERT_FALSE(unknown);
  EXPECT_TRUE(unknown.error().is(btrfs::err::super_unsupported));
  EXPECT_THAT(unknown.error().message(), HasSubstr("0x10000000000"));
  auto known = open_with_super(
      opener, [](Superblock& super) { super.incompat_flags |= incompat::extent_tree_v2; }, below);
  ASSERT_FALSE(known);
  EXPECT_THAT(known.error().message(), HasSubstr("EXTENT_TREE_V2"));
}

TEST(Features, UnknownCompatRoBitIsFineForReading_BT010) {
  Opener opener("empty");
  std::unique_ptr<block::Device> below;
  auto image = open_with_super(
      opener, [](Superblock& super) { super.compat_ro_flags |= 1ull << 40; }, below);
  ASSERT_TRUE(image) << image.error().message();
  auto manifest = manifest_of(**image);
  ASSERT_TRUE(manifest);
  EXPECT_EQ(joined(differences(opener.files.manifest(), *manifest)), "");
}

TEST(Subvolumes, AreEnteredByPathAndById_BT051) {
  Opener opener("subvolumes");
  auto top = opener.open(opener.files.options());
  ASSERT_TRUE(top);
  auto list = list_subvolumes((*top)->fs());
  ASSERT_TRUE(list);
  for (const Subvolume& subvolume : *list) {
    if (subvolume.deleted() || !subvolume.linked) continue;
    ImageOptions by_path = opener.files.options(), by_id = by_path;
    by_path.subvolid.reset();
    by_path.subvol = subvolume.path;
    by_id.subvolid = subvolume.id();
    auto a = opener.open(by_path), b = opener.open(by_id);
    ASSERT_TRUE(a) << subvolume.path << a.error().message();
    ASSERT_TRUE(b);
    EXPECT_EQ((*a)->root(), (*b)->root()) << subvolume.path;
    EXPECT_EQ((*a)->root().subvolume, subvolume.id());
  }
  ImageOptions no_options = opener.files.options();
  no_options.subvolid.reset();
  auto image = opener.open(no_options);
  ASSERT_TRUE(image);
  EXPECT_EQ((*image)->root().subvolume, opener.files.info()["kernel"]["default_subvolid"].get<uint64_t>());
}

}  // namespace
}  // namespace karst::btrfs::testing
