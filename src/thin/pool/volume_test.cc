// What a volume's clients see: bytes, whatever lies below.
#include "thin/pool/volume.h"

#include "block/queue.h"
#include "thin/format/errors.h"
#include "thin/pool/testing_pool.h"

namespace karst::thin {
namespace {

using namespace testing_pool;
using block::IoOp;
using Bytes = std::vector<std::byte>;

class VolumeTest : public PoolTest {};

// TH-006
TEST_F(VolumeTest, UnprovisionedBlocksReadAsZeroesAndTakeNoSpace) {
  make(16);
  const auto volume = create(0, 100);
  EXPECT_EQ(read_all(*volume, 0, 3 * block_bytes), Bytes(3 * block_bytes));
  EXPECT_EQ(used(), 0);
}

// TH-006, TH-015: a new block shows nothing of what the data device held.
TEST_F(VolumeTest, ANewBlockIsZeroedAroundWhatIsWritten) {
  make(16);
  const Bytes poison(16 * block_bytes, std::byte{0xee});
  ASSERT_TRUE(devices->data->write(0, poison));
  const auto volume = create(0, 100);
  const Bytes written = pattern(1, 4096);
  ASSERT_TRUE(volume->write(5 * block_bytes + 8192, written));
  Bytes expected(block_bytes);
  std::ranges::copy(written, expected.begin() + 8192);
  EXPECT_EQ(read_all(*volume, 5 * block_bytes, block_bytes), expected);
  EXPECT_EQ(used(), 1);
}

// TH-057: a client's request counts once, on its volume, whatever becomes of it below: parts, copies, zeroes.
TEST_F(VolumeTest, RequestsAreCountedOncePerClient_TH057) {
  make(64);
  const auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(block_bytes / 2, pattern(1, 3 * block_bytes)));
  ASSERT_TRUE(pool->create_snap(1, 0));
  const auto snapshot = this->volume(1, 100);
  ASSERT_TRUE(volume->write(block_bytes, pattern(2, 512)));
  read_all(*volume, 0, 10 * block_bytes);
  ASSERT_TRUE(volume->discard(0, 4 * block_bytes));
  ASSERT_TRUE(volume->write_zeroes(20 * block_bytes, 8192));
  ASSERT_TRUE(volume->flush());
  EXPECT_FALSE(volume->write(1, pattern(2, 512)));
  const block::IoCounts counts = volume->counts();
  EXPECT_EQ(counts.of(IoOp::write).requests, 2u);
  EXPECT_EQ(counts.of(IoOp::write).bytes, 3 * block_bytes + 512);
  EXPECT_EQ(counts.of(IoOp::read).requests, 1u);
  EXPECT_EQ(counts.of(IoOp::read).bytes, 10 * block_bytes);
  EXPECT_EQ(counts.of(IoOp::discard).requests, 1u);
  EXPECT_EQ(counts.of(IoOp::write_zeroes).requests, 1u);
  EXPECT_EQ(counts.of(IoOp::flush).requests, 1u);
  EXPECT_EQ(counts.failed, 0u);
  for (const block::IoCounts::Count& count : snapshot->counts().by_op) EXPECT_EQ(count.requests, 0u);
  // What is mapped goes below as it is, and is nobody's there.
  const uint64_t below = devices->data->counts().of(IoOp::read).requests;
  read_all(*snapshot, block_bytes, 4096);
  EXPECT_EQ(devices->data->counts().of(IoOp::read).requests, below);
}

// TH-057: requests that were mapped are not checked again below, so that mappings are, when they are read.
// One that leads nowhere concerns its own block alone.
TEST_F(VolumeTest, AMappingThatLeadsOutOfTheDataDeviceIsRefused_TH057) {
  make(16);
  {
    const auto thin = create(0, 100);
    for (const uint64_t block : {76, 77, 78})
      ASSERT_TRUE(thin->write(block * block_bytes, pattern(block, 4096)));
  }
  pool.reset();
  bool found = false;
  std::vector<std::byte> bytes(metadata_block_size);
  for (uint64_t at = 1; at < devices->metadata->size() / metadata_block_size && !found; ++at) {
    ASSERT_TRUE(devices->metadata->read(at * metadata_block_size, bytes));
    if (!check_seal(BlockKind::node, MetadataBlock{at}, bytes)) continue;
    MutableNode node(bytes);
    if (!node.is_leaf() || node.size() != 3 || node.key(1) != 77) continue;
    found = true;
    const le64 away = Mapping{DataBlock{1 << 20}, 0}.pack();
    node.set_value(1, bytes_of(away));
    seal_block(BlockKind::node, MetadataBlock{at}, bytes);
    ASSERT_TRUE(devices->metadata->write(at * metadata_block_size, bytes));
  }
  ASSERT_TRUE(found);
  cache::Cache empty{{.limit = 16 << 20}};
  pool = Pool::open(*devices->metadata, *devices->data, empty, block_sectors, options).value();
  {
    const auto volume = this->volume(0, 100);
    for (unsigned round = 0; round < 2; ++round) {
      std::vector<std::byte> into(4096);
      const auto read = volume->read(77 * block_bytes, into);
      ASSERT_FALSE(read);
      EXPECT_TRUE(read.error().is(err::node_bounds)) << read.error().message();
      EXPECT_FALSE(volume->write(77 * block_bytes, into));
      for (const uint64_t block : {76, 78})
        EXPECT_EQ(read_all(*volume, block * block_bytes, 4096), pattern(block, 4096));
      EXPECT_EQ(read_all(*volume, 79 * block_bytes, 4096), Bytes(4096));
    }
    uint64_t data = 0;
    EXPECT_TRUE(volume->extents(0, volume->size(), [&](uint64_t, uint64_t length, bool is_data) {
      data += is_data ? length : 0;
      return true;
    }));
    EXPECT_EQ(data, 3 * block_bytes);
  }
  pool.reset();
}

// A data device that writes no less than 4096 bytes: nor do its volumes, which are of whole blocks of that.
TEST_F(VolumeTest, BlocksAreNoSmallerThanTheDataDevices) {
  devices = std::make_unique<Devices>(16);
  devices->data = block::MemoryDevice::create(16 * block_bytes, 4096, "data").value();
  open();
  ASSERT_TRUE(pool->create_thin(0));
  EXPECT_EQ(pool->open_volume(0, block_bytes + 512).error().message(),
            "the volume's size is not of whole blocks of the data device (expected a multiple of 4096, found "
            "66048) at "
            "volume 0 [invalid]");
  const auto volume = pool->open_volume(0, block_bytes + 4096).value();
  EXPECT_EQ(volume->block_size(), 4096u);
  EXPECT_TRUE(volume->write(512, pattern(1, 512)).error().is(err::invalid));
  for (const uint64_t at : {block_bytes, uint64_t{0}, block_bytes})
    EXPECT_TRUE(volume->write(at, pattern(at, 4096)));
  EXPECT_EQ(read_all(*volume, block_bytes, 4096), pattern(block_bytes, 4096));
}

// What keeps its blocks is not unmapped, and neither is it more than one request.
TEST_F(VolumeTest, ZeroesMayKeepTheirBlocks) {
  make(16);
  const auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(0, pattern(1, 2 * block_bytes)));
  ASSERT_TRUE(volume->write_zeroes(0, 4 * block_bytes, block::IoFlags::no_unmap | block::IoFlags::fua));
  EXPECT_EQ(read_all(*volume, 0, 4 * block_bytes), Bytes(4 * block_bytes));
  EXPECT_EQ(pool->status(0)->details.mapped_blocks, 4u);
  ASSERT_TRUE(volume->write_zeroes(0, 3 * block_bytes));
  ASSERT_TRUE(volume->discard(3 * block_bytes, block_bytes, block::IoFlags::fua));
  EXPECT_EQ(pool->status(0)->details.mapped_blocks, 0u);
  EXPECT_FALSE(pool->metadata().changed());  // it was to be durable
  EXPECT_EQ(volume->counts().of(IoOp::write_zeroes).requests, 2u);
  EXPECT_EQ(volume->counts().of(IoOp::discard).requests, 1u);
  EXPECT_EQ(volume->counts().of(IoOp::flush).requests, 0u);
}

