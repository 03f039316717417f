// Copies that are bad in one place or many: the good one is found and the bad one reported; where there is
// none, that sector is an error and nothing else (BT-035, BT-077, BT-092, BT-095).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "block/faulty_device.h"
#include "block/open.h"
#include "block/overlay_device.h"
#include "btrfs/tool/testing_image.h"
#include "btrfs/tool/testing_patch.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// An image whose devices can be spoiled in memory. The file looked at is one with a stripe's worth of sectors
// in one extent.
class Lab {
 public:
  explicit Lab(const std::string& name) : files_(name) {
    for (const std::string& path : files_.devices()) {
      base_.push_back(*block::open_device(path, block::OpenMode::read_only));
      overlays_.push_back(std::make_unique<block::OverlayDevice>(*base_.back()));
      faulty_.push_back(std::make_unique<block::FaultyDevice>(*overlays_.back(), block::FaultPlan{}));
    }
    reopen();
    find_file();
    reopen();
  }

  // A fresh look, with empty caches.
  void reopen() {
    reader_.reset();
    image_.reset();
    cache_ = std::make_unique<cache::Cache>();
    log_ = std::make_unique<MemorySink>();
    std::vector<std::unique_ptr<block::Device>> devices;
    for (auto& device : faulty_) devices.push_back(std::make_unique<Borrowed>(*device));
    image_ = *Image::open_on(std::move(devices), files_.options(), *cache_, Logger(*log_));
    reader_ = std::make_unique<DataReader>(image_->fs(), image_->data());
  }

  const UnpackedImage& files() const { return files_; }
  const Image& image() const { return *image_; }
  const ChunkMap& chunks() const { return image_->fs().volume().chunks(); }
  const ChunkEntry& chunk() const { return **chunks().find(logical_); }
  uint32_t sectorsize() const { return image_->fs().geometry().sectorsize; }
  uint64_t logical(uint32_t sector) const { return logical_ + uint64_t{sector} * sectorsize(); }
  const std::vector<std::byte>& content() const { return content_; }
  std::vector<std::string> log() const { return log_->lines(); }
  size_t size_of_devices() const { return faulty_.size(); }

  size_t device_index(uint64_t devid) const {
    const Json& devices = files_.info()["devices"];
    for (size_t i = 0; i < devices.size(); ++i)
      if (devices[i]["devid"] == devid) return i;
    throw std::runtime_error("no such device");
  }
  block::FaultyDevice& device(uint64_t devid) { return *faulty_[device_index(devid)]; }

  void spoil(uint64_t devid, uint64_t offset, uint64_t length) {
    auto& device = *overlays_[device_index(devid)];
    const uint64_t first = offset / 512 * 512, end = (offset + length + 511) / 512 * 512;
    std::vector<std::byte> bytes(end - first);
    auto read = device.read(first, bytes);
    for (uint64_t at = offset; at < offset + length; ++at) bytes[at - first] ^= std::byte{0x5a};
    if (!read || !device.write(first, bytes)) throw std::runtime_error("cannot spoil the image");
  }
  // Block k of the row of parity stripes that a sector is in: data in order, then P, then Q.
  void spoil_row_block(uint32_t sector, uint32_t k) {
    StripeRun run = map_run(chunk(), logical(sector), 1, 0);
    uint64_t within = run.offset - row_offset(chunk(), run.stripe, run.row);
    uint32_t stripe = row_stripe(chunk(), run.row, k);
    spoil(chunk().stripes[stripe].devid, row_offset(chunk(), stripe, run.row) + within, sectorsize());
  }
  uint32_t data_index(uint32_t sector) const { return map_run(chunk(), logical(sector), 1, 0).data_index; }

  Result<std::vector<std::byte>> read(uint64_t offset, size_t length) {
    std::vector<std::byte> bytes(length);
    size_t some = TRY(reader_->read(tree(), file_.attributes, offset, bytes));
    bytes.resize(some);
    return bytes;
  }
  Result<std::vector<std::byte>> salvage(std::vector<DataReader::Failure>& failures) {
    std::vector<std::byte> bytes(content_.size());
    TRY(reader_->read_salvaging(tree(), file_.attributes, 0, bytes, failures));
    return bytes;
  }

