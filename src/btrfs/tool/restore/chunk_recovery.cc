#include "btrfs/tool/restore/chunk_recovery.h"

#include <cstring>
#include <map>
#include <optional>

#include "btrfs/format/check.h"
#include "btrfs/tree/tree.h"

namespace karst::btrfs {
namespace {

void add_chunk(Volume& volume, uint64_t logical, Bytes item) {
  if (volume.chunks().find(logical)) return;
  auto added = volume.chunks_to_fill().add(logical, item);
  if (!added) volume.log().warning("a chunk item is left out", {{"logical", logical}}, &added.error());
}

bool is_striped(const Profile& profile) {
  return profile.parity > 0 || profile.flag == block_group::raid0 || profile.flag == block_group::raid10;
}

// Adds a chunk item as Linux would have made it.
void add_stripes(Volume& volume, const UnorderedChunk& found, const std::vector<Stripe>& stripes) {
  Chunk chunk{};
  chunk.length = found.length;
  chunk.owner = id::extent_tree;
  chunk.stripe_len = stripe_length;
  chunk.type = found.flags;
  chunk.io_align = stripe_length;
  chunk.io_width = stripe_length;
  chunk.sector_size = volume.geometry().sectorsize;
  chunk.num_stripes = static_cast<uint16_t>(stripes.size());
  chunk.sub_stripes = profile_of(found.flags)->sub_stripes;
  std::vector<std::byte> item(sizeof chunk + stripes.size() * sizeof(Stripe));
  std::memcpy(item.data(), &chunk, sizeof chunk);
  std::memcpy(item.data() + sizeof chunk, stripes.data(), stripes.size() * sizeof(Stripe));
  auto checked = check_chunk_item(item, found.logical, volume.geometry());
  if (checked) return add_chunk(volume, found.logical, item);
  volume.log().warning("a chunk cannot be put together", {{"logical", found.logical}}, &checked.error());
}

// What blocks that were found say of chunks; of each thing the newest.
class FoundChunks {
 public:
  explicit FoundChunks(const Geometry& geometry) : geometry_(geometry) {}

  void add(const TreeBlock& block) {
    const uint64_t tree = block.owner();
    const bool has_groups = tree == id::extent_tree || tree == id::block_group_tree;
    if (tree != id::chunk_tree && tree != id::dev_tree && !has_groups) return;
    const auto invalid = find_invalid_items(block, geometry_);
    if (!invalid) return;
    auto next_invalid = invalid->begin();
    for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
      if (next_invalid != invalid->end() && next_invalid->slot == slot) {
        ++next_invalid;
        continue;
      }
      const Key key = block.key(slot);
      const Bytes item = block.item_data(slot);
      if (key.type == ItemType::chunk_item)
        keep(chunks_[key.offset], block.generation(), std::vector(item.begin(), item.end()));
      else if (key.type == ItemType::dev_extent)
        keep(extents_[{key.objectid, key.offset}], block.generation(), *overlay<DevExtent>(item));
      else if (key.type == ItemType::block_group_item && has_groups)
        keep(groups_[key.objectid], block.generation(),
             Group{key.offset, overlay<BlockGroupItem>(item)->flags.value()});
    }
  }

  void add_items_to(Volume& volume) const {
    for_newest_first(chunks_, [&](uint64_t logical, const std::vector<std::byte>& item) {
      add_chunk(volume, logical, item);
    });
  }
  // Returns those whose order the tree blocks in them do not tell.
  std::vector<UnorderedChunk> add_groups_to(Volume& volume) const {
    std::vector<UnorderedChunk> unordered;
    for_newest_first(groups_, [&](uint64_t logical, const Group& group) {
      if (volume.chunks().find(logical)) return;
      auto chunk = chunk_of(volume, logical, group);
      if (!chunk) return;
      auto stripes = stripes_of(volume, *chunk);
      if (stripes)
        add_stripes(volume, *chunk, *stripes);
      else
        unordered.push_back(std::move(*chunk));
    });
    return unordered;
  }

 private:
  template <typename T>
  struct Dated {
    uint64_t generation = 0;
    std::optional<T> value;
  };
  struct Group {
    uint64_t length, flags;
  };