// TH-006
TEST_F(VolumeTest, WithoutZeroingOnlyWhatIsWrittenIsTouched) {
  options.features.zero_new_blocks = false;
  make(16);
  const Bytes poison(16 * block_bytes, std::byte{0xee});
  ASSERT_TRUE(devices->data->write(0, poison));
  const auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(4096, pattern(1, 4096)));
  EXPECT_EQ(read_all(*volume, 0, 1)[0], std::byte{0xee});
}

// TH-007
TEST_F(VolumeTest, ASnapshotStaysAsItWas) {
  make(16);
  const auto origin = create(0, 100);
  const Bytes before = pattern(1, block_bytes), after = pattern(2, 4096);
  ASSERT_TRUE(origin->write(0, before));
  ASSERT_TRUE(pool->create_snap(1, 0));
  const auto snapshot = volume(1, 100);
  ASSERT_TRUE(origin->write(4096, after));
  EXPECT_EQ(read_all(*snapshot, 0, block_bytes), before);
  Bytes expected = before;
  std::ranges::copy(after, expected.begin() + 4096);
  EXPECT_EQ(read_all(*origin, 0, block_bytes), expected);
  EXPECT_EQ(used(), 2);
  // And the other way round.
  ASSERT_TRUE(snapshot->write(0, after));
  EXPECT_EQ(read_all(*origin, 0, block_bytes), expected);
}