  // Reading gives what it always gave, and the log says that a copy is bad.
  void expect_repaired(const std::string& what) {
    reopen();
    auto bytes = read(0, content_.size());
    ASSERT_TRUE(bytes) << what << ": " << bytes.error().message();
    EXPECT_TRUE(*bytes == content_) << what;
    // The order in which copies are tried need not begin with the bad one.
    if (image_->fs().volume().bad_copies() > 0) {
      EXPECT_THAT(log(), Contains(HasSubstr("a copy is bad, using another"))) << what;
    }
    reports_ += image_->fs().volume().bad_copies() > 0;
  }
  // Only that sector is lost: every way to read says so, and gives the rest.
  void expect_lost(uint32_t sector, const std::string& what) {
    reopen();
    const uint64_t from = uint64_t{sector} * sectorsize(), to = from + sectorsize();
    auto all = read(0, content_.size());
    ASSERT_FALSE(all) << what;
    EXPECT_EQ(all.error().errno_value(), EIO) << what << ": " << all.error().message();
    EXPECT_FALSE(read(from, 1)) << what;
    EXPECT_FALSE(read(to - 1, 1)) << what;
    auto before = read(0, from), after = read(to, content_.size() - to);
    ASSERT_TRUE(before && after) << what;
    EXPECT_TRUE(std::equal(before->begin(), before->end(), content_.begin())) << what;
    EXPECT_TRUE(std::equal(after->begin(), after->end(), content_.begin() + static_cast<ptrdiff_t>(to)))
        << what;
    std::vector<DataReader::Failure> failures;
    auto salvaged = salvage(failures);
    ASSERT_TRUE(salvaged) << what;
    ASSERT_EQ(failures.size(), 1u) << what;
    EXPECT_EQ(failures[0].offset, from) << what;
    EXPECT_EQ(failures[0].length, to - from) << what;
    auto expected = content_;
    std::fill_n(expected.begin() + static_cast<ptrdiff_t>(from), to - from, std::byte{});
    EXPECT_TRUE(*salvaged == expected) << what;
  }
  int reports() const { return reports_; }

 private:
  Tree tree() const { return *image_->fs().tree(id::fs_tree); }
  void find_file() {
    file_ = *resolve(image_->fs(), image_->root(), "sizes/stripes");
    Cursor cursor(tree());
    ExtentWalker walker(cursor, file_.attributes.inode, file_.attributes.size, sectorsize());
    auto range = *walker.seek(0);
    if (range->kind != RangeKind::data || range->compression != Compression::none)
      throw std::runtime_error("not plain");
    logical_ = range->disk_bytenr + range->extent_offset;
    content_ = *read(0, std::min<uint64_t>(range->length, 512 << 10));
  }

  UnpackedImage files_;
  std::vector<std::unique_ptr<block::Device>> base_;
  std::vector<std::unique_ptr<block::OverlayDevice>> overlays_;
  std::vector<std::unique_ptr<block::FaultyDevice>> faulty_;
  std::unique_ptr<cache::Cache> cache_;
  std::unique_ptr<MemorySink> log_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<DataReader> reader_;
  Located file_{};
  uint64_t logical_ = 0;
  std::vector<std::byte> content_;
  int reports_ = 0;
};

