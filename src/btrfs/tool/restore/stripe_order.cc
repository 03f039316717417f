#include "btrfs/tool/restore/stripe_order.h"

#include <algorithm>

#include "btrfs/tool/restore/block_scan.h"

namespace karst::btrfs {
namespace {

constexpr uint32_t enough_votes = 4;     // for one place of an extent: stale blocks tell of other chunks
constexpr size_t samples_max = 1 << 14;  // sectors that are compared with their checksums

// The rows of stripes of the chunk, and the votes for the places in them.
class StripeVotes {
 public:
  static Result<StripeVotes> create(const UnorderedChunk& chunk) {
    const Profile* profile = profile_of(chunk.flags);
    const uint64_t width = chunk.extent_length == 0 ? 0 : chunk.length / chunk.extent_length;
    if (!profile || width == 0 || width * chunk.extent_length != chunk.length)
      return Error(karst::err::corrupt, "device extents do not fit the block group");
    // Stripes with the same data are one place.
    const uint64_t places = width + profile->parity, room = std::max<uint64_t>(profile->sub_stripes, 1);
    if (chunk.extents.empty() || chunk.extents.size() > places * room)
      return Error(karst::err::corrupt, "too many or no device extents")
          .expected(fmt::format("at most {}", places * room), chunk.extents.size());
    return StripeVotes(chunk, static_cast<uint32_t>(width), places, room);
  }

  struct Position {
    uint64_t row;
    size_t place;
  };
  Position position_of(uint64_t logical) const {
    const uint64_t number = (logical - chunk_.logical) / stripe_length;
    const uint64_t row = number / width_, index = number % width_;
    // The places of parity turn from row to row.
    return {row, places_ == width_ ? index : (row + index) % places_};
  }
  void vote(size_t extent, uint64_t logical) { ++votes_[extent][position_of(logical).place]; }
  bool has_enough() const {
    return std::all_of(votes_.begin(), votes_.end(), [](const auto& places) {
      return *std::max_element(places.begin(), places.end()) >= enough_votes;
    });
  }
  size_t room() const { return room_; }
  // All places have the same bytes.
  bool any_order() const { return width_ == 1; }

  Result<std::vector<Stripe>> decide() const {
    struct Choice {
      uint32_t votes;
      size_t extent, place;
    };
    std::vector<Choice> choices;
    for (size_t extent = 0; extent < votes_.size(); ++extent)
      for (size_t place = 0; place < places_; ++place)
        if (votes_[extent][place] > 0) choices.push_back({votes_[extent][place], extent, place});
    std::stable_sort(choices.begin(), choices.end(),
                     [](const Choice& a, const Choice& b) { return a.votes > b.votes; });
    std::vector<std::vector<size_t>> at(places_);
    std::vector<bool> placed(votes_.size());
    for (const Choice& choice : choices) {
      if (placed[choice.extent] || at[choice.place].size() == room_) continue;
      at[choice.place].push_back(choice.extent);
      placed[choice.extent] = true;
    }
    TRY(place_the_rest(at, placed));
    std::vector<Stripe> stripes;
    for (const auto& extents : at) {
      for (size_t extent : extents) stripes.push_back(chunk_.extents[extent]);
      stripes.resize(stripes.size() + room_ - extents.size(), absent_stripe);
    }
    return stripes;
  }

 private:
  StripeVotes(const UnorderedChunk& chunk, uint32_t width, uint64_t places, uint64_t room)
      : chunk_(chunk),
        width_(width),
        places_(places),
        room_(room),
        votes_(chunk.extents.size(), std::vector<uint32_t>(places)) {}

  Result<void> place_the_rest(std::vector<std::vector<size_t>>& at, const std::vector<bool>& placed) const {
    std::vector<size_t> rest, open;
    for (size_t extent = 0; extent < placed.size(); ++extent)
      if (!placed[extent]) rest.push_back(extent);
    for (size_t place = 0; place < places_; ++place)
      if (at[place].size() < room_) open.push_back(place);
    if (rest.empty()) return {};
    if (open.size() > 1 && !any_order())
      return Error(karst::err::not_found,
                   "too little is left on the devices to tell the order of the stripes")
          .at("devices without a place", rest.size());
    for (size_t extent : rest) {
      while (at[open.front()].size() == room_) open.erase(open.begin());
      at[open.front()].push_back(extent);
    }
    return {};
  }

