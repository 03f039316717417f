#include "btrfs/format/superblock.h"

#include "btrfs/format/check.h"

namespace karst::btrfs {
namespace err {
const ErrorKind super_magic{"super-magic", &karst::err::corrupt, EINVAL};
const ErrorKind super_checksum{"super-checksum", &karst::err::checksum, EIO};
const ErrorKind super_invalid{"super-invalid", &karst::err::corrupt, EUCLEAN};
const ErrorKind super_unsupported{"super-unsupported", &karst::err::unsupported, EOPNOTSUPP};
}  // namespace err

namespace {

constexpr FlagName incompat_names_table[] = {
    {incompat::mixed_backref, "MIXED_BACKREF"},
    {incompat::default_subvol, "DEFAULT_SUBVOL"},
    {incompat::mixed_groups, "MIXED_GROUPS"},
    {incompat::compress_lzo, "COMPRESS_LZO"},
    {incompat::compress_zstd, "COMPRESS_ZSTD"},
    {incompat::big_metadata, "BIG_METADATA"},
    {incompat::extended_iref, "EXTENDED_IREF"},
    {incompat::raid56, "RAID56"},
    {incompat::skinny_metadata, "SKINNY_METADATA"},
    {incompat::no_holes, "NO_HOLES"},
    {incompat::metadata_uuid, "METADATA_UUID"},
    {incompat::raid1c34, "RAID1C34"},
    {incompat::zoned, "ZONED"},
    {incompat::extent_tree_v2, "EXTENT_TREE_V2"},
    {incompat::raid_stripe_tree, "RAID_STRIPE_TREE"},
    {incompat::simple_quota, "SIMPLE_QUOTA"},
    {incompat::remap_tree, "REMAP_TREE"},
};

constexpr FlagName compat_ro_names_table[] = {
    {compat_ro::free_space_tree, "FREE_SPACE_TREE"},
    {compat_ro::free_space_tree_valid, "FREE_SPACE_TREE_VALID"},
    {compat_ro::verity, "VERITY"},
    {compat_ro::block_group_tree, "BLOCK_GROUP_TREE"},
};

constexpr FlagName super_flag_names_table[] = {
    {super_flag::written, "WRITTEN"},
    {super_flag::reloc, "RELOC"},
    {super_flag::error, "ERROR"},
    {super_flag::changing_fsid, "CHANGING_FSID"},
    {super_flag::changing_fsid_v2, "CHANGING_FSID_V2"},
    {super_flag::seeding, "SEEDING"},
    {super_flag::metadump, "METADUMP"},
    {super_flag::metadump_v2, "METADUMP_V2"},
    {super_flag::changing_bg_tree, "CHANGING_BG_TREE"},
    {super_flag::changing_data_csum, "CHANGING_DATA_CSUM"},
    {super_flag::changing_meta_csum, "CHANGING_META_CSUM"},
};

template <typename E, typename F>
Error invalid(const char* field, std::string what, const E& expected, const F& found) {
  return Error(err::super_invalid, std::move(what)).expected(expected, found).at("field", field);
}

Result<void> check_features(const Superblock& super) {
  if (uint64_t unknown = super.incompat_flags & ~incompat::supported)
    return Error::make(err::super_unsupported, "feature not supported: {}",
                       fmt::join(incompat_names(unknown), ", "))
        .at("field", "incompat_flags");
  if (uint64_t unknown = super.flags & ~super_flag::supported)
    return Error::make(err::super_unsupported, "superblock flag not supported: {}",
                       fmt::join(super_flag_names(unknown), ", "))
        .at("field", "flags");
  return {};
}

Result<void> check_sizes(const Superblock& super) {
  uint32_t sectorsize = super.sectorsize, nodesize = super.nodesize, stripesize = super.stripesize;
  if (!std::has_single_bit(sectorsize) || sectorsize < min_sectorsize || sectorsize > max_sectorsize)
    return invalid("sectorsize", "invalid sector size", "a power of two, 4096 to 65536", sectorsize);
  if (!std::has_single_bit(nodesize) || nodesize < sectorsize || nodesize > max_nodesize)
    return invalid("nodesize", "invalid node size", fmt::format("a power of two, {} to 65536", sectorsize),
                   nodesize);
  if (super.leafsize != nodesize)
    return invalid("leafsize", "leaf size differs from node size", nodesize, super.leafsize);
  if (!std::has_single_bit(stripesize))
    return invalid("stripesize", "invalid stripe size", "a power of two", stripesize);
  if ((super.incompat_flags & incompat::mixed_groups) && nodesize != sectorsize)
    return invalid("nodesize", "mixed block groups with a node size other than the sector size", sectorsize,
                   nodesize);
  return {};
}

Result<void> check_root(const Superblock& super, const char* name, uint64_t bytenr, uint8_t level) {
  if (level >= max_level) return invalid(name, "level too big", "0 to 7", level);
  if (bytenr % super.sectorsize != 0)
    return invalid(name, "root block not aligned", fmt::format("a multiple of {}", super.sectorsize), bytenr);
  return {};
}

Result<void> check_counts(const Superblock& super) {
  if (super.total_bytes == 0) return invalid("total_bytes", "no size", "more than 0", 0);
  if (super.bytes_used < uint64_t{6} * super.nodesize)
    return invalid("bytes_used", "fewer bytes used than an empty file system has",
                   fmt::format("at least {}", uint64_t{6} * super.nodesize), super.bytes_used);
  if (super.num_devices == 0) return invalid("num_devices", "no device", "more than 0", 0);
  uint32_t array = super.sys_chunk_array_size;
  if (array > system_chunk_array_size || array < sizeof(DiskKey) + sizeof(Chunk) + sizeof(Stripe))
    return invalid(
        "sys_chunk_array_size", "invalid size of the system chunk array",
        fmt::format("{} to {}", sizeof(DiskKey) + sizeof(Chunk) + sizeof(Stripe), system_chunk_array_size),
        array);
  return {};
}

// The block group tree was introduced together with these two.
Result<void> check_block_group_tree(const Superblock& super) {
  if (!(super.compat_ro_flags & compat_ro::block_group_tree)) return {};
  constexpr uint64_t needed = compat_ro::free_space_tree | compat_ro::free_space_tree_valid;
  if ((super.compat_ro_flags & needed) == needed && (super.incompat_flags & incompat::no_holes)) return {};
  return invalid("compat_ro_flags", "block group tree without free space tree and no-holes",
                 "FREE_SPACE_TREE, FREE_SPACE_TREE_VALID and NO_HOLES",
                 fmt::format("compat_ro_flags 0x{:x}, incompat_flags 0x{:x}", super.compat_ro_flags.value(),
                             super.incompat_flags.value()));
}

Result<void> check_checksum(const Superblock& super) {
  ChecksumType type = TRY(checksum_type_of(super.csum_type));
  if (superblock_checksum_matches(super, type)) return {};
  Checksum found;
  std::memcpy(&found, super.checksum, sizeof found);
  Checksum computed = compute_checksum(type, bytes_of(super).subspan(checksum_field_size));
  return Error(err::super_checksum, "superblock checksum mismatch")
      .expected(computed.text(type), found.text(type));
}

}  // namespace

Result<ChecksumType> checksum_type_of(uint16_t csum_type) {
  switch (csum_type) {
    case 0: return ChecksumType::crc32c;
    case 1: return ChecksumType::xxhash64;
    case 2: return ChecksumType::sha256;
    case 3: return ChecksumType::blake2b_256;
    default:
      return Error::make(err::super_unsupported, "checksum algorithm not supported: {}", csum_type)
          .at("field", "csum_type");
  }
}

bool superblock_checksum_matches(const Superblock& super, ChecksumType type) {
  Checksum computed = compute_checksum(type, bytes_of(super).subspan(checksum_field_size));
  return std::memcmp(computed.bytes.data(), super.checksum, checksum_size(type)) == 0;
}

const Uuid& metadata_fsid(const Superblock& super) {
  return (super.incompat_flags & incompat::metadata_uuid) ? super.metadata_uuid : super.fsid;
}

Result<void> check_superblock(const Superblock& super, uint64_t offset) {
  if (super.magic != superblock_magic)
    return Error(err::super_magic, "no btrfs superblock here")
        .expected(fmt::format("magic 0x{:016x}", superblock_magic),
                  fmt::format("0x{:016x}", super.magic.value()))
        .at("offset", offset);
  auto checked = [&]() -> Result<void> {
    TRY(check_checksum(super));
    TRY(check_features(super));
    TRY(check_sizes(super));
    if (super.bytenr != offset) return invalid("bytenr", "superblock of another place", offset, super.bytenr);
    TRY(check_root(super, "root", super.root, super.root_level));
    TRY(check_root(super, "chunk_root", super.chunk_root, super.chunk_root_level));
    TRY(check_root(super, "log_root", super.log_root, super.log_root_level));
    TRY(check_counts(super));
    TRY(check_block_group_tree(super));
    if (super.dev_item.fsid != metadata_fsid(super))
      return invalid("dev_item.fsid", "device item of another file system", metadata_fsid(super),
                     super.dev_item.fsid);
    TRY(system_chunks(super));
    return {};
  }();
  if (!checked) return std::move(checked).error().at("offset", offset);
  return {};
}

Result<std::vector<SystemChunk>> system_chunks(const Superblock& super) {
  TRY(check_sizes(super));  // chunks are measured in sectors
  const Geometry geometry = geometry_of(super);
  Bytes array = std::as_bytes(std::span(super.sys_chunk_array));
  if (super.sys_chunk_array_size > array.size())
    return invalid("sys_chunk_array_size", "system chunk array too big", array.size(),
                   super.sys_chunk_array_size);
  array = array.first(super.sys_chunk_array_size);

  std::vector<SystemChunk> chunks;
  for (uint64_t at = 0; at < array.size();) {
    auto bad = [&](const char* what) {
      return Error(err::super_invalid, what).at("field", "sys_chunk_array").at("array offset", at);
    };
    const auto* key = overlay<DiskKey>(array, at);
    const auto* chunk = overlay<Chunk>(array, at + sizeof(DiskKey));
    if (!key || !chunk) return bad("system chunk array ends inside an entry");
    if (ItemType(key->type) != ItemType::chunk_item || key->objectid != id::first_chunk_tree)
      return bad("system chunk array holds something other than a chunk")
          .expected("key (FIRST_CHUNK_TREE CHUNK_ITEM …)", key->key());
    uint64_t size = sizeof(Chunk) + uint64_t{chunk->num_stripes} * sizeof(Stripe);
    auto item = slice(array, at + sizeof(DiskKey), size);
    if (!item) return bad("system chunk array ends inside a chunk's stripes");
    auto checked = check_chunk_item(*item, key->offset, geometry);
    if (!checked) return std::move(checked).error().at("field", "sys_chunk_array").at("array offset", at);
    if (!(chunk->type & block_group::system))
      return bad("chunk in the system chunk array is not of type SYSTEM")
          .expected("SYSTEM", block_group_flags_text(chunk->type));
    chunks.push_back({key->offset, *item});
    at += sizeof(DiskKey) + size;
  }
  return chunks;
}

Geometry geometry_of(const Superblock& super) {
  Geometry geometry;
  geometry.nodesize = super.nodesize;
  geometry.sectorsize = super.sectorsize;
  geometry.checksum_type = checksum_type_of(super.csum_type).value_or(ChecksumType::crc32c);
  geometry.checksum_size = static_cast<uint32_t>(checksum_size(geometry.checksum_type));
  geometry.generation = super.generation;
  geometry.incompat = super.incompat_flags;
  geometry.compat_ro = super.compat_ro_flags;
  geometry.super_flags = super.flags;
  geometry.total_bytes = super.total_bytes;
  geometry.metadata_uuid = metadata_fsid(super);
  return geometry;
}

std::span<const FlagName> incompat_table() { return incompat_names_table; }
std::span<const FlagName> compat_ro_table() { return compat_ro_names_table; }
std::span<const FlagName> super_flag_table() { return super_flag_names_table; }
std::vector<std::string> incompat_names(uint64_t bits) { return flag_names(incompat_names_table, bits); }
std::vector<std::string> compat_ro_names(uint64_t bits) { return flag_names(compat_ro_names_table, bits); }
std::vector<std::string> super_flag_names(uint64_t bits) { return flag_names(super_flag_names_table, bits); }

}  // namespace karst::btrfs
