// What is left of a pool after a crash, at every barrier and between, of two devices that lose their caches
// each for itself (TH-010 to TH-016).
//
// The model is by sector. A sector has the values that were ever written to it, each with the number of the
// write; what was acknowledged by a flush or FUA write is the oldest that may be found. Snapshots have a
// fixed value: what the origin had when they were made, and every older flush stands.
#include <cstdlib>

#include "block/recording_device.h"
#include "block/slice_device.h"
#include "thin/format/errors.h"
#include "thin/pool/testing_pool.h"
#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing_pool;

constexpr uint64_t metadata_size = 1 << 20;
constexpr uint64_t data_blocks = 40, volume_blocks = 12;
constexpr uint64_t volume_sectors = volume_blocks * block_bytes / sector_size;

// A sector that says what it is, so that whatever is found names its write: volume, sector, version.
struct Tag {
  uint64_t volume, sector, version;
  bool operator==(const Tag&) const = default;
};

void fill(MutableBytes bytes, uint64_t volume, uint64_t sector, uint64_t version) {
  for (uint64_t at = 0; at < bytes.size(); at += sector_size, ++sector) {
    const Tag tag{volume, sector, version};
    std::memset(bytes.data() + at, 0x5a, sector_size);
    std::memcpy(bytes.data() + at, &tag, sizeof tag);
  }
}

// What may be found in a sector: versions from `durable` to `newest`; 0 is zeroes. `now` is what a read would
// find.
struct Expected {
  std::vector<uint64_t> durable = std::vector<uint64_t>(volume_sectors);
  std::vector<uint64_t> newest = std::vector<uint64_t>(volume_sectors);
  std::vector<uint64_t> now = std::vector<uint64_t>(volume_sectors);
};
struct State {
  std::map<DeviceId, Expected> volumes;
  std::map<DeviceId, DeviceId>
      line;  // whose tags a volume may have: its own, and those of what it was made from
};

class Workload {
 public:
  explicit Workload(uint64_t seed) : random_(seed) {
    metadata_below = block::MemoryDevice::create(metadata_size, 512, "metadata").value();
    data_below = block::MemoryDevice::create(data_blocks * block_bytes, 512, "data").value();
    std::vector<std::byte> poison(data_blocks * block_bytes, std::byte{0xee});
    EXPECT_TRUE(data_below->write(0, poison));
    base = block::MemoryDevice::create(metadata_size + data_blocks * block_bytes, 512, "both").value();
    EXPECT_TRUE(base->write(metadata_size, poison));
  }

  void run(unsigned steps) {
    block::RecordingDevice metadata(*metadata_below, log, {0, 0});
    block::RecordingDevice data(*data_below, log, {1, metadata_size});
    FakeClock clock;
    PoolOptions options = options_for_tests(clock);
    options.features.error_if_no_space =
        true;  // it may run full, and then what is asked for may be there in part
    pool = Pool::open(metadata, data, cache, block_sectors, options).value();
    for (unsigned step = 0; step < steps; ++step) {
      one_step();
      clock.pass(std::chrono::milliseconds(random_() % 400));
      if (random_() % 4 == 0) pool->tick();
    }
    if (::testing::Test::HasFailure())
      for (const std::string& line : messages.lines()) ADD_FAILURE() << line;
    volumes.clear();
    // The crash is before anything that closing would write.
    end = log.end();
    pool.reset();
  }

  // What must hold when `marks` of the log were reached.
  const State& state_at(size_t marks) const { return states[marks]; }

  std::unique_ptr<block::Device> metadata_below, data_below, base;
  block::WriteLog log{256 << 20};
  std::vector<State> states{State{}};
  uint64_t end = 0;

 private:
  void acknowledged() {
    states.push_back(now);
    log.mark("acknowledged");
  }

  void one_step() {
    const DeviceId id = static_cast<DeviceId>(random_() % 4);
    if (!now.volumes.contains(id)) return make(id);
    Volume& volume = *volumes.at(id);
    Expected& expected = now.volumes.at(id);
    switch (random_() % 10) {
      case 0:
        ASSERT_TRUE(volume.flush());
        expected.durable = expected.now;
        return acknowledged();
      case 1: {
        if (random_() % 3 != 0) return;
        volumes.erase(id);
        // From the moment it is asked for, nothing of it need be there; afterwards it must not come back.
        now.volumes.erase(id);
        acknowledged();
        ASSERT_TRUE(pool->delete_device(id));
        return;
      }
      case 2: {
        const uint64_t block = random_() % volume_blocks, count = 1 + random_() % 3;
        const uint64_t to = std::min(block + count, volume_blocks);
        // What was discarded may read as anything that was there or zeroes: not followed any more until
        // written.
        for (uint64_t sector = block * block_sectors; sector < to * block_sectors; ++sector)
          expected.durable[sector] = expected.now[sector] = 0;
        acknowledged();
        ASSERT_TRUE(volume.discard(block * block_bytes, (to - block) * block_bytes));
        return;
      }
      default: {
        const bool whole = random_() % 4 == 0, fua = random_() % 4 == 0;
        const uint64_t sector =
            whole ? random_() % volume_blocks * block_sectors : random_() % volume_sectors;
        const uint64_t count =
            whole ? block_sectors : std::min<uint64_t>(1 + random_() % 200, volume_sectors - sector);
        std::vector<std::byte> bytes(count * sector_size);
        const uint64_t version = ++version_;
        fill(bytes, id, sector, version);
        const std::vector<uint64_t> before(expected.now.begin() + static_cast<ptrdiff_t>(sector),
                                           expected.now.begin() + static_cast<ptrdiff_t>(sector + count));
        for (uint64_t i = sector; i < sector + count; ++i) expected.newest[i] = expected.now[i] = version;
        acknowledged();  // from now on the new version may be found
        const auto written =
            volume.write(sector * sector_size, bytes, fua ? block::IoFlags::fua : block::IoFlags::none);
        ASSERT_TRUE(written || written.error().is(err::no_space)) << written.error().message();
        // Of a write that found no space any part may be there.
        if (!written) std::ranges::copy(before, expected.now.begin() + static_cast<ptrdiff_t>(sector));
        if (!fua || !written) return;
        for (uint64_t i = sector; i < sector + count; ++i) expected.durable[i] = version;
        acknowledged();
      }
    }
  }