// TH-008: an origin outside of the pool that is shorter than the volume.
TEST_F(VolumeTest, ReadsFromAnExternalOriginUntilABlockIsWritten) {
  make(16);
  const std::shared_ptr<block::Device> origin =
      block::MemoryDevice::create(block_bytes + 512, 512, "origin").value();
  const Bytes held = pattern(3, block_bytes + 512);
  ASSERT_TRUE(origin->write(0, held));
  const auto volume = create(0, 4, origin);
  Bytes expected(4 * block_bytes);
  std::ranges::copy(held, expected.begin());
  EXPECT_EQ(read_all(*volume, 0, 4 * block_bytes), expected);
  EXPECT_EQ(used(), 0);
  const Bytes written = pattern(4, 1024);
  for (const uint64_t offset : {uint64_t{2048}, block_bytes + 1024}) {
    ASSERT_TRUE(volume->write(offset, written));
    std::ranges::copy(written, expected.begin() + static_cast<ptrdiff_t>(offset));
  }
  EXPECT_EQ(read_all(*volume, 0, 4 * block_bytes), expected);
  EXPECT_EQ(read_all(*origin, 0, block_bytes + 512), held);
  // Discarding shows the origin again.
  ASSERT_TRUE(volume->discard(0, block_bytes));
  EXPECT_EQ(read_all(*volume, 0, block_bytes), Bytes(held.begin(), held.begin() + block_bytes));
}

// TH-024, TH-023
TEST_F(VolumeTest, ThePoolsOwnDevicesAreNoOriginAndNotEachOther) {
  make(16);
  ASSERT_TRUE(pool->create_thin(0));
  const std::shared_ptr<block::Device> data(devices->data.get(), [](block::Device*) {});
  const std::shared_ptr<block::Device> metadata(devices->metadata.get(), [](block::Device*) {});
  EXPECT_FALSE(pool->open_volume(0, block_bytes, data));
  EXPECT_FALSE(pool->open_volume(0, block_bytes, metadata));
  auto same = Pool::open(*devices->data, *devices->data, cache, block_sectors, options);
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().what(), "Error setting metadata or data device");
  options.features.read_only = true;
  EXPECT_FALSE(Pool::open(*devices->data, *devices->data, cache, block_sectors, options));
}

// TH-048, and the kernel's answers in thin-states: less than a block is no discard of it.
TEST_F(VolumeTest, DiscardsUnmapWholeBlocks) {
  make(16);
  const auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(0, pattern(1, 4 * block_bytes)));
  ASSERT_TRUE(volume->discard(0, 4096));
  EXPECT_EQ(pool->status(volume->id())->details.mapped_blocks, 4);
  ASSERT_TRUE(volume->discard(4096, 2 * block_bytes));
  EXPECT_EQ(pool->status(volume->id())->details.mapped_blocks, 3);
  EXPECT_EQ(read_all(*volume, block_bytes, block_bytes), Bytes(block_bytes));
  EXPECT_EQ(volume->discard_granularity(), block_bytes);
  EXPECT_EQ(volume->discard_max(), 64 << 20);
  ASSERT_TRUE(volume->discard(0, 100 * block_bytes));
  EXPECT_EQ(pool->status(volume->id())->details.mapped_blocks, 0);
  ASSERT_TRUE(pool->quiesce());
  EXPECT_EQ(used(), 0);
}

