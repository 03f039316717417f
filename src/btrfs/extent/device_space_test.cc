// Where chunks go on devices.
#include "btrfs/extent/device_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace karst::btrfs {
namespace {

using ::testing::ContainsRegex;

constexpr uint64_t KiB64 = 64 << 10, MiB = 1 << 20, GiB = 1 << 30;

DeviceSpace space_of(const std::vector<uint64_t>& sizes) {
  std::vector<SpaceDevice> devices;
  for (uint64_t size : sizes) devices.push_back({devices.size() + 1, {}, size});
  return DeviceSpace(devices);
}

std::set<uint64_t> devices_of(const ChunkEntry& chunk) {
  std::set<uint64_t> devices;
  for (const ChunkStripe& stripe : chunk.stripes) devices.insert(stripe.devid);
  return devices;
}

// Takes chunks until there is no room; each stripe once, none over what is reserved.
void expect_sound(DeviceSpace space, const std::vector<uint64_t>& sizes, uint64_t type, uint64_t stripe_max) {
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> taken;
  for (uint64_t logical = MiB;;) {
    auto chunk = space.allocate(logical, type, KiB64, stripe_max);
    if (!chunk) break;
    ASSERT_EQ(chunk->length, chunk->stripe_size() * chunk->data_stripes());
    for (const ChunkStripe& stripe : chunk->stripes)
      ASSERT_TRUE(taken.emplace(std::pair(stripe.devid, stripe.offset), chunk->stripe_size()).second);
    logical += chunk->length;
  }
  std::pair<uint64_t, uint64_t> last;
  for (const auto& [at, length] : taken) {
    const auto [devid, offset] = at;
    EXPECT_GE(offset, std::max(device_reserved, last.first == devid ? last.second : 0)) << "stripes overlap";
    EXPECT_EQ(offset % KiB64, 0u);
    EXPECT_LE(offset + length, sizes[devid - 1]);
    for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
      const uint64_t copy = superblock_mirror_offset(mirror);
      EXPECT_TRUE(copy + superblock_size <= offset || copy >= offset + length) << offset << " over " << copy;
    }
    last = {devid, offset + length};
  }
}

TEST(DeviceSpace, GivesEachByteOnceAndNoneOfSuperblocks) {
  for (uint64_t type : {uint64_t{0}, block_group::dup, block_group::raid0, block_group::raid1,
                        block_group::raid1c3, block_group::raid10, block_group::raid5, block_group::raid6})
    for (const std::vector<uint64_t>& sizes :
         {std::vector{100 * MiB, 64 * MiB, 65 * MiB + 12345, 300 * MiB, 7 * MiB},
          std::vector{64 * MiB + KiB64 - 1, 64 * MiB + KiB64, 64 * MiB + KiB64 + 1, 70 * MiB}})
      expect_sound(space_of(sizes), sizes, type | block_group::data, 10 * MiB);
  expect_sound(space_of({257 * GiB}), {257 * GiB}, block_group::data, 10 * GiB);
}

struct WidthCase {
  uint64_t profile;
  std::vector<uint64_t> sizes;
  size_t stripes, devices;
  uint64_t data_stripes;
};
TEST(DeviceSpace, UsesAsManyDevicesAsTheProfileAsksFor) {
  const uint64_t size = 100 * MiB;
  const WidthCase cases[] = {
      {0, {size, size}, 1, 1, 1},
      {block_group::dup, {size}, 2, 1, 1},
      {block_group::dup, {size, size}, 2, 1, 1},
      {block_group::raid0, {size, size, size}, 3, 3, 3},
      {block_group::raid1, {size, size, size}, 2, 2, 1},
      {block_group::raid1c3, {size, size, size, size}, 3, 3, 1},
      {block_group::raid1c4, {size, size, size, size}, 4, 4, 1},
      {block_group::raid10, {size, size, size, size, size}, 4, 4, 2},
      {block_group::raid5, {size, size, size}, 3, 3, 2},
      {block_group::raid6, {size, size, size, size}, 4, 4, 2},
  };
  for (const WidthCase& expected : cases) {
    ChunkEntry chunk =
        space_of(expected.sizes).allocate(0, block_group::data | expected.profile, KiB64, 8 * MiB).value();
    EXPECT_EQ(chunk.stripes.size(), expected.stripes) << chunk.profile->name;
    EXPECT_EQ(devices_of(chunk).size(), expected.devices) << chunk.profile->name;
    EXPECT_EQ(chunk.data_stripes(), expected.data_stripes) << chunk.profile->name;
    EXPECT_EQ(chunk.length, 8 * MiB * expected.data_stripes) << chunk.profile->name;
  }
}

