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

// What blocks that were found say of chunks; of each thing the newest.
class FoundChunks {
 public:
  explicit FoundChunks(const Geometry& geometry) : geometry_(geometry) {}

  void add(const TreeBlock& block) {
    const uint64_t tree = block.owner();
    const bool has_groups = tree == id::extent_tree || tree == id::block_group_tree;
    if (tree != id::chunk_tree && tree != id::dev_tree && !has_groups) return;
    if (!block.is_leaf() || !check_block_structure(block, geometry_)) return;
    for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
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
  void add_groups_to(Volume& volume) const {
    for_newest_first(groups_, [&](uint64_t logical, const Group& group) {
      if (!volume.chunks().find(logical)) put_together(volume, logical, group);
    });
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

  // The order of copies does not matter; that of stripes does, and nothing but the chunk item has it.
  void put_together(Volume& volume, uint64_t logical, const Group& group) const {
    const Profile* profile = profile_of(group.flags);
    if (!profile || profile->parity > 0 || group.flags & (block_group::raid0 | block_group::raid10)) return;
    std::vector<Stripe> stripes;
    for (const auto& [place, extent] : extents_) {
      const MemberDevice* member = volume.member(place.first);
      if (extent.value->chunk_offset != logical || extent.value->length != group.length || !member) continue;
      stripes.push_back({le64(place.first), le64(place.second), member->uuid});
    }
    if (stripes.empty()) return;
    // Copies on devices that are not there have their place too.
    while (stripes.size() < profile->min_stripes) stripes.push_back({le64(~0ull), le64(0), {}});
    Chunk chunk{};
    chunk.length = group.length;
    chunk.owner = id::extent_tree;
    chunk.stripe_len = stripe_length;
    chunk.type = group.flags;
    chunk.io_align = stripe_length;
    chunk.io_width = stripe_length;
    chunk.sector_size = geometry_.sectorsize;
    chunk.num_stripes = static_cast<uint16_t>(stripes.size());
    chunk.sub_stripes = profile->sub_stripes;
    std::vector<std::byte> item(sizeof chunk + stripes.size() * sizeof(Stripe));
    std::memcpy(item.data(), &chunk, sizeof chunk);
    std::memcpy(item.data() + sizeof chunk, stripes.data(), stripes.size() * sizeof(Stripe));
    auto checked = check_chunk_item(item, logical, geometry_);
    if (checked) return add_chunk(volume, logical, item);
    volume.log().warning("a chunk cannot be put together", {{"logical", logical}}, &checked.error());
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

Result<void> scan_for_chunks(Volume& volume, const BlockScanOptions& options) {
  FoundChunks found(volume.geometry());
  auto collect = [&](const TreeBlock& block) -> Result<void> {
    found.add(block);
    return {};
  };
  TRY(scan_chunks(volume, block_group::system, options, collect));
  found.add_items_to(volume);
  if (chunk_map_is_complete(volume)) return {};
  TRY(scan_devices(volume, options, collect));
  found.add_items_to(volume);
  found.add_groups_to(volume);
  if (!chunk_map_is_complete(volume))
    volume.log().warning("some chunks were not found; what is in them cannot be read", {});
  return {};
}

}  // namespace karst::btrfs