// TH-048: sizes around the limits that are published; a part of a block, and what lies beyond, is never
// touched.
TEST_F(VolumeTest, DiscardsAroundTheirLimits_TH048) {
  make(4096);
  const auto volume = create(0, 3000);
  const uint64_t most = volume->discard_max(), unit = volume->discard_granularity();
  ASSERT_EQ(most % unit, 0u);
  for (const uint64_t begin : {uint64_t{0}, unit, unit - 512})
    for (const uint64_t length :
         {unit - 512, unit, unit + 512, most - 512, most, most + 512, most + unit, 2 * most + 512}) {
      for (uint64_t i = 0; i < 3000; ++i) ASSERT_TRUE(volume->write(i * unit, Bytes(pattern(i, 512))));
      ASSERT_TRUE(volume->discard(begin, length));
      const uint64_t first = (begin + unit - 1) / unit, last = (begin + length) / unit;
      EXPECT_EQ(pool->status(volume->id())->details.mapped_blocks, 3000 - (last > first ? last - first : 0))
          << begin << " " << length;
      if (first > 0) {
        EXPECT_EQ(read_all(*volume, (first - 1) * unit, 512), pattern(first - 1, 512));
      }
      EXPECT_EQ(read_all(*volume, std::max(first, last) * unit, 512), pattern(std::max(first, last), 512));
      ASSERT_TRUE(pool->quiesce());
    }
}

// TH-046
TEST_F(VolumeTest, DiscardsAreRefusedWhereThePoolIgnoresThem) {
  options.features.handle_discards = false;
  make(16);
  const auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(0, pattern(1, block_bytes)));
  EXPECT_TRUE(volume->discard(0, block_bytes).error().is(err::unsupported));
  EXPECT_EQ(volume->discard_granularity(), 0);
  EXPECT_EQ(pool->status(volume->id())->details.mapped_blocks, 1);
}

// TH-047
TEST_F(VolumeTest, ZeroesReadBackAsZeroes) {
  make(32);
  const std::shared_ptr<block::Device> origin =
      block::MemoryDevice::create(8 * block_bytes, 512, "origin").value();
  ASSERT_TRUE(origin->write(0, pattern(3, 8 * block_bytes)));
  ASSERT_TRUE(pool->create_thin(1));
  for (const auto& volume : {create(0, 8), this->volume(1, 8, origin)}) {
    ASSERT_TRUE(volume->write(0, pattern(1, 6 * block_bytes)));
    ASSERT_TRUE(volume->write_zeroes(4096, 3 * block_bytes));
    EXPECT_EQ(read_all(*volume, 4096, 3 * block_bytes), Bytes(3 * block_bytes));
    ASSERT_TRUE(volume->write_zeroes(0, 8 * block_bytes));
    EXPECT_EQ(read_all(*volume, 0, 8 * block_bytes), Bytes(8 * block_bytes));
  }
}

// TH-045: what a snapshot still has is not discarded below.
TEST_F(VolumeTest, DiscardsArePassedDownOnlyForBlocksNobodyElseHas) {
  make(16);
  const auto origin = create(0, 16);
  const Bytes held = pattern(1, 4 * block_bytes);
  ASSERT_TRUE(origin->write(0, held));
  ASSERT_TRUE(pool->create_snap(1, 0));
  ASSERT_TRUE(origin->write(block_bytes, pattern(2, block_bytes)));  // one of four is no longer shared
  const auto snapshot = volume(1, 16);
  ASSERT_TRUE(origin->discard(0, 16 * block_bytes));
  EXPECT_EQ(read_all(*snapshot, 0, 4 * block_bytes), held);
  // The block that was only the origin's (the fifth on the device) was discarded, which a memory device
  // zeroes.
  EXPECT_EQ(read_all(*devices->data, 4 * block_bytes, block_bytes), Bytes(block_bytes));
  ASSERT_TRUE(snapshot->discard(0, 16 * block_bytes));
  EXPECT_EQ(read_all(*devices->data, 0, 4 * block_bytes), Bytes(4 * block_bytes));
}

// TH-005
TEST_F(VolumeTest, ExtentsCoverTheRangeInOrder) {
  make(16);
  const auto volume = create(0, 10);
  ASSERT_TRUE(volume->write(2 * block_bytes, pattern(1, 2 * block_bytes)));
  std::vector<std::tuple<uint64_t, uint64_t, bool>> found;
  ASSERT_TRUE(
      volume->extents(block_bytes + 512, 8 * block_bytes, [&](uint64_t offset, uint64_t length, bool mapped) {
        found.emplace_back(offset, length, mapped);
        return true;
      }));
  const decltype(found) expected = {{block_bytes + 512, block_bytes - 512, false},
                                    {2 * block_bytes, 2 * block_bytes, true},
                                    {4 * block_bytes, 5 * block_bytes + 512, false}};
  EXPECT_EQ(found, expected);
}

