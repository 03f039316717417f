#include "btrfs/tool/restore/chunk_recovery.h"

#include <map>

#include "btrfs/format/check.h"
#include "btrfs/tree/tree.h"

namespace karst::btrfs {
namespace {

void add_chunk(Volume& volume, uint64_t logical, Bytes item) {
  if (volume.chunks().find(logical)) return;
  auto added = volume.chunks_to_fill().add(logical, item);
  if (!added) volume.log().warning("a chunk item is left out", {{"logical", logical}}, &added.error());
}

// The newest item of each chunk.
class FoundChunks {
 public:
  explicit FoundChunks(const Geometry& geometry) : geometry_(geometry) {}

  void add(const TreeBlock& block) {
    if (block.owner() != id::chunk_tree || !block.is_leaf() || !check_block_structure(block, geometry_))
      return;
    for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
      const Key key = block.key(slot);
      if (key.type != ItemType::chunk_item) continue;
      Chunk& chunk = chunks_[key.offset];
      if (!chunk.item.empty() && chunk.generation >= block.generation()) continue;
      Bytes item = block.item_data(slot);
      chunk = {block.generation(), {item.begin(), item.end()}};
    }
  }
  // Newer ones first: what was removed later must not stand in the way of what replaced it.
  void add_to(Volume& volume) const {
    std::multimap<uint64_t, uint64_t, std::greater<>> by_generation;
    for (const auto& [logical, chunk] : chunks_) by_generation.emplace(chunk.generation, logical);
    for (const auto& [generation, logical] : by_generation)
      add_chunk(volume, logical, chunks_.at(logical).item);
  }

 private:
  struct Chunk {
    uint64_t generation = 0;
    std::vector<std::byte> item;
  };
  const Geometry& geometry_;
  std::map<uint64_t, Chunk> chunks_;
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

Result<void> scan_for_chunks(Volume& volume, Logical needed, const BlockScanOptions& options) {
  FoundChunks found(volume.geometry());
  auto collect = [&](const TreeBlock& block) -> Result<void> {
    found.add(block);
    return {};
  };
  TRY(scan_chunks(volume, block_group::system, options, collect));
  found.add_to(volume);
  if (volume.chunks().find(raw(needed))) return {};
  TRY(scan_devices(volume, options, collect));
  found.add_to(volume);
  return {};
}

}  // namespace karst::btrfs