  template <typename T>
  static void keep(Dated<T>& known, uint64_t generation, T value) {
    if (known.value && known.generation >= generation) return;
    known = {generation, std::move(value)};
  }
  // What was removed later must not stand in the way of what replaced it.
  template <typename T, typename F>
  static void for_newest_first(const std::map<uint64_t, Dated<T>>& all, F&& visit) {
    std::multimap<uint64_t, uint64_t, std::greater<>> by_generation;
    for (const auto& [logical, dated] : all) by_generation.emplace(dated.generation, logical);
    for (const auto& [generation, logical] : by_generation) visit(logical, *all.at(logical).value);
  }

  std::optional<UnorderedChunk> chunk_of(const Volume& volume, uint64_t logical, const Group& group) const {
    UnorderedChunk chunk{logical, group.length, group.flags, 0, {}};
    for (const auto& [place, extent] : extents_) {
      const MemberDevice* member = volume.member(place.first);
      if (extent.value->chunk_offset != logical || !member) continue;
      if (!chunk.extents.empty() && chunk.extent_length != extent.value->length) return std::nullopt;
      chunk.extent_length = extent.value->length;
      chunk.extents.push_back({le64(place.first), le64(place.second), member->uuid});
    }
    if (!profile_of(group.flags) || chunk.extents.empty()) return std::nullopt;
    return chunk;
  }

  // The order of copies does not matter.
  static Result<std::vector<Stripe>> stripes_of(const Volume& volume, const UnorderedChunk& chunk) {
    const Profile& profile = *profile_of(chunk.flags);
    if (is_striped(profile)) return order_by_tree_blocks(volume, chunk);
    std::vector<Stripe> stripes = chunk.extents;
    // Copies on devices that are not there have their place too.
    while (stripes.size() < profile.min_stripes) stripes.push_back(absent_stripe);
    return stripes;
  }

  const Geometry& geometry_;
  std::map<uint64_t, Dated<std::vector<std::byte>>> chunks_;           // by logical address
  std::map<uint64_t, Dated<Group>> groups_;                            // by logical address
  std::map<std::pair<uint64_t, uint64_t>, Dated<DevExtent>> extents_;  // by device and offset
};

}  // namespace

void load_chunk_tree(Volume& volume, cache::Cache& cache, const BlockPointer& chunk_root,
                     BlockTolerance tolerance, Damage& damage) {
  BlockReader reader(volume, cache, tolerance);
  Cursor cursor(Tree{&reader, id::chunk_tree, chunk_root, nullptr, &damage});
  auto at = cursor.seek(Key::min());
  for (; at && *at; at = cursor.next())
    if (cursor.key().type == ItemType::chunk_item) add_chunk(volume, cursor.key().offset, cursor.data());
  if (!at) volume.log().warning("the chunk tree cannot be read further", {}, &at.error());
}

bool chunk_map_is_complete(const Volume& volume) {
  for (const MemberDevice& member : volume.members()) {
    uint64_t allocated = 0;
    for (const ChunkEntry& chunk : volume.chunks().all())
      for (const ChunkStripe& stripe : chunk.stripes)
        if (stripe.devid == member.devid) allocated += chunk.stripe_size();
    if (allocated < member.super.dev_item.bytes_used) return false;
  }
  return true;
}

Result<std::vector<UnorderedChunk>> scan_for_chunks(Volume& volume, const BlockScanOptions& options) {
  FoundChunks found(volume.geometry());
  auto collect = [&](const TreeBlock& block) -> Result<void> {
    found.add(block);
    return {};
  };
  TRY(scan_chunks(volume, block_group::system, options, collect));
  found.add_items_to(volume);
  if (chunk_map_is_complete(volume)) return std::vector<UnorderedChunk>();
  TRY(scan_devices(volume, options, collect));
  found.add_items_to(volume);
  auto unordered = found.add_groups_to(volume);
  if (unordered.empty() && !chunk_map_is_complete(volume))
    volume.log().warning("some chunks were not found; what is in them cannot be read", {});
  return unordered;
}

void add_by_checksums(Volume& volume, const std::vector<UnorderedChunk>& chunks, Cursor& checksums) {
  for (const UnorderedChunk& chunk : chunks) {
    auto stripes = order_by_checksums(volume, chunk, checksums);
    if (stripes)
      add_stripes(volume, chunk, *stripes);
    else
      volume.log().warning("what is in this chunk cannot be read: its chunk item is lost",
                           {{"logical", chunk.logical}, {"type", block_group_flags_text(chunk.flags)}},
                           &stripes.error());
  }
}

}  // namespace karst::btrfs
