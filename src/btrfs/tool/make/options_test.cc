// What new file systems may be like; and their UUIDs.
#include "btrfs/tool/make/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "btrfs/tool/make/uuid_source.h"

namespace karst::btrfs {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t GiB = 1 << 30;

struct RefusedCase {
  const char* features;
  const char* data;
  const char* metadata;
  uint32_t nodesize, sectorsize;
  uint32_t devices;
  const char* word;  // in the message
};

TEST(MakeOptions, WhatCannotBeIsRefusedByName) {
  const RefusedCase cases[] = {
      // features                 data       metadata   node   sector devices
      {"", "", "", 12345, 4096, 1, "node size"},
      {"", "", "", 131072, 4096, 1, "node size"},
      {"", "", "", 4096, 8192, 1, "node size"},
      {"", "", "", 16384, 2048, 1, "sector size"},
      {"", "", "", 131072, 131072, 1, "sector size"},
      {"", "raid1", "", 16384, 4096, 1, "data profile RAID1 "},
      {"", "", "raid1", 16384, 4096, 1, "metadata profile RAID1 "},
      {"", "raid10", "", 16384, 4096, 1, "data profile RAID10"},
      {"", "raid5", "", 16384, 4096, 1, "data profile RAID5"},
      {"", "raid6", "", 16384, 4096, 2, "data profile RAID6"},
      {"", "raid1c3", "", 16384, 4096, 2, "data profile RAID1C3"},
      {"", "raid1c4", "", 16384, 4096, 3, "data profile RAID1C4"},
      {"mixed-bg", "", "", 16384, 4096, 1, "mixed"},
      {"mixed-bg", "single", "dup", 4096, 4096, 1, "mixed"},
      {"block-group-tree,^no-holes", "", "", 16384, 4096, 1, "block-group-tree"},
      {"block-group-tree,^free-space-tree", "", "", 16384, 4096, 1, "block-group-tree"},
  };
  for (const RefusedCase& refused : cases) {
    MakeOptions options{.nodesize = refused.nodesize, .sectorsize = refused.sectorsize};
    ASSERT_TRUE(apply_features(options, refused.features));
    if (*refused.data) options.data_profile = parse_profile(refused.data).value();
    if (*refused.metadata) options.metadata_profile = parse_profile(refused.metadata).value();
    auto settled = settle_options(options, refused.devices, GiB);
    ASSERT_FALSE(settled) << refused.word << " " << refused.features;
    EXPECT_TRUE(settled.error().is(karst::err::invalid));
    EXPECT_THAT(settled.error().message(), HasSubstr(refused.word));
  }
}

TEST(MakeOptions, ALabelIsOneLineAndFits) {
  for (const std::string& label : {std::string(256, 'x'), std::string("a\nb"), std::string("a\0b", 3)}) {
    MakeOptions options{.label = label};
    EXPECT_FALSE(settle_options(options, 1, GiB));
  }
  MakeOptions longest{.label = std::string(255, 'x')};
  EXPECT_TRUE(settle_options(longest, 1, GiB));
}

struct DefaultCase {
  bool mixed;
  uint32_t devices;
  uint64_t data, metadata;
};
// As mkfs.btrfs; tests/oracle/mkfs compares.
TEST(MakeOptions, ProfilesDependOnTheNumberOfDevices) {
  const DefaultCase cases[] = {
      {false, 1, 0, block_group::dup},
      {false, 2, 0, block_group::raid1},
      {true, 1, 0, 0},
      {true, 4, 0, 0},
  };
  for (const DefaultCase& expected : cases) {
    MakeOptions options{.nodesize = 4096};
    if (expected.mixed) options.incompat |= incompat::mixed_groups;
    ASSERT_TRUE(settle_options(options, expected.devices, GiB));
    EXPECT_EQ(options.data_profile, expected.data) << expected.devices;
    EXPECT_EQ(options.metadata_profile, expected.metadata) << expected.devices;
  }
}

TEST(MakeOptions, MixedBlockGroupsTakeTheOneProfileThatIsGiven) {
  for (bool data : {true, false}) {
    MakeOptions options{.nodesize = 4096};
    options.incompat |= incompat::mixed_groups;
    (data ? options.data_profile : options.metadata_profile) = block_group::dup;
    ASSERT_TRUE(settle_options(options, 1, GiB));
    EXPECT_EQ(options.data_profile, block_group::dup);
    EXPECT_EQ(options.metadata_profile, block_group::dup);
  }
}

TEST(MakeOptions, ProfilesAndSizesImplyFeatures) {
  MakeOptions options;
  options.data_profile = block_group::raid6;
  options.metadata_profile = block_group::raid1c3;
  ASSERT_TRUE(settle_options(options, 4, GiB));
  EXPECT_TRUE(options.has(incompat::raid56));
  EXPECT_TRUE(options.has(incompat::raid1c34));
  EXPECT_TRUE(options.has(incompat::big_metadata));
  MakeOptions small{.nodesize = 4096};
  ASSERT_TRUE(settle_options(small, 1, GiB));
  EXPECT_FALSE(small.has(incompat::big_metadata));
}

TEST(MakeOptions, MetadataHasAShareOfTheDevices) {
  for (auto [total, least] : {std::pair{100ull << 20, 8ull << 20},
                              {1ull << 30, (1ull << 30) / 20},
                              {20ull << 30, 256ull << 20},
                              {60ull << 30, 1ull << 30}}) {
    MakeOptions options;
    ASSERT_TRUE(settle_options(options, 1, total));
    EXPECT_EQ(options.metadata_least, least);
  }
}

// Else Linux is busy making and removing system chunks, and does not get to unmounting.
TEST(MakeOptions, SystemChunksHaveTheRoomThatLinuxReservesInThem) {
  for (auto [nodesize, devices, least] :
       {std::tuple{16384u, 1u, 2ull << 20}, {65536u, 1u, 3ull << 20}, {65536u, 4u, 6ull << 20}}) {
    MakeOptions options{.nodesize = nodesize, .system_least = 2 << 20};
    ASSERT_TRUE(settle_options(options, devices, GiB));
    EXPECT_EQ(options.system_least, least);
  }
}

TEST(Features, AreTurnedOnAndOffInTheOrderGiven) {
  MakeOptions options;
  ASSERT_TRUE(apply_features(options, "^no-holes,quota,mixed-bg,^mixed-bg,^fst,bgt"));
  EXPECT_FALSE(options.has(incompat::no_holes));
  EXPECT_FALSE(options.mixed());
  EXPECT_TRUE(options.quotas);
  EXPECT_EQ(options.compat_ro, compat_ro::block_group_tree);
  ASSERT_TRUE(apply_features(options, "free-space-tree,^quota"));
  EXPECT_FALSE(options.quotas);
  EXPECT_EQ(options.compat_ro,
            compat_ro::block_group_tree | compat_ro::free_space_tree | compat_ro::free_space_tree_valid);
  EXPECT_THAT(apply_features(options, "no-holes,nonsense").error().message(), HasSubstr("nonsense"));
}

TEST(Names, OfProfilesAndChecksumsAreThoseOfMkfs) {
  EXPECT_EQ(parse_profile("single").value(), 0u);
  EXPECT_EQ(parse_profile("RAID1C4").value(), block_group::raid1c4);
  EXPECT_FALSE(parse_profile("raid7"));
  EXPECT_EQ(parse_checksum_name("xxhash").value(), ChecksumType::xxhash64);
  EXPECT_EQ(parse_checksum_name("XXHASH64").value(), ChecksumType::xxhash64);
  EXPECT_EQ(parse_checksum_name("blake2").value(), ChecksumType::blake2b_256);
  EXPECT_EQ(parse_checksum_name("blake2b").value(), ChecksumType::blake2b_256);
  EXPECT_FALSE(parse_checksum_name("md5"));
}

TEST(UuidSource, GivesTheSameOnesFromASeed) {
  UuidSource a(std::string("seed")), b(std::string("seed")), other(std::string("seed2")), random, random_too;
  std::set<std::string> all;
  for (int n = 0; n < 100; ++n) {
    const Uuid uuid = a.next();
    EXPECT_EQ(uuid, b.next());
    for (const Uuid& each : {uuid, other.next(), random.next(), random_too.next()}) {
      EXPECT_TRUE(all.insert(each.text()).second) << "all differ";
      EXPECT_EQ(each.bytes[6] >> 4, 4) << "version";
      EXPECT_EQ(each.bytes[8] >> 6, 2) << "variant";
    }
  }
}

}  // namespace
}  // namespace karst::btrfs
