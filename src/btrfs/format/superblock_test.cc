#include "btrfs/format/superblock.h"

#include <gtest/gtest.h>

#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

std::string super_verdict(const Superblock& super, uint64_t offset = superblock_offset) {
  auto result = check_superblock(super, offset);
  return result ? "ok" : result.error().kind().name;
}

TEST(SuperblockMirrors, AreAtTheirThreePlaces_BT032) {
  EXPECT_EQ(superblock_mirror_offset(0), 65536u);
  EXPECT_EQ(superblock_mirror_offset(1), 64u << 20);
  EXPECT_EQ(superblock_mirror_offset(2), 256ull << 30);
}

TEST(CheckSuperblock, AcceptsAValidOneAtItsOwnPlaceOnly_BT032) {
  Superblock super = sample_superblock();
  EXPECT_EQ(super_verdict(super), "ok");
  EXPECT_EQ(super_verdict(super, superblock_mirror_offset(1)), "super-invalid");
  super.bytenr = superblock_mirror_offset(1);
  fix_checksum(super);
  EXPECT_EQ(super_verdict(super, superblock_mirror_offset(1)), "ok");
}

struct SuperCase {
  const char* what;
  void (*change)(Superblock&);
  const char* verdict;
};

TEST(CheckSuperblock, RefusesEachFieldThatContradictsTheFormat_BT021_BT032) {
  using S = Superblock;
  // clang-format off
  const SuperCase cases[] = {
      {"magic",             [](S& s) { s.magic = 1; },                                   "super-magic"},
      {"checksum type",     [](S& s) { s.csum_type = 4; },                               "super-unsupported"},
      {"zoned",             [](S& s) { s.incompat_flags |= incompat::zoned; },           "super-unsupported"},
      {"unknown incompat",  [](S& s) { s.incompat_flags |= 1ull << 60; },                "super-unsupported"},
      {"interrupted change",[](S& s) { s.flags |= super_flag::changing_fsid_v2; },       "super-unsupported"},
      {"unknown compat_ro", [](S& s) { s.compat_ro_flags |= 1ull << 60; },               "ok"},
      {"small sectors",     [](S& s) { s.sectorsize = 512; },                            "super-invalid"},
      {"odd sectors",       [](S& s) { s.sectorsize = 4097; },                           "super-invalid"},
      {"big nodes",         [](S& s) { s.nodesize = s.leafsize = 131072; },              "super-invalid"},
      {"odd nodes",         [](S& s) { s.nodesize = s.leafsize = 12288; },               "super-invalid"},
      {"no nodes",          [](S& s) { s.nodesize = s.leafsize = 0; },                   "super-invalid"},
      {"leafsize",          [](S& s) { s.leafsize = 4096; },                             "super-invalid"},
      {"stripesize",        [](S& s) { s.stripesize = 4097; },                           "super-invalid"},
      {"mixed groups",      [](S& s) { s.incompat_flags |= incompat::mixed_groups; },    "super-invalid"},
      {"root",              [](S& s) { s.root = 1; },                                    "super-invalid"},
      {"root level",        [](S& s) { s.root_level = 8; },                              "super-invalid"},
      {"chunk root",        [](S& s) { s.chunk_root = 4097; },                           "super-invalid"},
      {"chunk root level",  [](S& s) { s.chunk_root_level = 8; },                        "super-invalid"},
      {"log root",          [](S& s) { s.log_root = 4097; },                             "super-invalid"},
      {"log root level",    [](S& s) { s.log_root_level = 255; },                        "super-invalid"},
      {"total bytes",       [](S& s) { s.total_bytes = 0; },                             "super-invalid"},
      {"bytes used",        [](S& s) { s.bytes_used = 4096; },                           "super-invalid"},
      {"devices",           [](S& s) { s.num_devices = 0; },                             "super-invalid"},
      {"array too big",     [](S& s) { s.sys_chunk_array_size = 2049; },                 "super-invalid"},
      {"array too small",   [](S& s) { s.sys_chunk_array_size = 96; },                   "super-invalid"},
      {"array cut",         [](S& s) { s.sys_chunk_array_size = 128; },                  "super-invalid"},
      {"array with a tail", [](S& s) { s.sys_chunk_array_size += 1; },                   "super-invalid"},
      {"array of items",    [](S& s) { s.sys_chunk_array[8] = 1; },                      "super-invalid"},
      {"array with data",   [](S& s) { s.sys_chunk_array[17 + 24] = 0x21; },             "super-invalid"},
      {"array's chunk",     [](S& s) { s.sys_chunk_array[17 + 16] = 1; },                "item-chunk"},
      {"device's fsid",     [](S& s) { s.dev_item.fsid.bytes[0] ^= 1; },                 "super-invalid"},
      {"metadata uuid",     [](S& s) { s.incompat_flags |= incompat::metadata_uuid; },   "super-invalid"},
      {"block group tree",  [](S& s) { s.compat_ro_flags = compat_ro::block_group_tree; }, "super-invalid"},
  };
  // clang-format on
  for (const SuperCase& c : cases) {
    Superblock super = changed(sample_superblock(), c.change);
    fix_checksum(super);
    EXPECT_EQ(super_verdict(super), c.verdict) << c.what;
  }
}

TEST(CheckSuperblock, RefusesAWrongChecksumOfEveryType_BT032) {
  for (uint16_t type = 0; type < 4; ++type) {
    Superblock super = sample_superblock();
    super.csum_type = type;
    fix_checksum(super, *checksum_type_of(type));
    EXPECT_EQ(super_verdict(super), "ok") << type;
    super.label[0] ^= 1;
    EXPECT_EQ(super_verdict(super), "super-checksum") << type;
  }
}

TEST(CheckSuperblock, NamesTheFeatureThatItDoesNotKnow) {
  Superblock super = sample_superblock();
  super.incompat_flags |= incompat::zoned | (1ull << 60);
  fix_checksum(super);
  auto result = check_superblock(super, superblock_offset);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().what(), "feature not supported: ZONED, UNKNOWN_0x1000000000000000");
}

TEST(SystemChunks, AreReadOutOfTheArray) {
  auto chunks = system_chunks(sample_superblock());
  ASSERT_TRUE(chunks);
  ASSERT_EQ(chunks->size(), 1u);
  EXPECT_EQ(chunks->front().logical, 22u << 20);
  EXPECT_EQ(chunks->front().item.size(), sizeof(ChunkOfTwo));
}

TEST(Geometry, TakesTheMetadataUuidWhereThatFeatureIsOn) {
  Superblock super = sample_superblock();
  EXPECT_EQ(geometry_of(super).metadata_uuid, super.fsid);
  super.incompat_flags |= incompat::metadata_uuid;
  super.metadata_uuid.bytes[0] = 99;
  EXPECT_EQ(geometry_of(super).metadata_uuid, super.metadata_uuid);
}

}  // namespace
}  // namespace karst::btrfs
