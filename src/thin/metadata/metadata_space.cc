#include "thin/metadata/metadata_space.h"

#include <algorithm>

#include "core/assert.h"
#include "thin/format/errors.h"

namespace karst::thin {

Result<void> MetadataSpace::create() {
  index_block_ = TRY(store_.create(BlockKind::index)).number;
  count_root_ = TRY(count_tree_.create());
  return {};
}

Result<void> MetadataSpace::open(const SpaceMapRoot& root) {
  const BlockCounts& counts = store_.counts();
  if (root.nr_blocks != counts.blocks() || root.nr_allocated > root.nr_blocks)
    return Error::make(err::space_map,
                       "metadata space map of {} blocks, {} of them used, for {} blocks of metadata",
                       root.nr_blocks.value(), root.nr_allocated.value(), counts.blocks());
  index_block_ = MetadataBlock{root.bitmap_root.value()};
  count_root_ = MetadataBlock{root.ref_count_root.value()};
  const BlockRef block = TRY(store_.read(BlockKind::index, index_block_));
  const auto& index = *overlay<MetadataIndex>(block.bytes());
  index_.assign(index.entries.begin(),
                index.entries.begin() + static_cast<ptrdiff_t>(bitmaps_for(counts.blocks())));
  for (uint32_t i = 0; i < index_.size(); ++i) TRY(load_bitmap(i));
  TRY(load_large_counts());
  // Nothing of this is a change.
  store_.counts().take_changed_bitmaps();
  // The number of used blocks is not compared: thin_restore 0.9.0 writes one more at times. Bitmaps say it,
  // and the next commit puts the number right.
  return {};
}

Result<void> MetadataSpace::load_bitmap(uint32_t index) {
  const BlockRef block = TRY(store_.read(BlockKind::bitmap, MetadataBlock{index_[index].blocknr.value()}));
  const BitmapView bitmap(block.bytes());
  const uint64_t base = uint64_t{index} * bitmap_entries;
  const auto end = static_cast<uint32_t>(std::min<uint64_t>(bitmap_entries, store_.nr_blocks() - base));
  for (uint32_t entry = bitmap.find_used(0, end); entry < end; entry = bitmap.find_used(entry + 1, end))
    store_.counts().load(MetadataBlock{base + entry}, bitmap.get(entry));
  return {};
}

Result<void> MetadataSpace::load_large_counts() {
  return count_tree_.walk(
      count_root_, 0, store_.nr_blocks(), [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
        for (uint32_t i = begin; i < end; ++i) {
          const MetadataBlock block{leaf.key(i)};
          const uint32_t count = leaf.value_as<le32>(i);
          if (store_.counts().count(block) != count_in_tree || count < count_in_tree)
            return Error(err::space_map, "large count of a metadata block that has none in the bitmap")
                .at("block", block)
                .expected(store_.counts().count(block), count);
          store_.counts().load_large(block, count);
        }
        return true;
      });
}

Result<void> MetadataSpace::flush_large_counts() {
  BlockCounts& counts = store_.counts();
  // The tree's own blocks have one referrer each, so this comes to an end.
  while (counts.changed_large() > 0) {
    for (const MetadataBlock block : counts.take_changed_large()) {
      if (const uint32_t count = counts.count(block); count >= count_in_tree)
        count_root_ = TRY(count_tree_.insert(count_root_, raw(block), le32(count)));
      else
        count_root_ = TRY(count_tree_.erase(count_root_, raw(block)));
    }
  }
  return {};
}

// Gives every changed bitmap a new place; those that this changes too. Returns them all.
Result<std::vector<uint32_t>> MetadataSpace::move_changed_bitmaps() {
  BlockCounts& counts = store_.counts();
  index_.resize(bitmaps_for(counts.blocks()));
  std::vector<bool> moved(index_.size());
  std::vector<uint32_t> all;
  for (auto changed = counts.take_changed_bitmaps(); !changed.empty();
       changed = counts.take_changed_bitmaps()) {
    for (const uint32_t i : changed) {
      if (moved[i]) continue;
      moved[i] = true;
      all.push_back(i);
      const MetadataBlock old{index_[i].blocknr.value()};
      index_[i].blocknr = raw(TRY(store_.create(BlockKind::bitmap)).number);
      if (raw(old) != 0) TRY(store_.release(old));
    }
  }
  return all;
}

Result<void> MetadataSpace::fill_bitmap(uint32_t index) {
  const BlockCounts& counts = store_.counts();
  const auto own = TRY(store_.shadow(BlockKind::bitmap, MetadataBlock{index_[index].blocknr.value()}));
  MutableBitmapView bitmap(own.bytes);
  const uint64_t base = uint64_t{index} * bitmap_entries;
  const auto end = static_cast<uint32_t>(std::min<uint64_t>(bitmap_entries, counts.blocks() - base));
  for (uint32_t entry = 0; entry < end; ++entry)
    if (const uint32_t count = counts.count(MetadataBlock{base + entry}); count != 0)
      bitmap.set(entry, std::min(count, count_in_tree));
  // As Linux counts: entries past the end of the device are free.
  index_[index].nr_free = bitmap.count_free(bitmap_entries);
  index_[index].none_free_before = bitmap.find_free(0, bitmap_entries);
  return {};
}

Result<SpaceMapRoot> MetadataSpace::flush() {
  TRY(flush_large_counts());
  const MetadataBlock old = index_block_;
  const auto index = TRY(store_.create(BlockKind::index));
  index_block_ = index.number;
  TRY(store_.release(old));
  for (const uint32_t i : TRY(move_changed_bitmaps())) TRY(fill_bitmap(i));
  auto& block = *reinterpret_cast<MetadataIndex*>(index.bytes.data());
  std::ranges::copy(index_, block.entries.begin());
  const BlockCounts& counts = store_.counts();
  return SpaceMapRoot{counts.blocks(), counts.allocated(), raw(index_block_), raw(count_root_)};
}

uint64_t MetadataSpace::flush_needs() const {
  // The index, every bitmap, and for each large count that changes a path of their tree.
  return 1 + bitmaps_for(store_.nr_blocks()) + 3 * store_.counts().changed_large();
}

}  // namespace karst::thin