class Mirrored : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Profiles, Mirrored,
                         ::testing::Values("dup-1", "raid1-2", "raid1c3-3", "raid1c4-4", "raid10-4",
                                           "mixed-bg-dup"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(Mirrored, OneBadCopyOfASectorIsReplacedByAnother_BT077) {
  const auto mirrors = places_of(Lab(GetParam()).chunks(), Lab(GetParam()).logical(7)).size();
  int reports = 0;
  for (size_t bad = 0; bad < mirrors; ++bad) {
    Lab lab(GetParam());
    const Place place = places_of(lab.chunks(), lab.logical(7))[bad];
    lab.spoil(place.devid, place.offset, lab.sectorsize());
    lab.expect_repaired(fmt::format("copy {} bad", bad));
    reports += lab.reports();
  }
  EXPECT_EQ(reports, 1) << "one of the copies is the one that is read first";
}

TEST_P(Mirrored, OneGoodCopyIsEnough_BT077_BT092) {
  Lab lab(GetParam());
  const auto places = places_of(lab.chunks(), lab.logical(7));
  for (size_t good = 0; good < places.size(); ++good) {
    Lab fresh(GetParam());
    for (size_t copy = 0; copy < places.size(); ++copy)
      if (copy != good) fresh.spoil(places[copy].devid, places[copy].offset, fresh.sectorsize());
    fresh.expect_repaired(fmt::format("only copy {} good", good));
  }
}

TEST_P(Mirrored, WithAllCopiesBadOnlyThatSectorIsLost_BT077) {
  Lab lab(GetParam());
  for (const Place& place : places_of(lab.chunks(), lab.logical(7)))
    lab.spoil(place.devid, place.offset, lab.sectorsize());
  lab.expect_lost(7, "all copies bad");
}

TEST_P(Mirrored, OneByteIsEnoughToBeBad_BT077) {
  Lab lab(GetParam());
  for (const Place& place : places_of(lab.chunks(), lab.logical(3)))
    lab.spoil(place.devid, place.offset + 4095, 1);
  lab.expect_lost(3, "last byte of each copy");
}

TEST(ReadErrors, OfOneDeviceAreReplacedByTheOther_BT035) {
  Lab lab("raid1-2");
  for (uint64_t devid : {1, 2}) {
    const auto places = places_of(lab.chunks(), lab.logical(7));
    for (const Place& place : places)
      if (place.devid == devid)
        lab.device(devid).set_faults({{.op = block::IoOp::read,
                                       .begin = place.offset,
                                       .end = place.offset + lab.sectorsize(),
                                       .times = block::Fault::forever}});
    lab.expect_repaired(fmt::format("device {} fails there", devid));
    lab.device(devid).set_faults({});
  }
  EXPECT_GE(lab.reports(), 1);
}

TEST(ReadErrors, OfBothDevicesLoseOnlyTheSectorsConcerned_BT077) {
  Lab lab("raid1-2");
  for (const Place& place : places_of(lab.chunks(), lab.logical(9)))
    lab.device(place.devid)
        .set_faults({{.op = block::IoOp::read,
                      .begin = place.offset,
                      .end = place.offset + lab.sectorsize(),
                      .times = block::Fault::forever}});
  lab.expect_lost(9, "both devices fail there");
}

TEST(ReadErrors, OfTheOnlyCopyLoseOnlyTheSectorConcerned_BT077) {
  for (const char* name : {"single-1", "raid0-2"}) {
    Lab lab(name);
    const Place place = places_of(lab.chunks(), lab.logical(9))[0];
    lab.device(place.devid)
        .set_faults({{.op = block::IoOp::read,
                      .begin = place.offset,
                      .end = place.offset + lab.sectorsize(),
                      .times = block::Fault::forever}});
    lab.expect_lost(9, name);
  }
}

// One copy fails in one sector, the other in the next.
TEST(ReadErrors, OfDifferentSectorsOfBothDevicesLoseNothing_BT077) {
  Lab lab("raid1-2");
  for (uint32_t sector : {9, 10}) {
    const Place place = places_of(lab.chunks(), lab.logical(sector))[sector % 2];
    lab.device(place.devid)
        .set_faults({{.op = block::IoOp::read,
                      .begin = place.offset,
                      .end = place.offset + lab.sectorsize(),
                      .times = block::Fault::forever}});
  }
  lab.expect_repaired("different sectors");
}

TEST(ReadErrors, OfAWholeDeviceAreSurvived_BT035_BT095) {
  for (const char* name : {"raid1-2", "raid5-3", "raid6-5", "raid10-4"}) {
    Lab lab(name);
    const Manifest manifest = lab.files().manifest();
    // After opening: the superblocks could be read.
    lab.device(2).set_faults({{.op = block::IoOp::read, .begin = 2 << 20, .times = block::Fault::forever}});
    auto found = manifest_of(lab.image());
    ASSERT_TRUE(found) << name << ": " << found.error().message();
    EXPECT_EQ(joined(differences(manifest, *found)), "") << name;
    EXPECT_GT(lab.device(2).faults_met(), 0u) << name;
  }
}

TEST(Raid5, ABadDataBlockIsRebuiltFromParity_BT095) {
  for (const char* name : {"raid5-2", "raid5-3", "raid5-5"}) {
    Lab lab(name);
    lab.spoil_row_block(7, lab.data_index(7));
    lab.expect_repaired(name);
    EXPECT_EQ(lab.reports(), 1);
  }
}

TEST(Raid5, BadParityDoesNotMatterToReading_BT095) {
  Lab lab("raid5-3");
  lab.spoil_row_block(7, lab.chunk().data_stripes());
  lab.expect_repaired("P bad");
  EXPECT_EQ(lab.reports(), 0);
}

TEST(Raid5, TwoBadBlocksOfARowLoseThatSectorOnly_BT095) {
  Lab lab("raid5-3");
  lab.spoil_row_block(7, lab.data_index(7));
  lab.spoil_row_block(7, lab.chunk().data_stripes());
  lab.expect_lost(7, "data and P bad");
}

// Every pair of blocks of the row, data, P and Q.
TEST(Raid6, AnyTwoBadBlocksOfARowAreRebuilt_BT095) {
  for (const char* name : {"raid6-3", "raid6-5"}) {
    const auto blocks = static_cast<uint32_t>(Lab(name).chunk().stripes.size());
    for (uint32_t a = 0; a < blocks; ++a)
      for (uint32_t b = a + 1; b < blocks; ++b) {
        Lab lab(name);
        lab.spoil_row_block(7, a);
        lab.spoil_row_block(7, b);
        lab.expect_repaired(fmt::format("{}: blocks {} and {} bad", name, a, b));
      }
  }
}

TEST(Raid6, DataPAndQBadLoseThatSectorOnly_BT095) {
  Lab lab("raid6-5");
  const uint32_t data = lab.chunk().data_stripes();
  for (uint32_t k : {lab.data_index(7), data, data + 1}) lab.spoil_row_block(7, k);
  lab.expect_lost(7, "data, P and Q bad");
}

// Takes one stripe of every metadata chunk away, each in turn.
TEST(Metadata, OneBadCopyOfEverythingIsReplacedByTheOther_BT035) {
  for (const char* name : {"raid1-2", "single-dup-1", "raid5-3", "raid6-5", "raid10-4", "raid1c3-3"}) {
    uint64_t reports = 0;
    size_t stripes = 0;
    Lab intact(name);
    for (const ChunkEntry& chunk : intact.chunks().all())
      if (chunk.type & block_group::metadata) stripes = chunk.stripes.size();
    for (size_t bad = 0; bad < stripes; ++bad) {
      Lab lab(name);
      for (const ChunkEntry& chunk : lab.chunks().all()) {
        if (!(chunk.type & block_group::metadata)) continue;
        const ChunkStripe& stripe = chunk.stripes[bad % chunk.stripes.size()];
        lab.spoil(stripe.devid, stripe.offset, std::min<uint64_t>(chunk.stripe_size(), 4 << 20));
      }
      lab.reopen();
      auto found = manifest_of(lab.image());
      ASSERT_TRUE(found) << name << ": " << found.error().message();
      EXPECT_EQ(joined(differences(lab.files().manifest(), *found)), "") << name;
      reports += lab.image().fs().volume().bad_copies();
      if (lab.image().fs().volume().bad_copies() > 0) {
        EXPECT_THAT(lab.log(), Contains(HasSubstr("a copy is bad, using another"))) << name;
      }
    }
    EXPECT_GT(reports, 0u) << name;
  }
}

}  // namespace
}  // namespace karst::btrfs::testing
