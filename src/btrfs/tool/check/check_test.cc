// Checking images: those that Linux made are clean, what is spoiled at random ends with a verdict. What is
// found and how it is named: spoiled_files_test.cc, spoiled_space_test.cc, spoiled_trees_test.cc.
//
//   KARST_MUTATION_CASES, KARST_MUTATION_SEED: as in mutation_test.cc
#include "btrfs/tool/check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "btrfs/tool/check/testing_spoil.h"

namespace karst::btrfs::testing {
namespace {

// What is spoiled in the image on purpose.
const std::set<std::string> broken_images = {"bad-metadata-copies", "stale-mirror-2", "super-0-1-zeroed",
                                             "super-0-damaged", "super-0-zeroed"};

class Images : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, Images, ::testing::ValuesIn(image_names()), [](const auto& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(Images, AreCleanAsLinuxMadeThem) {
  UnpackedImage image(GetParam());
  Devices devices;
  for (const std::string& path : image.devices())
    devices.push_back(*block::open_device(path, block::OpenMode::read_only));
  auto checked = check_devices(std::move(devices));
  if (GetParam() == "lost-tree-root") {
    EXPECT_FALSE(checked->result);
    return;
  }
  ASSERT_TRUE(checked->result) << checked->error;
  EXPECT_EQ(checked->result->problems > 0, broken_images.contains(GetParam())) << checked->findings.text();
  EXPECT_EQ(checked->findings.phases.size(), 8u);
}

TEST(DataChecksums, AreComparedInEveryCopyOnlyWhenAsked) {
  for (const char* name : {"bad-data", "bad-data-2"}) {
    UnpackedImage image(name);
    auto devices = [&] {
      Devices all;
      for (const std::string& path : image.devices())
        all.push_back(*block::open_device(path, block::OpenMode::read_only));
      return all;
    };
    EXPECT_EQ(check_devices(devices())->result->problems, 0u);
    auto checked = check_devices(devices(), {.data_csum = true});
    EXPECT_TRUE(checked->findings.has("data-checksum", "mirror 1 bytenr")) << checked->findings.text();
  }
}

// ---- the free space cache of version 1 (BT-046) ----

// The first page of a block group's cache file that has entries, in the device.
struct CachePage {
  std::vector<std::byte> bytes;
  uint64_t offset = 0, pages = 0;

  static std::optional<CachePage> find(const PristineImage& image, Devices& devices) {
    cache::Cache cache({.limit = 16 << 20});
    auto fs = Filesystem::open(image.overlays(), {}, cache, Logger());
    if (!fs) return std::nullopt;
    Cursor cursor((*fs)->root_tree());
    auto found = cursor.seek({id::free_space, ItemType{}, 0});
    for (; found && *found && cursor.key().objectid == id::free_space; found = cursor.next()) {
      const FreeSpaceHeader header = *cursor.as<FreeSpaceHeader>();
      if (header.num_entries == 0) continue;
      Cursor file((*fs)->root_tree());
      auto at = file.find({header.location.objectid, ItemType::extent_data, 0});
      if (!at || !*at) continue;
      const FileExtent extent = *file.as<FileExtent>();
      const ChunkEntry& chunk = **(*fs)->volume().chunks().find(extent.disk_bytenr);
      CachePage page;
      page.bytes.resize(4096);
      page.offset = chunk.stripes[0].offset + (extent.disk_bytenr - chunk.logical);
      page.pages = extent.num_bytes / 4096;
      if (!devices[0]->read(page.offset, page.bytes)) return std::nullopt;
      return page;
    }
    return std::nullopt;
  }
  // Checksums of the pages, the generation, then entries of an offset and a length.
  le64& first_length() { return as<le64>(bytes, pages * 4 + 8 + 8); }
  void fix_checksum() { as<le32>(bytes) = ~crc32c(~0u, Bytes(bytes).subspan(pages * 4)); }
};

TEST(FreeSpaceCache, ThatIsValidAndWrongIsReportedADamagedOneIsNotUsed_BT046) {
  PristineImage image("space-cache-v1");
  for (bool damaged : {false, true}) {
    Devices devices = image.overlays();
    auto page = CachePage::find(image, devices);
    ASSERT_TRUE(page);
    page->first_length() = page->first_length() - 4096;
    if (!damaged) page->fix_checksum();
    ASSERT_TRUE(devices[0]->write(page->offset, page->bytes));
    auto checked = check_devices(std::move(devices));
    ASSERT_TRUE(checked->result) << checked->error;
    EXPECT_EQ(checked->findings.has("free-space-cache", "cache appears valid but isn't"), !damaged)
        << checked->findings.text();
    EXPECT_EQ(checked->result->problems, damaged ? 0u : 1u) << checked->findings.text();
  }
}

// However little memory there is for records, the findings are the same.
TEST(ExactPasses, FindTheSameInManyRounds) {
  PristineImage image(usual);
  auto findings = [&](size_t memory) {
    Devices devices = image.overlays();
    EXPECT_TRUE(inode(S_IFREG, [](InodeItem& i) { i.nbytes = i.nbytes + 4096; })(image, devices));
    auto more = [](ExtentItem& e, MutableBytes) {
      e.refs = e.refs + 1;
      return true;
    };
    EXPECT_TRUE(extent(more, extent_flag::data)(image, devices));
    auto checked = check_devices(std::move(devices), {.memory = memory});
    std::multiset<std::string> texts;
    for (const auto& kept : checked->findings.kept) texts.insert(kept.text);
    return texts;
  };
  EXPECT_EQ(findings(32 << 20), findings(1 << 12));
}

TEST(Memory, OfWhatIsRememberedToTheEndIsLimited) {
  PristineImage image(usual);
  auto error_with = [&](size_t bytes) {
    return check_devices(image.overlays(), {.table_memory = bytes})->error;
  };
  auto has = [](const std::string& error, std::string_view what) { return error.find(what) != error.npos; };
  size_t little = 1000, enough = 1 << 20;  // for the roots
  EXPECT_TRUE(has(error_with(little), "roots need "));
  while (enough - little > 1) {
    size_t bytes = (enough + little) / 2;
    (has(error_with(bytes), "roots need ") ? little : enough) = bytes;
  }
  EXPECT_TRUE(has(error_with(enough), "extents with checksums for a part need "));
  EXPECT_TRUE(has(error_with(enough + 1000), " tree blocks need "));
  EXPECT_EQ(error_with(1 << 20), "");
}

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// No crash, no hang, whatever is in the image.
TEST(SpoiledAtRandom, EndsWithAVerdict_BT021) {
  constexpr const char* names[] = {usual,    snapshots,       "quota",           "space-cache-v1",
                                   "squota", "mixed-bg-dup",  "log-links-4k",    "backrefs-4k",
                                   "oldest", "raid5-raid1-4", "block-group-tree"};
  const uint64_t first = number_from("KARST_MUTATION_SEED", 1);
  const uint64_t cases =
      std::max<uint64_t>(1, number_from("KARST_MUTATION_CASES", 600) / std::size(names) / 2);
  for (const char* name : names) {
    PristineImage image(name);
    uint64_t problems = 0;
    for (uint64_t seed = first; seed < first + cases; ++seed) {
      SCOPED_TRACE(fmt::format("{}, KARST_MUTATION_SEED={}", name, seed));
      Devices devices = image.overlays();
      Mutator(image, seed)(devices);
      auto checked = check_devices(std::move(devices), {.data_csum = seed % 4 == 0});
      problems += !checked->result || checked->result->problems > 0;
    }
    std::printf("%s: %lu of %lu are broken\n", name, problems, cases);
  }
}

}  // namespace
}  // namespace karst::btrfs::testing
