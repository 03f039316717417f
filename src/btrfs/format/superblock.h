// The superblock: 4096 bytes at 64 KiB, and copies at 64 MiB and 256 GiB, of every device.
// Source: Linux include/uapi/linux/btrfs_tree.h, struct btrfs_super_block; include/uapi/linux/btrfs.h.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "btrfs/format/chunk.h"
#include "btrfs/format/flag_names.h"
#include "btrfs/format/header.h"
#include "core/checksum.h"
#include "core/result.h"

namespace karst::btrfs {

constexpr uint32_t superblock_size = 4096;
constexpr uint64_t superblock_offset = 64 << 10;
constexpr int superblock_mirrors = 3;
// Byte offset of mirror 0, 1 or 2: 64 KiB, 64 MiB, 256 GiB.
constexpr uint64_t superblock_mirror_offset(int mirror) {
  return mirror == 0 ? superblock_offset : uint64_t{16 << 10} << (12 * mirror);
}
constexpr uint64_t superblock_magic = 0x4D5F53665248425Full;  // "_BHRfS_M"
constexpr uint32_t system_chunk_array_size = 2048;
constexpr int backup_root_count = 4;
constexpr uint32_t label_size = 256;

namespace compat_ro {
constexpr uint64_t free_space_tree = 1ull << 0;
constexpr uint64_t free_space_tree_valid = 1ull << 1;
constexpr uint64_t verity = 1ull << 2;
constexpr uint64_t block_group_tree = 1ull << 3;
}  // namespace compat_ro

namespace incompat {
constexpr uint64_t mixed_backref = 1ull << 0;
constexpr uint64_t default_subvol = 1ull << 1;
constexpr uint64_t mixed_groups = 1ull << 2;
constexpr uint64_t compress_lzo = 1ull << 3;
constexpr uint64_t compress_zstd = 1ull << 4;
constexpr uint64_t big_metadata = 1ull << 5;
constexpr uint64_t extended_iref = 1ull << 6;
constexpr uint64_t raid56 = 1ull << 7;
constexpr uint64_t skinny_metadata = 1ull << 8;
constexpr uint64_t no_holes = 1ull << 9;
constexpr uint64_t metadata_uuid = 1ull << 10;
constexpr uint64_t raid1c34 = 1ull << 11;
constexpr uint64_t zoned = 1ull << 12;
constexpr uint64_t extent_tree_v2 = 1ull << 13;
constexpr uint64_t raid_stripe_tree = 1ull << 14;
constexpr uint64_t simple_quota = 1ull << 16;
constexpr uint64_t remap_tree = 1ull << 17;
// What this program reads.
constexpr uint64_t supported = mixed_backref | default_subvol | mixed_groups | compress_lzo | compress_zstd |
                               big_metadata | extended_iref | raid56 | skinny_metadata | no_holes |
                               metadata_uuid | raid1c34 | simple_quota;
}  // namespace incompat

namespace super_flag {
constexpr uint64_t written = 1ull << 0;
constexpr uint64_t reloc = 1ull << 1;
constexpr uint64_t error = 1ull << 2;
constexpr uint64_t seeding = 1ull << 32;
constexpr uint64_t metadump = 1ull << 33;
constexpr uint64_t metadump_v2 = 1ull << 34;
constexpr uint64_t changing_fsid = 1ull << 35;
constexpr uint64_t changing_fsid_v2 = 1ull << 36;
constexpr uint64_t changing_bg_tree = 1ull << 38;
constexpr uint64_t changing_data_csum = 1ull << 39;
constexpr uint64_t changing_meta_csum = 1ull << 40;
// What this program reads; the rest are conversions that were interrupted, or unknown.
constexpr uint64_t supported = written | reloc | error | seeding | metadump | metadump_v2;
}  // namespace super_flag

struct RootBackup {
  le64 tree_root;
  le64 tree_root_gen;
  le64 chunk_root;
  le64 chunk_root_gen;
  le64 extent_root;  // the block group tree where that feature is on
  le64 extent_root_gen;
  le64 fs_root;
  le64 fs_root_gen;
  le64 dev_root;
  le64 dev_root_gen;
  le64 csum_root;
  le64 csum_root_gen;
  le64 total_bytes;
  le64 bytes_used;
  le64 num_devices;
  le64 unused_64[4];
  uint8_t tree_root_level;
  uint8_t chunk_root_level;
  uint8_t extent_root_level;
  uint8_t fs_root_level;
  uint8_t dev_root_level;
  uint8_t csum_root_level;
  uint8_t unused_8[10];
};
static_assert(sizeof(RootBackup) == 168 && Overlay<RootBackup>);

struct Superblock {
  uint8_t checksum[checksum_field_size];             //    0  of the bytes from 32 to 4096
  Uuid fsid;                                         //   32
  le64 bytenr;                                       //   48  offset of this copy
  le64 flags;                                        //   56
  le64 magic;                                        //   64
  le64 generation;                                   //   72
  le64 root;                                         //   80  root tree
  le64 chunk_root;                                   //   88
  le64 log_root;                                     //   96  0: no log
  le64 log_root_transid;                             //  104  never used; the log has generation + 1
  le64 total_bytes;                                  //  112
  le64 bytes_used;                                   //  120
  le64 root_dir_objectid;                            //  128
  le64 num_devices;                                  //  136
  le32 sectorsize;                                   //  144
  le32 nodesize;                                     //  148
  le32 leafsize;                                     //  152  unused, equals nodesize
  le32 stripesize;                                   //  156
  le32 sys_chunk_array_size;                         //  160
  le64 chunk_root_generation;                        //  164
  le64 compat_flags;                                 //  172
  le64 compat_ro_flags;                              //  180
  le64 incompat_flags;                               //  188
  le16 csum_type;                                    //  196
  uint8_t root_level;                                //  198
  uint8_t chunk_root_level;                          //  199
  uint8_t log_root_level;                            //  200
  DevItem dev_item;                                  //  201  the device this copy is on
  char label[label_size];                            //  299
  le64 cache_generation;                             //  555
  le64 uuid_tree_generation;                         //  563
  Uuid metadata_uuid;                                //  571
  le64 nr_global_roots;                              //  587
  le64 remap_root;                                   //  595
  le64 remap_root_generation;                        //  603
  uint8_t remap_root_level;                          //  611
  uint8_t reserved[199];                             //  612
  uint8_t sys_chunk_array[system_chunk_array_size];  //  811
  RootBackup super_roots[backup_root_count];         // 2859
  uint8_t padding[565];                              // 3531
};
static_assert(sizeof(Superblock) == superblock_size && Overlay<Superblock>);
static_assert(offsetof(Superblock, csum_type) == 196 && offsetof(Superblock, label) == 299);
static_assert(offsetof(Superblock, sys_chunk_array) == 811 && offsetof(Superblock, super_roots) == 2859);

namespace err {
extern const ErrorKind super_magic;  // not btrfs at all
extern const ErrorKind super_checksum;
extern const ErrorKind super_invalid;      // a field that contradicts the format
extern const ErrorKind super_unsupported;  // a feature, flag or checksum this program does not know, by name
}  // namespace err

// The checksum algorithm of csum_type, or super_unsupported.
Result<ChecksumType> checksum_type_of(uint16_t csum_type);

// Whether the stored checksum is that of the bytes after it.
bool superblock_checksum_matches(const Superblock& super, ChecksumType type);
// The fsid that headers and device items carry: metadata_uuid where that feature is on.
const Uuid& metadata_fsid(const Superblock& super);

// Whether these 4096 bytes, found at `offset` of a device, are a valid superblock: magic, checksum, then
// every field that anything else relies on, the system chunk array included. Errors name the field. Source
// of the rules: Linux fs/btrfs/disk-io.c, btrfs_validate_super().
Result<void> check_superblock(const Superblock& super, uint64_t offset);

// The system chunk array's (key, chunk) pairs, each structurally checked.
struct SystemChunk {
  uint64_t logical;
  Bytes item;  // Chunk and its stripes, borrowed from the superblock
};
// At most 18 fit. super_invalid, or what check_chunk_item() says; the place is the offset in the array.
Result<std::vector<SystemChunk>> system_chunks(const Superblock& super);

// Facts of one file system that checks of its blocks need. A plain value, fixed after opening.
struct Geometry {
  uint32_t nodesize = 0;
  uint32_t sectorsize = 0;
  ChecksumType checksum_type{};
  uint32_t checksum_size = 0;  // bytes of one checksum in the checksum tree
  uint64_t generation = 0;     // the superblock's
  uint64_t incompat = 0, compat_ro = 0, super_flags = 0;
  uint64_t total_bytes = 0;  // of all devices
  Uuid metadata_uuid{};      // what headers carry as fsid
  // What headers carry in blocks inherited from seed devices: the metadata_uuid of each seed's own
  // superblock. Empty until whoever opens the devices fills it.
  std::vector<Uuid> seed_uuids;

  bool is_own_fsid(const Uuid& fsid) const {
    return fsid == metadata_uuid || std::find(seed_uuids.begin(), seed_uuids.end(), fsid) != seed_uuids.end();
  }
  bool has(uint64_t incompat_bit) const { return (incompat & incompat_bit) != 0; }
};
// Of a superblock that passed check_superblock(), or at least has a known csum_type (otherwise CRC-32C).
Geometry geometry_of(const Superblock& super);

// Names of the bits in the order in which dump-super prints them, then "UNKNOWN_0x…" with the unknown ones.
std::span<const FlagName> incompat_table();
std::span<const FlagName> compat_ro_table();
std::span<const FlagName> super_flag_table();
std::vector<std::string> incompat_names(uint64_t bits);
std::vector<std::string> compat_ro_names(uint64_t bits);
std::vector<std::string> super_flag_names(uint64_t bits);

}  // namespace karst::btrfs