TEST(DeviceSpace, TakesTheDevicesWithMostRoom) {
  DeviceSpace space = space_of({20 * MiB, 60 * MiB, 40 * MiB});
  const ChunkEntry chunk = space.allocate(0, block_group::data | block_group::raid1, KiB64, 8 * MiB).value();
  EXPECT_THAT(devices_of(chunk), ::testing::ElementsAre(2, 3));
}

TEST(DeviceSpace, AsksForLogicalBytesWhateverTheWidth) {
  for (uint64_t profile : {uint64_t{0}, block_group::raid0, block_group::raid5}) {
    DeviceSpace space = space_of({100 * MiB, 100 * MiB, 100 * MiB, 100 * MiB});
    const ChunkEntry chunk = space.allocate_bytes(0, block_group::data | profile, MiB, 8 * MiB).value();
    EXPECT_GE(chunk.length, 8 * MiB);
    EXPECT_LT(chunk.length, 8 * MiB + KiB64 * chunk.data_stripes());
  }
}

TEST(DeviceSpace, GivesBackWhatIsTrimmed) {
  DeviceSpace space = space_of({33 * MiB, 33 * MiB});
  ChunkEntry chunk = space.allocate(0, block_group::data | block_group::raid1, KiB64, 32 * MiB).value();
  EXPECT_EQ(space.used(1), 32 * MiB);
  EXPECT_FALSE(space.allocate(0, block_group::data, KiB64, MiB));
  space.trim(chunk, 3 * MiB + 1);
  EXPECT_EQ(chunk.length, 3 * MiB + KiB64);
  EXPECT_EQ(space.used(1), chunk.length);
  EXPECT_EQ(space.end_of_chunks(2), chunk.stripes[1].offset + chunk.length);
  EXPECT_TRUE(space.allocate(0, block_group::data, 28 * MiB, 28 * MiB));
}

TEST(DeviceSpace, EndsWhereItsLastChunkDoes) {
  DeviceSpace space = space_of({GiB});
  EXPECT_EQ(space.end_of_chunks(1), device_reserved);
  ChunkEntry chunk = space.allocate(0, block_group::data, KiB64, 10 * MiB).value();
  EXPECT_EQ(space.end_of_chunks(1), 11 * MiB);
  // Beyond the copy of the superblock.
  ASSERT_TRUE(space.allocate(0, block_group::data, 60 * MiB, 60 * MiB));
  EXPECT_EQ(space.end_of_chunks(1), 64 * MiB + KiB64 + 60 * MiB);
}

TEST(DeviceSpace, SaysWhatIsMissing) {
  auto refused =
      space_of({10 * MiB, 3 * MiB}).allocate(0, block_group::data | block_group::raid1, 5 * MiB, 8 * MiB);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(karst::err::no_space));
  EXPECT_THAT(refused.error().message(),
              ContainsRegex("5242880 bytes .* 2 devices.*1 devices.*9437184 bytes"));
}

TEST(DeviceSpace, HasNothingOnDevicesThatAreTooSmall) {
  for (uint64_t size : {uint64_t{0}, MiB, MiB + KiB64 - 1})
    EXPECT_FALSE(space_of({size}).allocate(0, block_group::data, KiB64, KiB64)) << size;
  EXPECT_TRUE(space_of({MiB + KiB64}).allocate(0, block_group::data, KiB64, KiB64));
}

}  // namespace
}  // namespace karst::btrfs