// TH-053, TH-052: what is mapped is served at once, by whoever asks; what is not has to wait.
TEST_F(VolumeTest, ARequestThatMayNotWaitIsServedIfItsMappingIsKnown) {
  make(16);
  const auto volume = create(0, 10);
  Bytes block(4096);
  EXPECT_TRUE(volume->read(0, block, block::IoFlags::nowait).error().is(err::would_block));
  EXPECT_TRUE(volume->write(0, block, block::IoFlags::nowait).error().is(err::would_block));
  ASSERT_TRUE(volume->write(0, block));
  EXPECT_TRUE(volume->read(0, block, block::IoFlags::nowait));
  EXPECT_TRUE(volume->write(0, block, block::IoFlags::nowait));
  ASSERT_TRUE(pool->create_snap(1, 0));
  EXPECT_TRUE(volume->read(0, block, block::IoFlags::nowait));
  EXPECT_TRUE(volume->write(0, block, block::IoFlags::nowait).error().is(err::would_block));
  EXPECT_EQ(pool->wake_ups(), 0);
}

// TH-006, TH-007, TH-045, TH-001: random requests on a family of volumes equal plain bytes, and after each
// commit a pool opened anew has them too.
TEST_F(VolumeTest, FamiliesOfVolumesKeepWhatPlainBytesKeep) {
  constexpr uint64_t volume_blocks = 24;
  make(400);
  options.lookup_memory = 1;  // as few pages as can be
  pool.reset();
  open();
  std::mt19937_64 random(11);
  std::map<DeviceId, Bytes> model;
  for (int step = 0; step < 2500; ++step) {
    const DeviceId id = static_cast<DeviceId>(random() % 6);
    if (!model.contains(id)) {
      const DeviceId origin = static_cast<DeviceId>(random() % 6);
      if (model.contains(origin)) {
        ASSERT_TRUE(pool->create_snap(id, origin));
        model[id] = model[origin];
      } else {
        ASSERT_TRUE(pool->create_thin(id));
        model[id] = Bytes(volume_blocks * block_bytes);
      }
      continue;
    }
    Bytes& bytes = model[id];
    const uint64_t offset = random() % (volume_blocks * block_bytes / 512) * 512;
    const uint64_t length =
        std::min<uint64_t>(512 * (1 + random() % (random() % 3 == 0 ? 400 : 16)), bytes.size() - offset);
    const auto begin = bytes.begin() + static_cast<ptrdiff_t>(offset);
    switch (random() % 12) {
      case 0: {
        ASSERT_TRUE(volume(id, volume_blocks)->discard(offset, length));
        const uint64_t from = (offset + block_bytes - 1) / block_bytes * block_bytes;
        const uint64_t to = (offset + length) / block_bytes * block_bytes;
        if (from < to)
          std::fill(bytes.begin() + static_cast<ptrdiff_t>(from), bytes.begin() + static_cast<ptrdiff_t>(to),
                    std::byte{0});
        break;
      }
      case 1:
        ASSERT_TRUE(volume(id, volume_blocks)->write_zeroes(offset, length));
        std::fill(begin, begin + static_cast<ptrdiff_t>(length), std::byte{0});
        break;
      case 2:
        if (random() % 8 != 0) break;
        ASSERT_TRUE(pool->delete_device(id));
        model.erase(id);
        break;
      case 3:
        if (random() % 10 == 0) {
          pool.reset();
          open();
        }
        break;
      case 4: pool->tick(); break;
      case 5:
      case 6:
        ASSERT_EQ(read_all(*volume(id, volume_blocks), offset, length),
                  Bytes(begin, begin + static_cast<ptrdiff_t>(length)));
        break;
      default: {
        const Bytes written = pattern(random(), length);
        const auto flags = random() % 8 == 0 ? block::IoFlags::fua : block::IoFlags::none;
        ASSERT_TRUE(volume(id, volume_blocks)->write(offset, written, flags));
        std::ranges::copy(written, begin);
      }
    }
    clock.pass(std::chrono::milliseconds(random() % 300));
  }
  pool.reset();
  open();
  for (const auto& [id, bytes] : model)
    EXPECT_EQ(read_all(*volume(id, volume_blocks), 0, bytes.size()), bytes) << id;
}

}  // namespace
}  // namespace karst::thin
