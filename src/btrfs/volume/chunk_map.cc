#include "btrfs/volume/chunk_map.h"

#include <algorithm>

namespace karst::btrfs {
namespace err {
const ErrorKind chunk_missing{"chunk-missing", &karst::err::corrupt, EIO};
const ErrorKind chunk_overlap{"chunk-overlap", &karst::err::corrupt, EUCLEAN};
}  // namespace err

uint32_t ChunkEntry::data_stripes() const {
  auto count = static_cast<uint32_t>(stripes.size());
  if (is_parity()) return count - profile->parity;
  if (profile->flag == block_group::raid10) return count / sub_stripes;
  if (profile->flag == block_group::raid0) return count;
  return 1;
}

int ChunkEntry::copies() const {
  // raid5: the data, or everything else xored. raid6: also with P, or any other data stripe, taken as lost.
  if (profile->parity == 1) return 2;
  if (profile->parity == 2) return static_cast<int>(stripes.size());
  if (profile->flag == block_group::raid10) return sub_stripes;
  if (profile->flag == block_group::raid0) return 1;
  return static_cast<int>(stripes.size());
}

uint64_t ChunkEntry::stripe_size() const { return length / data_stripes(); }

StripeRun map_run(const ChunkEntry& chunk, uint64_t address, uint64_t length, int copy) {
  uint64_t offset = address - chunk.logical;
  length = std::min(length, chunk.length - offset);
  uint32_t width = chunk.data_stripes();
  if (width == 1 && !chunk.is_parity()) {
    auto stripe = static_cast<uint32_t>(copy);
    return {stripe, chunk.stripes[stripe].offset + offset, length, 0, 0};
  }
  uint64_t number = offset / stripe_length;
  uint64_t within = offset % stripe_length;
  uint64_t row = number / width;
  auto index = static_cast<uint32_t>(number % width);
  uint32_t stripe = index;
  if (chunk.is_parity()) stripe = row_stripe(chunk, row, index);
  if (chunk.profile->flag == block_group::raid10)
    stripe = index * chunk.sub_stripes + static_cast<uint32_t>(copy);
  return {stripe, row_offset(chunk, stripe, row) + within, std::min(length, stripe_length - within), row,
          index};
}

uint32_t row_stripe(const ChunkEntry& chunk, uint64_t row, uint32_t k) {
  return static_cast<uint32_t>((row + k) % chunk.stripes.size());
}

uint64_t row_offset(const ChunkEntry& chunk, uint32_t stripe, uint64_t row) {
  return chunk.stripes[stripe].offset + row * stripe_length;
}

Result<void> ChunkMap::add(uint64_t logical, Bytes item) {
  const auto& disk = *overlay<Chunk>(item);
  ChunkEntry entry{logical, disk.length, disk.type, profile_of(disk.type), disk.sub_stripes, {}};
  entry.stripes.reserve(disk.num_stripes);
  for (uint32_t i = 0; i < disk.num_stripes; ++i) {
    const auto& stripe = *overlay<Stripe>(item, sizeof(Chunk) + i * sizeof(Stripe));
    entry.stripes.push_back({stripe.devid, stripe.offset, stripe.dev_uuid});
  }
  auto at = std::lower_bound(chunks_.begin(), chunks_.end(), logical,
                             [](const ChunkEntry& a, uint64_t b) { return a.logical < b; });
  if (at != chunks_.end() && at->logical == logical && at->length == entry.length) {
    *at = std::move(entry);
    return {};
  }
  bool overlaps_next = at != chunks_.end() && at->logical - logical < entry.length;
  bool overlaps_previous = at != chunks_.begin() && std::prev(at)->contains(logical);
  if (overlaps_next || overlaps_previous)
    return Error(err::chunk_overlap, "chunk overlaps another")
        .at("logical", logical)
        .at("length", entry.length);
  chunks_.insert(at, std::move(entry));
  return {};
}

Result<const ChunkEntry*> ChunkMap::find(uint64_t address) const {
  auto after = std::upper_bound(chunks_.begin(), chunks_.end(), address,
                                [](uint64_t a, const ChunkEntry& b) { return a < b.logical; });
  if (after == chunks_.begin() || !std::prev(after)->contains(address))
    return Error(err::chunk_missing, "no chunk maps this address").at("logical", address);
  return &*std::prev(after);
}

}  // namespace karst::btrfs
