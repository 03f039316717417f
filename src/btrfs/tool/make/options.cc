#include "btrfs/tool/make/options.h"

#include <algorithm>

#include "btrfs/extent/device_space.h"

namespace karst::btrfs {
namespace {

// clang-format off
constexpr FeatureName features[] = {
    {"mixed-bg", incompat::mixed_groups, 0, false, false, "data and metadata in the same block groups"},
    {"quota", 0, 0, true, false, "quota groups, with their numbers"},
    {"extref", incompat::extended_iref, 0, false, true, "more than 64 KiB of names of one file in a directory"},
    {"raid56", incompat::raid56, 0, false, false, "profiles raid5 and raid6"},
    {"skinny-metadata", incompat::skinny_metadata, 0, false, true, "smaller items for tree blocks"},
    {"no-holes", incompat::no_holes, 0, false, true, "no items for holes"},
    {"fst", 0, compat_ro::free_space_tree | compat_ro::free_space_tree_valid, false, true, "free space tree, as free-space-tree"},
    {"free-space-tree", 0, compat_ro::free_space_tree | compat_ro::free_space_tree_valid, false, true, "free space tree"},
    {"raid1c34", incompat::raid1c34, 0, false, false, "profiles raid1c3 and raid1c4"},
    {"block-group-tree", 0, compat_ro::block_group_tree, false, false, "block groups in a tree of their own: fast mounts"},
    {"bgt", 0, compat_ro::block_group_tree, false, false, "as block-group-tree"},
};
// clang-format on

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

Error refuse(std::string what) { return Error(karst::err::invalid, std::move(what)); }

Result<void> settle_sizes(const MakeOptions& options) {
  if (!std::has_single_bit(options.sectorsize) || options.sectorsize < min_sectorsize ||
      options.sectorsize > max_sectorsize)
    return refuse("sector size").expected("a power of two, 4096 to 65536", options.sectorsize);
  if (!std::has_single_bit(options.nodesize) || options.nodesize < options.sectorsize ||
      options.nodesize > max_nodesize)
    return refuse("node size")
        .expected(fmt::format("a power of two, {} to 65536", options.sectorsize), options.nodesize);
  if (options.mixed() && options.nodesize != options.sectorsize)
    return refuse("mixed block groups need nodes as large as sectors")
        .expected(options.sectorsize, options.nodesize);
  if (options.label.size() >= label_size ||
      options.label.find_first_of(std::string_view("\n\0", 2)) != std::string::npos)
    return refuse("label").expected(fmt::format("at most {} bytes without newlines", label_size - 1),
                                    options.label);
  return {};
}

// What Linux wants to be free in system chunks before it makes or removes a chunk: for the chunk's item and
// the item of each of its devices, two blocks for each of eight levels (fs/btrfs/block-group.c,
// reserve_chunk_space()). Where there is less it makes a further system chunk, and as that stays empty,
// removes it and so on. As much again as for one item is for blocks that stay pinned until a transaction
// ends.
uint64_t system_needed(uint32_t nodesize, uint32_t devices) {
  return uint64_t{nodesize} * 2 * 8 * (uint64_t{devices} + 2);
}

Result<void> settle_profile(const char* what, uint64_t profile, uint32_t devices) {
  uint32_t needed = devices_needed(*profile_of(profile));
  if (devices >= needed) return {};
  return refuse(fmt::format("{} profile {} needs more devices", what, profile_of(profile)->name))
      .expected(fmt::format("at least {}", needed), devices);
}

}  // namespace

std::span<const FeatureName> make_features() { return features; }

Result<void> apply_features(MakeOptions& options, std::string_view list) {
  while (!list.empty()) {
    std::string_view word = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), word.size() + 1));
    bool on = !word.starts_with('^');
    if (!on) word.remove_prefix(1);
    auto feature = std::find_if(std::begin(features), std::end(features),
                                [&](const FeatureName& known) { return known.name == word; });
    if (feature == std::end(features)) return refuse(fmt::format("unknown feature: {}", word));
    if (on) {
      options.incompat |= feature->incompat;
      options.compat_ro |= feature->compat_ro;
    } else {
      options.incompat &= ~feature->incompat;
      options.compat_ro &= ~feature->compat_ro;
    }
    if (feature->quota) options.quotas = on;
  }
  return {};
}

Result<uint64_t> parse_profile(std::string_view name) {
  for (uint64_t bit :
       {uint64_t{0}, block_group::raid0, block_group::raid1, block_group::dup, block_group::raid10,
        block_group::raid5, block_group::raid6, block_group::raid1c3, block_group::raid1c4})
    if (lower(name) == lower(profile_of(bit)->name)) return bit;
  return refuse(fmt::format("unknown profile: {}", name))
      .expected("single, dup, raid0, raid1, raid1c3, raid1c4, raid10, raid5 or raid6", name);
}

Result<ChecksumType> parse_checksum_name(std::string_view name) {
  for (ChecksumType type :
       {ChecksumType::crc32c, ChecksumType::xxhash64, ChecksumType::sha256, ChecksumType::blake2b_256})
    if (lower(name) == checksum_name(type)) return type;
  // As mkfs.btrfs and the kernel's module names have them.
  if (lower(name) == "xxhash") return ChecksumType::xxhash64;
  if (lower(name) == "blake2") return ChecksumType::blake2b_256;
  return refuse(fmt::format("unknown checksum: {}", name)).expected("crc32c, xxhash, sha256 or blake2", name);
}

Result<void> settle_options(MakeOptions& options, uint32_t devices, uint64_t total_bytes) {
  if (options.mixed() && !options.data_profile) options.data_profile = options.metadata_profile;
  if (!options.data_profile) options.data_profile = 0;
  if (!options.metadata_profile)
    options.metadata_profile = options.mixed() ? *options.data_profile
                               : devices > 1   ? block_group::raid1
                                               : block_group::dup;
  if (options.mixed() && options.data_profile != options.metadata_profile)
    return refuse("mixed block groups need the same profile for data and metadata")
        .expected(profile_of(*options.metadata_profile)->name, profile_of(*options.data_profile)->name);
  TRY(settle_sizes(options));
  TRY(settle_profile("data", *options.data_profile, devices));
  TRY(settle_profile("metadata", *options.metadata_profile, devices));

  const uint64_t profiles = *options.data_profile | *options.metadata_profile;
  if (profiles & (block_group::raid5 | block_group::raid6)) options.incompat |= incompat::raid56;
  if (profiles & (block_group::raid1c3 | block_group::raid1c4)) options.incompat |= incompat::raid1c34;
  if (options.nodesize > 4096) options.incompat |= incompat::big_metadata;
  if ((options.compat_ro & compat_ro::block_group_tree) &&
      (!(options.compat_ro & compat_ro::free_space_tree) || !options.has(incompat::no_holes)))
    return refuse("feature block-group-tree needs free-space-tree and no-holes");
  options.system_least = std::max(options.system_least, system_needed(options.nodesize, devices));
  if (options.metadata_least == 0) {
    const uint64_t most = total_bytes > uint64_t{50} << 30 ? uint64_t{1} << 30 : uint64_t{256} << 20;
    options.metadata_least = std::clamp<uint64_t>(total_bytes / 20, 8 << 20, most);
  }
  return {};
}

}  // namespace karst::btrfs