  const UnorderedChunk& chunk_;
  uint32_t width_;
  size_t places_, room_;
  std::vector<std::vector<uint32_t>> votes_;  // by extent and place
};

Result<void> read_extent(const Volume& volume, const Stripe& extent, uint64_t offset, MutableBytes bytes) {
  const MemberDevice* member = volume.member(extent.devid);
  if (!member) return Error(err::device_missing, "device is missing").at("devid", extent.devid.value());
  return member->device->read(extent.offset + offset, bytes);
}

}  // namespace

Result<std::vector<Stripe>> order_by_tree_blocks(const Volume& volume, const UnorderedChunk& chunk) {
  auto votes = TRY(StripeVotes::create(chunk));
  std::vector<std::byte> stripe(stripe_length);
  for (uint64_t row = 0; row < chunk.extent_length / stripe_length && !votes.has_enough(); ++row) {
    for (size_t extent = 0; extent < chunk.extents.size(); ++extent) {
      if (!read_extent(volume, chunk.extents[extent], row * stripe_length, stripe)) continue;
      TRY(visit_blocks(stripe, stripe.size(), volume.geometry(), [&](const TreeBlock& block) -> Result<void> {
        const uint64_t offset = block.bytenr() - chunk.logical;
        if (block.bytenr() < chunk.logical || offset >= chunk.length) return {};
        if (votes.position_of(block.bytenr()).row == row) votes.vote(extent, block.bytenr());
        return {};
      }));
    }
  }
  return votes.decide();
}

Result<std::vector<Stripe>> order_by_checksums(const Volume& volume, const UnorderedChunk& chunk,
                                               Cursor& checksums) {
  auto votes = TRY(StripeVotes::create(chunk));
  const Geometry& geometry = volume.geometry();
  const uint64_t sector = geometry.sectorsize, size = geometry.checksum_size;
  std::vector<std::byte> bytes(sector);
  std::array<std::byte, 32> computed;
  const auto sum = std::span(computed).first(size);

  // The extents that have at this address what the checksum is of.
  auto look_at = [&](uint64_t logical, Bytes expected) {
    const uint64_t row = votes.position_of(logical).row;
    std::vector<size_t> matching;
    for (size_t extent = 0; extent < chunk.extents.size(); ++extent) {
      const uint64_t offset = row * stripe_length + (logical - chunk.logical) % stripe_length;
      if (!read_extent(volume, chunk.extents[extent], offset, bytes)) continue;
      compute_checksums(geometry.checksum_type, bytes, sector, sum);
      if (std::equal(sum.begin(), sum.end(), expected.begin())) matching.push_back(extent);
    }
    if (matching.size() > votes.room()) return;  // such bytes are in many places
    for (size_t extent : matching) votes.vote(extent, logical);
  };

  size_t samples = 0;
  uint64_t next = chunk.logical;  // one sector of each stripe is enough
  auto at = checksums.seek_back({id::extent_csum, ItemType::extent_csum, chunk.logical});
  if (!at || !*at) at = checksums.seek({id::extent_csum, ItemType::extent_csum, chunk.logical});
  for (; at && *at && samples < samples_max && !votes.has_enough(); at = checksums.next()) {
    const Key key = checksums.key();
    if (key.type != ItemType::extent_csum || key.offset >= chunk.logical + chunk.length) {
      if (key > Key{id::extent_csum, ItemType::extent_csum, chunk.logical}) break;
      continue;
    }
    const Bytes sums = checksums.data();
    const uint64_t end = std::min(key.offset + sums.size() / size * sector, chunk.logical + chunk.length);
    for (next = std::max(next, key.offset); next < end;
         next = (next / stripe_length + 1) * stripe_length, ++samples)
      look_at(next, sums.subspan((next - key.offset) / sector * size, size));
  }
  return votes.decide();
}

}  // namespace karst::btrfs
