// Rows of raid5/6, written once with their parity. That every copy of every profile reads back through a
// Volume is shown where file systems are made (tool/make/image_writer_test.cc).
#include "btrfs/volume/chunk_writer.h"

#include <gtest/gtest.h>

#include <random>

#include "block/memory_device.h"
#include "btrfs/extent/device_space.h"
#include "btrfs/volume/parity.h"
#include "btrfs/volume/volume.h"

namespace karst::btrfs {
namespace {

constexpr uint64_t MiB = 1 << 20;

class ChunkWriterTest : public ::testing::Test {
 protected:
  void begin(uint64_t profile, size_t count) {
    std::vector<SpaceDevice> members;
    for (size_t n = 1; n <= count; ++n) {
      devices_.push_back(block::MemoryDevice::create(16 * MiB).value());
      by_id_[n] = devices_.back().get();
      members.push_back({n, {}, 16 * MiB});
    }
    chunk_ = DeviceSpace(members).allocate(MiB, block_group::data | profile, MiB, MiB).value();
  }
  std::vector<std::byte> noise(size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
    return bytes;
  }
  std::vector<std::byte> stripe_of_row(uint64_t row, uint32_t k) {
    const uint32_t stripe = row_stripe(chunk_, row, k);
    std::vector<std::byte> bytes(stripe_length);
    EXPECT_TRUE(by_id_[chunk_.stripes[stripe].devid]->read(row_offset(chunk_, stripe, row), bytes));
    return bytes;
  }
  // Whether P, and Q where there is one, are those of the row's data.
  void expect_parity(uint64_t row) {
    std::vector<std::vector<std::byte>> blocks;
    std::vector<Bytes> data;
    for (uint32_t k = 0; k < chunk_.data_stripes(); ++k) blocks.push_back(stripe_of_row(row, k));
    for (const auto& block : blocks) data.push_back(block);
    std::vector<std::byte> p(stripe_length), q(stripe_length);
    if (chunk_.profile->parity == 1)
      compute_p(data, p);
    else
      compute_pq(data, p, q);
    EXPECT_TRUE(p == stripe_of_row(row, chunk_.data_stripes())) << row;
    if (chunk_.profile->parity < 2) return;
    EXPECT_TRUE(q == stripe_of_row(row, chunk_.data_stripes() + 1)) << row;
  }
  // The data stripes of the chunk's rows, one after the other.
  std::vector<std::byte> content() {
    std::vector<std::byte> all;
    for (uint64_t row = 0; row < chunk_.length / stripe_length / chunk_.data_stripes(); ++row)
      for (uint32_t k = 0; k < chunk_.data_stripes(); ++k) {
        const auto block = stripe_of_row(row, k);
        all.insert(all.end(), block.begin(), block.end());
      }
    return all;
  }

  std::mt19937 random_{11};
  std::vector<std::unique_ptr<block::MemoryDevice>> devices_;
  std::unordered_map<uint64_t, block::Device*> by_id_;
  ChunkEntry chunk_;
};

TEST_F(ChunkWriterTest, WritesParityWithEachRowHoweverThePiecesAreCut) {
  for (auto [profile, count] : {std::pair{block_group::raid5, 2},
                                {block_group::raid5, 4},
                                {block_group::raid6, 3},
                                {block_group::raid6, 5}}) {
    devices_.clear();
    begin(profile, static_cast<size_t>(count));
    ChunkWriter writer(by_id_);
    const std::vector<std::byte> bytes = noise(chunk_.length);
    for (uint64_t at = 0; at < bytes.size();) {
      const uint64_t length = std::min<uint64_t>(bytes.size() - at, 512 * (1 + random_() % 400));
      const Bytes piece = Bytes(bytes).subspan(at, length);
      const Bytes halves[] = {piece.first(length / 2), piece.subspan(length / 2)};
      ASSERT_TRUE(writer.write(chunk_, chunk_.logical + at, halves));
      at += length;
    }
    ASSERT_TRUE(writer.finish());
    EXPECT_TRUE(content() == bytes);
    for (uint64_t row = 0; row < 16; ++row) expect_parity(row);
  }
}

TEST_F(ChunkWriterTest, RowsPassedOverAndNotFilledAreZeroesWithTheirParity) {
  begin(block_group::raid6, 4);
  for (auto& device : devices_) ASSERT_TRUE(device->write(0, noise(16 * MiB)));
  ChunkWriter writer(by_id_);
  const std::vector<std::byte> some = noise(4096);
  ASSERT_TRUE(writer.write(chunk_, chunk_.logical + 5 * stripe_length, some));
  ASSERT_TRUE(writer.finish());
  std::vector<std::byte> expected(6 * stripe_length);
  std::copy(some.begin(), some.end(), expected.begin() + 5 * stripe_length);
  auto found = content();
  found.resize(expected.size());
  EXPECT_TRUE(found == expected);
  for (uint64_t row = 0; row < 3; ++row) expect_parity(row);
}

TEST_F(ChunkWriterTest, WritesEveryMirror) {
  begin(block_group::raid10, 4);
  ChunkWriter writer(by_id_);
  const std::vector<std::byte> bytes = noise(chunk_.length);
  ASSERT_TRUE(writer.write(chunk_, chunk_.logical, bytes));
  for (int copy = 0; copy < 2; ++copy)
    for (uint64_t at = 0; at < bytes.size();) {
      const StripeRun run = map_run(chunk_, chunk_.logical + at, bytes.size() - at, copy);
      std::vector<std::byte> read(run.length);
      ASSERT_TRUE(by_id_[chunk_.stripes[run.stripe].devid]->read(run.offset, read));
      ASSERT_TRUE(std::equal(read.begin(), read.end(), bytes.begin() + static_cast<ptrdiff_t>(at))) << copy;
      at += run.length;
    }
}

TEST_F(ChunkWriterTest, NeedsTheDeviceOfEachStripe) {
  begin(block_group::raid1, 2);
  by_id_.erase(2);
  EXPECT_TRUE(ChunkWriter(by_id_).write(chunk_, chunk_.logical, noise(4096)).error().is(err::device_missing));
}

}  // namespace
}  // namespace karst::btrfs
