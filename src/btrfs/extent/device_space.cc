#include "btrfs/extent/device_space.h"

#include <numeric>

#include "core/assert.h"

namespace karst::btrfs {
namespace {

// Holes are not filled with shorter stripes than that while there is other room.
constexpr uint64_t shortest_wanted = 4 << 20;

constexpr uint64_t round_down(uint64_t bytes) { return bytes / stripe_length * stripe_length; }
constexpr uint64_t round_up(uint64_t bytes) { return round_down(bytes + stripe_length - 1); }

}  // namespace

uint32_t devices_needed(const Profile& profile) {
  switch (profile.flag) {
    case 0:
    case block_group::dup: return 1;
    default: return std::max<uint32_t>(profile.min_stripes, profile.exact_stripes);
  }
}

uint32_t stripes_for(const Profile& profile, uint32_t devices) {
  if (devices < devices_needed(profile)) return 0;
  if (profile.exact_stripes) return profile.exact_stripes;
  return devices / profile.sub_stripes * profile.sub_stripes;
}

DeviceSpace::DeviceSpace(const std::vector<SpaceDevice>& devices) {
  for (const SpaceDevice& device : devices) {
    Room room{device, {}, 0};
    uint64_t start = device_reserved;
    const uint64_t end = round_down(device.size);
    for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
      uint64_t copy = superblock_mirror_offset(mirror);
      if (copy < start || copy >= end) continue;
      room.free.emplace(start, copy);
      start = copy + stripe_length;
    }
    if (start < end) room.free.emplace(start, end);
    rooms_.push_back(std::move(room));
  }
}

uint64_t DeviceSpace::Room::total() const {
  return std::accumulate(free.begin(), free.end(), uint64_t{0},
                         [](uint64_t sum, const auto& hole) { return sum + hole.second - hole.first; });
}

uint64_t DeviceSpace::Room::first_of(uint32_t count, uint64_t least) const {
  for (const auto& [start, end] : free)
    if (uint64_t size = round_down((end - start) / count); size >= least) return size;
  return 0;
}

uint64_t DeviceSpace::Room::largest_of(uint32_t count) const {
  std::vector<uint64_t> holes;
  for (const auto& [start, end] : free) holes.push_back(end - start);
  std::sort(holes.rbegin(), holes.rend());
  // With the k largest holes cut into `count` parts in all: the best smallest part.
  uint64_t best = 0;
  for (uint32_t split = 1; split <= count; ++split)
    if (!holes.empty()) {
      uint64_t size = round_down(holes[0] / split);
      uint64_t fit = 0;
      for (uint64_t hole : holes) fit += size ? hole / size : 0;
      if (fit >= count) best = std::max(best, size);
    }
  // Or the size of a smaller hole, taken whole.
  for (uint64_t size : holes) {
    uint64_t fit = 0;
    for (uint64_t hole : holes) fit += hole / size;
    if (fit >= count) best = std::max(best, size);
  }
  return best;
}

uint64_t DeviceSpace::Room::take(uint64_t length) {
  for (auto hole = free.begin(); hole != free.end(); ++hole) {
    auto [start, end] = *hole;
    if (end - start < length) continue;
    free.erase(hole);
    if (start + length < end) free.emplace(start + length, end);
    used += length;
    return start;
  }
  VERIFY(false);
  return 0;
}

void DeviceSpace::Room::give(uint64_t start, uint64_t end) {
  used -= end - start;
  auto after = free.lower_bound(start);
  if (after != free.end() && after->first == end) {
    end = after->second;
    after = free.erase(after);
  }
  if (after != free.begin() && std::prev(after)->second == start)
    std::prev(after)->second = end;
  else
    free.emplace(start, end);
}

DeviceSpace::Room& DeviceSpace::room(uint64_t devid) {
  for (Room& room : rooms_)
    if (room.device.devid == devid) return room;
  VERIFY(false);
  return rooms_.front();
}

