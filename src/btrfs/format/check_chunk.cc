#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_chunk{"item-chunk", &item_invalid, EUCLEAN};
}  // namespace err

namespace {

template <typename E, typename F>
[[gnu::cold]] Error invalid(uint64_t logical, const char* what, const E& expected, const F& found) {
  return Error(err::item_chunk, what).expected(expected, found).at("chunk", logical);
}

// The highest length: the kernel counts a chunk's stripes of 64 KiB in 32 bits.
constexpr uint64_t chunk_length_limit = uint64_t{UINT32_MAX} * stripe_length;

Result<void> check_type(const Chunk& chunk, uint64_t logical, const Geometry& geometry) {
  uint64_t type = chunk.type;
  uint64_t kinds = type & block_group::type_mask;
  if (type & ~(block_group::type_mask | block_group::profile_mask))
    return invalid(logical, "unknown chunk type", "known bits only", fmt::format("0x{:x}", type));
  if (kinds == 0)
    return invalid(logical, "chunk without a type", "DATA, METADATA or SYSTEM", fmt::format("0x{:x}", type));
  if ((kinds & block_group::system) && kinds != block_group::system)
    return invalid(logical, "system chunk of another type too", "SYSTEM", block_group_flags_text(type));
  if (kinds == (block_group::data | block_group::metadata) && !geometry.has(incompat::mixed_groups))
    return invalid(logical, "chunk of mixed type without mixed block groups", "DATA or METADATA",
                   block_group_flags_text(type));
  return {};
}

Result<void> check_stripe_count(const Chunk& chunk, uint64_t logical) {
  const Profile* profile = profile_of(chunk.type);
  if (!profile)
    return invalid(logical, "chunk of several profiles", "at most one profile",
                   block_group_flags_text(chunk.type));
  uint16_t count = chunk.num_stripes;
  if (profile->exact_stripes != 0 && count != profile->exact_stripes)
    return invalid(logical, "wrong number of stripes for the profile", profile->exact_stripes, count);
  if (count < profile->min_stripes)
    return invalid(logical, "too few stripes for the profile",
                   fmt::format("at least {}", profile->min_stripes), count);
  if (profile->sub_stripes > 1) {
    if (chunk.sub_stripes != profile->sub_stripes)
      return invalid(logical, "wrong number of sub-stripes for the profile", profile->sub_stripes,
                     chunk.sub_stripes);
    if (count % profile->sub_stripes != 0)
      return invalid(logical, "stripes do not form pairs",
                     fmt::format("a multiple of {}", profile->sub_stripes), count);
  }
  return {};
}

}  // namespace

Result<void> check_chunk_item(Bytes item, uint64_t logical, const Geometry& geometry) {
  const auto* chunk = overlay<Chunk>(item);
  if (!chunk) return invalid(logical, "chunk item too small", sizeof(Chunk), item.size());
  uint64_t size = sizeof(Chunk) + uint64_t{chunk->num_stripes} * sizeof(Stripe);
  if (chunk->num_stripes == 0) return invalid(logical, "chunk without stripes", "at least 1", 0);
  if (item.size() != size) return invalid(logical, "chunk item of the wrong size", size, item.size());
  uint64_t length = chunk->length;
  if (logical % geometry.sectorsize != 0)
    return invalid(logical, "chunk not aligned", fmt::format("a multiple of {}", geometry.sectorsize),
                   logical);
  if (chunk->sector_size != geometry.sectorsize)
    return invalid(logical, "chunk of another sector size", geometry.sectorsize, chunk->sector_size);
  if (length == 0 || length % geometry.sectorsize != 0 || length >= chunk_length_limit)
    return invalid(logical, "invalid chunk length",
                   fmt::format("a multiple of {} below {}", geometry.sectorsize, chunk_length_limit), length);
  if (length > UINT64_MAX - logical)
    return invalid(logical, "chunk reaches past the end of the address space",
                   fmt::format("at most {}", UINT64_MAX - logical), length);
  if (chunk->stripe_len != stripe_length)
    return invalid(logical, "invalid stripe length", stripe_length, chunk->stripe_len);
  TRY(check_type(*chunk, logical, geometry));
  TRY(check_stripe_count(*chunk, logical));
  for (uint16_t i = 0; i < chunk->num_stripes; ++i) {
    const auto* stripe = overlay<Stripe>(item, sizeof(Chunk) + i * sizeof(Stripe));
    if (stripe->offset > UINT64_MAX - length)
      return invalid(logical, "stripe reaches past the end of the address space",
                     fmt::format("at most {}", UINT64_MAX - length), stripe->offset);
  }
  return {};
}

Result<void> check_chunk_tree_item(const ItemView& item, LeafCheck&) {
  if (item.key.objectid != id::first_chunk_tree) [[unlikely]]
    return invalid_item(err::item_chunk, item, "chunk under another object", id::first_chunk_tree,
                        item.key.objectid);
  auto checked = check_chunk_item(item.data, item.key.offset, item.geometry);
  if (!checked) [[unlikely]]
    return std::move(checked).error().at("slot", item.slot).at("key", item.key);
  return {};
}

}  // namespace karst::btrfs
