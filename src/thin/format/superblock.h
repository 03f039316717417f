// Block 0 of the metadata device, and what it leads to.
//
//   superblock ─► data mapping tree: device id ─► tree of that device: virtual block ─► data block, time
//              ─► device details tree: device id ─► DeviceDetails
//              ─► metadata space map: index block ─► bitmaps, and a tree of the counts above 2
//              ─► data space map: tree of index entries ─► bitmaps, and a tree of the counts above 2
//              ─► held root: a copy of the superblock for readers, or 0
//
// Source: Linux drivers/md/dm-thin-metadata.c, struct thin_disk_superblock, struct disk_device_details.
#pragma once
#include <array>
#include <cstdint>

#include "core/bytes.h"
#include "core/endian.h"
#include "core/result.h"
#include "thin/format/ids.h"
#include "thin/format/space_map.h"

namespace karst::thin {

constexpr MetadataBlock superblock_at{0};
constexpr uint64_t superblock_magic = 27022010;
constexpr uint32_t superblock_version = 2;      // what the kernel writes
constexpr uint32_t superblock_version_min = 1;  // what it reads, up to its own
constexpr uint32_t needs_check_flag = 1u << 0;  // in flags

struct Superblock {
  le32 csum;
  le32 flags;
  le64 blocknr;
  std::array<uint8_t, 16> uuid;
  le64 magic;
  le32 version;
  le32 time;      // counts snapshots; mappings carry its low 24 bits
  le64 trans_id;  // of the user's, compared and set by messages
  le64 held_root;
  std::array<std::byte, 128> data_space_map_root;      // a SpaceMapRoot and zeroes
  std::array<std::byte, 128> metadata_space_map_root;  // likewise
  le64 data_mapping_root;
  le64 device_details_root;
  le32 data_block_size;      // sectors
  le32 metadata_block_size;  // sectors
  le64 metadata_nr_blocks;
  le32 compat_flags;
  le32 compat_ro_flags;
  le32 incompat_flags;

  bool needs_check() const { return (flags & needs_check_flag) != 0; }
  SpaceMapRoot data_space_map() const;
  SpaceMapRoot metadata_space_map() const;
  void set_data_space_map(const SpaceMapRoot& root);
  void set_metadata_space_map(const SpaceMapRoot& root);
};
static_assert(offsetof(Superblock, magic) == 32 && offsetof(Superblock, held_root) == 56);
static_assert(offsetof(Superblock, data_space_map_root) == 64 &&
              offsetof(Superblock, data_mapping_root) == 320);
static_assert(sizeof(Superblock) == 364 && alignof(Superblock) == 1);

// Magic, version, sizes, unknown features: what can be said of the block without another. Its checksum is
// check_seal()'s. An unknown compat_ro feature is refused for writing only.
enum class Opening : uint8_t { for_reading, for_writing };
Result<void> check_superblock(const Superblock& super, Opening opening);

// The one in a buffer of at least its size.
inline Superblock& superblock_in(MutableBytes block) { return *reinterpret_cast<Superblock*>(block.data()); }

// A leaf's value in the device details tree.
struct DeviceDetails {
  le64 mapped_blocks;
  le64 transaction_id;  // of the pool, when the device was made
  le32 creation_time;
  le32 snapshotted_time;  // what was mapped before this is shared
};
static_assert(sizeof(DeviceDetails) == 24 && alignof(DeviceDetails) == 1);

// Where a virtual block is, and when it was mapped: a leaf's value in a device's tree. 40 bits of data block,
// 24 of time.
struct Mapping {
  DataBlock block{};
  uint32_t time = 0;

  static constexpr uint32_t time_mask = (1u << 24) - 1;
  static constexpr Mapping unpack(uint64_t packed) {
    return {DataBlock{packed >> 24}, static_cast<uint32_t>(packed) & time_mask};
  }
  constexpr uint64_t pack() const { return raw(block) << 24 | (time & time_mask); }
  bool operator==(const Mapping&) const = default;
};

}  // namespace karst::thin
