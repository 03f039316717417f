// What a new file system is to be like.
#pragma once
#include <optional>
#include <string>

#include "btrfs/format/superblock.h"

namespace karst::btrfs {

struct MakeOptions {
  std::string label;
  std::optional<Uuid> fsid;         // default: from the seed, or random
  std::optional<Uuid> device_uuid;  // of the first device
  uint32_t nodesize = 16384;
  uint32_t sectorsize = 4096;
  ChecksumType checksum = ChecksumType::crc32c;
  // Profile bits of block_group; unset: single data, dup metadata on one device and raid1 on several; both
  // single in mixed block groups.
  std::optional<uint64_t> data_profile, metadata_profile;
  uint64_t incompat =
      incompat::mixed_backref | incompat::extended_iref | incompat::skinny_metadata | incompat::no_holes;
  uint64_t compat_ro = compat_ro::free_space_tree | compat_ro::free_space_tree_valid;
  bool quotas = false;  // with the numbers of what is made

  std::optional<std::string> seed;  // UUIDs are made from it
  int64_t time = 0;                 // seconds; of roots and of the directories nobody gave

  // The least that chunks of each type have in all; what the content needs comes on top.
  uint64_t system_least = 8 << 20;  // more if Linux would not be content with that
  uint64_t metadata_least = 0;      // 0: a twentieth of the devices, 8 MiB … 256 MiB, or 1 GiB above 50 GiB
  uint64_t data_least = 8 << 20;
  uint64_t metadata_spare = 0;  // free bytes in metadata chunks beyond what the content needs

  bool discard = true;  // all of the devices, before they are written

  std::string temporary_directory = "/var/tmp";
  uint64_t memory = 64 << 20;  // of tree blocks, before they go to a temporary file

  bool has(uint64_t incompat_bit) const { return (incompat & incompat_bit) != 0; }
  bool mixed() const { return has(incompat::mixed_groups); }
};

// Fills in what is left to us and refuses what cannot be: err::invalid and err::unsupported name the option
// and why. Bits that profiles and sizes imply are set.
Result<void> settle_options(MakeOptions& options, uint32_t devices, uint64_t total_bytes);

// The names that -O takes, mkfs.btrfs's: "no-holes", "block-group-tree", "quota" …
struct FeatureName {
  const char* name;
  uint64_t incompat, compat_ro;
  bool quota;
  bool on_by_default;
  const char* description;
};
std::span<const FeatureName> make_features();
// Applies "name,^name,…"; err::invalid names what is unknown.
Result<void> apply_features(MakeOptions& options, std::string_view list);

// "single", "raid1c3" …, in any case, to the profile bits.
Result<uint64_t> parse_profile(std::string_view name);
Result<ChecksumType> parse_checksum_name(std::string_view name);

}  // namespace karst::btrfs