  void make(DeviceId id) {
    const DeviceId origin = static_cast<DeviceId>(random_() % 4);
    if (now.volumes.contains(origin)) {
      ASSERT_TRUE(pool->create_snap(id, origin));
      // The command is durable on return, and with it all that the origin had.
      Expected& from = now.volumes.at(origin);
      from.durable = from.now;
      now.volumes[id] = from;
    } else {
      ASSERT_TRUE(pool->create_thin(id));
      now.volumes[id];
    }
    acknowledged();
    volumes[id] = pool->open_volume(id, volume_blocks * block_bytes).value();
  }

  std::mt19937_64 random_;
  uint64_t version_ = 0;
  cache::Cache cache{{.limit = 16 << 20}};
  MemorySink messages;
  PoolRef pool;
  std::map<DeviceId, VolumeRef> volumes;
  State now;
};

Error wrong(DeviceId id, uint64_t sector, const Expected& expected, const std::string& found) {
  return Error::make(err::corrupt, "volume {} sector {}: {}", id, sector, found)
      .expected(fmt::format("versions {} to {}", expected.durable[sector], expected.newest[sector]), found);
}

// Zeroes, or a tag of this sector with a version in the range.
Result<void> check_sector(DeviceId id, uint64_t sector, Bytes bytes, const Expected& expected) {
  if (all_zero(bytes)) {
    if (expected.durable[sector] == 0) return {};
    return wrong(id, sector, expected, "zeroes");
  }
  Tag tag{};
  std::memcpy(&tag, bytes.data(), sizeof tag);
  std::vector<std::byte> whole(sector_size);
  fill(whole, tag.volume, tag.sector, tag.version);
  if (!std::ranges::equal(whole, bytes))
    return wrong(id, sector, expected, "neither zeroes nor what was ever written");
  if (tag.sector != sector || tag.version < expected.durable[sector] || tag.version > expected.newest[sector])
    return wrong(id, sector, expected,
                 fmt::format("volume {} sector {} version {}", tag.volume, tag.sector, tag.version));
  return {};
}

Result<void> check_crash(const Workload& workload, const block::CrashState& crash) {
  if (crash.point > workload.end) return {};
  block::SliceDevice metadata(crash.device, 0, metadata_size, "metadata");
  block::SliceDevice data(crash.device, metadata_size, data_blocks * block_bytes, "data");
  std::vector<std::byte> first(metadata_block_size);
  TRY(metadata.read(0, first));
  if (!all_zero(first)) {
    // Not even blocks that nobody uses are left behind.
    const auto checked = TRY(testing::check(metadata));
    for (const auto& [id, count] : checked.findings)
      return Error::make(err::corrupt, "check finds: {} of {}", count, id);
  }
  FakeClock clock;
  cache::Cache cache{{.limit = 8 << 20}};
  // Before the first commit there is no pool, and opening makes one.
  auto pool = TRY(Pool::open(metadata, data, cache, block_sectors, options_for_tests(clock)));
  for (const auto& [id, expected] : workload.state_at(crash.marks).volumes) {
    auto volume = TRY(pool->open_volume(id, volume_blocks * block_bytes));
    std::vector<std::byte> bytes(volume_blocks * block_bytes);
    TRY(volume->read(0, bytes));
    for (uint64_t sector = 0; sector < volume_sectors; ++sector)
      TRY(check_sector(id, sector, Bytes(bytes).subspan(sector * sector_size, sector_size), expected));
  }
  return {};
}

class CrashTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(CrashTest, NothingAcknowledgedIsLost_TH010_TH011_TH012_TH013_TH014_TH015_TH016) {
  Workload workload(GetParam());
  workload.run(120);
  if (HasFatalFailure()) return;
  unsigned states = 0;
  const auto outcome = block::for_each_crash(workload.log, *workload.base, {.seed = GetParam(), .samples = 2},
                                             [&](const block::CrashState& crash) {
                                               ++states;
                                               return check_crash(workload, crash);
                                             });
  EXPECT_TRUE(outcome) << outcome.error().message();
  RecordProperty("states", std::to_string(states));
  std::printf("%u states\n", states);
}

// So many workloads; about 900 states each.
uint64_t workloads() {
  const char* wanted = std::getenv("KARST_CRASH_WORKLOADS");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 3;
}
INSTANTIATE_TEST_SUITE_P(Seeds, CrashTest, ::testing::Range<uint64_t>(1, 1 + workloads()));

}  // namespace
}  // namespace karst::thin
