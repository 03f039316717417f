#include "thin/tool/space_map_writer.h"

#include <algorithm>
#include <array>

#include "thin/tool/tree_builder.h"

namespace karst::thin {
namespace {

// The bitmap's entries in `block`, and what the index says of them.
IndexEntry fill_bitmap(uint64_t index, const UseCounts& uses, MutableBytes block) {
  std::ranges::fill(block, std::byte{0});
  MutableBitmapView bitmap(block);
  const uint64_t base = index * bitmap_entries;
  const auto end = static_cast<uint32_t>(std::min<uint64_t>(bitmap_entries, uses.blocks() - base));
  for (uint32_t entry = 0; entry < end; ++entry)
    if (const uint32_t count = uses.count(base + entry); count != 0)
      bitmap.set(entry, std::min(count, count_in_tree));
  return {.nr_free = bitmap.count_free(bitmap_entries),
          .none_free_before = bitmap.find_free(0, bitmap_entries)};
}

Result<MetadataBlock> write_large_counts(BlockWriter& writer, UseCounts& metadata_uses,
                                         const UseCounts& counts) {
  TreeBuilder large(writer, metadata_uses, sizeof(le32));
  for (uint64_t block = 0; block < counts.blocks(); ++block)
    if (const uint32_t count = counts.count(block); count >= count_in_tree)
      TRY(large.add(block, le32(count)));
  return large.finish();
}

uint64_t allocated_of(const UseCounts& uses) {
  uint64_t allocated = 0;
  for (uint64_t block = 0; block < uses.blocks(); ++block) allocated += uses.count(block) != 0;
  return allocated;
}

}  // namespace

Result<SpaceMapRoot> write_data_space_map(BlockWriter& writer, UseCounts& metadata_uses,
                                          const UseCounts& data_uses) {
  std::vector<std::byte> block(metadata_block_size);
  TreeBuilder index(writer, metadata_uses, sizeof(IndexEntry));
  for (uint64_t i = 0; i < bitmaps_for(data_uses.blocks()); ++i) {
    IndexEntry entry = fill_bitmap(i, data_uses, block);
    const MetadataBlock number = TRY(writer.append(BlockKind::bitmap, block));
    entry.blocknr = raw(number);
    metadata_uses.add(raw(number));
    TRY(index.add(i, entry));
  }
  const MetadataBlock index_root = TRY(index.finish());
  const MetadataBlock counts_root = TRY(write_large_counts(writer, metadata_uses, data_uses));
  return SpaceMapRoot{data_uses.blocks(), allocated_of(data_uses), raw(index_root), raw(counts_root)};
}

Result<SpaceMapRoot> write_metadata_space_map(BlockWriter& writer, UseCounts& metadata_uses) {
  // Nodes of this tree have one user each, which puts none of them into it.
  const MetadataBlock counts_root = TRY(write_large_counts(writer, metadata_uses, metadata_uses));
  // From here on it is known where everything goes: bitmaps, then their index.
  const uint64_t bitmaps = bitmaps_for(metadata_uses.blocks()), first = raw(writer.next());
  for (uint64_t number = first; number < std::min(first + bitmaps + 1, metadata_uses.blocks()); ++number)
    metadata_uses.add(number);
  std::vector<std::byte> block(metadata_block_size), index_block(metadata_block_size);
  auto& index = *reinterpret_cast<MetadataIndex*>(index_block.data());
  for (uint64_t i = 0; i < bitmaps; ++i) {
    index.entries[i] = fill_bitmap(i, metadata_uses, block);
    index.entries[i].blocknr = raw(TRY(writer.append(BlockKind::bitmap, block)));
  }
  const MetadataBlock index_at = TRY(writer.append(BlockKind::index, index_block));
  return SpaceMapRoot{metadata_uses.blocks(), allocated_of(metadata_uses), raw(index_at), raw(counts_root)};
}

}  // namespace karst::thin