Result<ChunkEntry> DeviceSpace::allocate(uint64_t logical, uint64_t type, uint64_t stripe_min,
                                         uint64_t stripe_max) {
  const Profile& profile = *profile_of(type);
  const uint32_t per_device = profile.flag == block_group::dup ? 2 : 1;
  std::vector<Room*> rooms;
  for (Room& room : rooms_)
    if (room.largest_of(per_device) >= std::max(stripe_min, stripe_length)) rooms.push_back(&room);
  std::stable_sort(rooms.begin(), rooms.end(),
                   [](const Room* a, const Room* b) { return a->total() > b->total(); });
  const uint32_t count = stripes_for(profile, static_cast<uint32_t>(rooms.size()));
  if (count == 0) {
    uint64_t most = 0;
    for (const Room& room : rooms_) most = std::max(most, room.largest_of(per_device));
    return Error(karst::err::no_space, "no room for a chunk")
        .expected(fmt::format("{} bytes for each stripe on {} devices", stripe_min, devices_needed(profile)),
                  fmt::format("{} devices with so much, at most {} bytes", rooms.size(), most))
        .at("chunk", block_group_flags_text(type));
  }
  rooms.resize(count / per_device);
  uint64_t size = round_up(stripe_max);
  const uint64_t least = std::min(size, std::max(stripe_min, shortest_wanted));
  for (Room* room : rooms) {
    const uint64_t first = room->first_of(per_device, least);
    size = std::min(size, first ? first : room->largest_of(per_device));
  }

  ChunkEntry chunk{logical, 0, type, &profile, profile.sub_stripes, {}};
  for (uint32_t i = 0; i < count; ++i) {
    Room& room = *rooms[i / per_device];
    chunk.stripes.push_back({room.device.devid, room.take(size), room.device.uuid});
  }
  chunk.length = size * chunk.data_stripes();
  return chunk;
}

Result<ChunkEntry> DeviceSpace::allocate_bytes(uint64_t logical, uint64_t type, uint64_t stripe_min,
                                               uint64_t length) {
  // How many data stripes the chunk will have decides how long they are.
  DeviceSpace trial = *this;
  const uint64_t width = TRY(trial.allocate(logical, type, stripe_length, stripe_length)).data_stripes();
  const uint64_t stripe = round_up((length + width - 1) / width);
  return allocate(logical, type, std::min(stripe, stripe_min), stripe);
}

void DeviceSpace::trim(ChunkEntry& chunk, uint64_t stripe_size) {
  stripe_size = round_up(stripe_size);
  const uint64_t old_size = chunk.stripe_size();
  if (stripe_size >= old_size) return;
  for (const ChunkStripe& stripe : chunk.stripes)
    room(stripe.devid).give(stripe.offset + stripe_size, stripe.offset + old_size);
  chunk.length = stripe_size * chunk.data_stripes();
}

uint64_t DeviceSpace::used(uint64_t devid) const { return room(devid).used; }

uint64_t DeviceSpace::end_of_chunks(uint64_t devid) const {
  const Room& room = this->room(devid);
  uint64_t end = round_down(room.device.size);
  if (room.free.empty()) return end;
  auto last = std::prev(room.free.end());
  if (last->second != end) return end;
  // Superblock copies may lie between holes in which there is nothing.
  while (last != room.free.begin() && std::prev(last)->second + stripe_length == last->first) --last;
  return last->first;
}

std::vector<std::byte> chunk_item(const ChunkEntry& chunk, uint32_t sectorsize) {
  Chunk disk{};
  disk.length = chunk.length;
  disk.owner = id::extent_tree;
  disk.stripe_len = stripe_length;
  disk.type = chunk.type;
  disk.io_align = disk.io_width = static_cast<uint32_t>(stripe_length);
  disk.sector_size = sectorsize;
  disk.num_stripes = static_cast<uint16_t>(chunk.stripes.size());
  disk.sub_stripes = chunk.sub_stripes;
  std::vector<std::byte> item;
  auto append = [&item](Bytes bytes) { item.insert(item.end(), bytes.begin(), bytes.end()); };
  append(bytes_of(disk));
  for (const ChunkStripe& stripe : chunk.stripes)
    append(bytes_of(Stripe{stripe.devid, stripe.offset, stripe.dev_uuid}));
  return item;
}

}  // namespace karst::btrfs
