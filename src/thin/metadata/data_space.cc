#include "thin/metadata/data_space.h"

#include <algorithm>
#include <limits>

#include "core/assert.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

constexpr uint32_t index_of(DataBlock block) { return static_cast<uint32_t>(raw(block) / bitmap_entries); }
constexpr uint32_t entry_of(DataBlock block) { return static_cast<uint32_t>(raw(block) % bitmap_entries); }

}  // namespace

DataSpace::DataSpace(BlockStore& store)
    : store_(store), index_tree_(store, sizeof(IndexEntry)), count_tree_(store, sizeof(le32)) {}

Result<void> DataSpace::create() {
  index_root_ = TRY(index_tree_.create());
  count_root_ = TRY(count_tree_.create());
  return {};
}

Result<void> DataSpace::open(const SpaceMapRoot& root) {
  const uint64_t bitmaps = bitmaps_for(root.nr_blocks);
  // Each bitmap is a metadata block: so many cannot be.
  if (bitmaps > store_.nr_blocks() || root.nr_allocated > root.nr_blocks)
    return Error::make(err::space_map, "data space map of {} blocks, {} of them used, cannot be",
                       root.nr_blocks.value(), root.nr_allocated.value());
  blocks_ = root.nr_blocks;
  allocated_ = root.nr_allocated;
  index_root_ = MetadataBlock{root.bitmap_root.value()};
  count_root_ = MetadataBlock{root.ref_count_root.value()};
  index_.assign(bitmaps, IndexEntry{});
  changed_.assign(bitmaps, false);
  uint64_t found = 0;
  TRY(index_tree_.walk(index_root_, 0, bitmaps,
                       [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
                         for (uint32_t i = begin; i < end; ++i)
                           index_[leaf.key(i)] = leaf.value_as<IndexEntry>(i);
                         found += end - begin;
                         return true;
                       }));
  if (found != bitmaps)
    return Error(err::space_map, "index of the data space map is not complete").expected(bitmaps, found);
  return {};
}

uint32_t DataSpace::entries_of(uint32_t index) const {
  return static_cast<uint32_t>(
      std::min<uint64_t>(bitmap_entries, blocks_ - uint64_t{index} * bitmap_entries));
}

Result<BlockRef> DataSpace::bitmap(uint32_t index) {
  return store_.read(BlockKind::bitmap, MetadataBlock{index_[index].blocknr.value()});
}

Result<MutableBitmapView> DataSpace::own_bitmap(uint32_t index) {
  const MetadataBlock old{index_[index].blocknr.value()};
  const auto own = TRY(store_.shadow(BlockKind::bitmap, old));
  if (own.number != old) {
    index_[index].blocknr = raw(own.number);
    mark_changed(index);
    held_bitmaps_.emplace(index, Held{state_, old});
  }
  return MutableBitmapView(own.bytes);
}

Result<uint32_t> DataSpace::large_count(DataBlock block) {
  const auto found = TRY(count_tree_.find(count_root_, raw(block)));
  if (!found) return Error(err::space_map, "count of a data block is missing").at("data block", block);
  return found->value<le32>().value();
}

Result<uint32_t> DataSpace::count(DataBlock block) {
  if (raw(block) >= blocks_)
    return Error(err::space_map, "data block outside of the data device")
        .expected(fmt::format("below {}", blocks_), block);
  const BlockRef ref = TRY(bitmap(index_of(block)));
  const uint32_t bits = BitmapView(ref.bytes()).get(entry_of(block));
  return bits < count_in_tree ? bits : TRY(large_count(block));
}

Result<void> DataSpace::set_count(MutableBitmapView bitmap, DataBlock block, uint32_t before,
                                  uint32_t after) {
  bitmap.set(entry_of(block), std::min(after, count_in_tree));
  if (after >= count_in_tree)
    count_root_ = TRY(count_tree_.insert(count_root_, raw(block), le32(after)));
  else if (before >= count_in_tree)
    count_root_ = TRY(count_tree_.erase(count_root_, raw(block)));
  return {};
}

Result<DataSpace::Change> DataSpace::change(DataBlock block, int by) {
  const uint32_t before = TRY(count(block));
  if (by < 0 ? before == 0 : before == std::numeric_limits<uint32_t>::max())
    return Error(err::space_map,
                 by < 0 ? "a data block is freed that is free" : "a data block has too many referrers")
        .at("data block", block);
  const uint32_t after = by < 0 ? before - 1 : before + 1;
  const uint32_t index = index_of(block), entry = entry_of(block);
  TRY(set_count(TRY(own_bitmap(index)), block, before, after));
  IndexEntry& info = index_[index];
  if (before == 0) {
    ++allocated_;
    info.nr_free -= 1;
    if (info.none_free_before == entry) info.none_free_before = entry + 1;
    mark_changed(index);
  } else if (after == 0) {
    --allocated_;
    info.nr_free += 1;
    info.none_free_before = std::min(info.none_free_before.value(), entry);
    mark_changed(index);
  }
  return Change{before, after};
}

void DataSpace::mark_changed(uint32_t index) {
  if (changed_[index]) return;
  changed_[index] = true;
  ++changes_;
}

Result<void> DataSpace::retain(DataBlock block) {
  TRY(change(block, +1));
  return {};
}

Result<bool> DataSpace::release(DataBlock block, Freed freed) {
  if (TRY(change(block, -1)).after != 0) return false;
  if (freed == Freed::kept) {
    kept_.insert(block);
    ++kept_count_;
  } else {
    TRY(hold(block));
  }
  return true;
}

// Until the running transaction is durable.
Result<void> DataSpace::hold(DataBlock block) {
  FreedBlocks& freed = freed_[state_];
  if (TRY(was_free(index_of(block), entry_of(block)))) freed.listed.insert(block);
  ++freed.count;
  ++held_;
  return {};
}

void DataSpace::give_back(DataBlock begin, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const DataBlock block{raw(begin) + i};
    if (!kept_.erase(block)) continue;
    --kept_count_;
    // The bitmaps that would say so may be gone by now.
    freed_[state_].listed.insert(block);
    ++freed_[state_].count;
    ++held_;
  }
}

// In every state that is held.
Result<bool> DataSpace::was_free(uint32_t index, uint32_t entry) {
  const auto [begin, end] = held_bitmaps_.equal_range(index);
  for (auto held = begin; held != end; ++held) {
    const BlockRef ref = TRY(store_.read(BlockKind::bitmap, held->second.bitmap));
    if (BitmapView(ref.bytes()).get(entry) != 0) return false;
  }
  return true;
}

Result<bool> DataSpace::may_give_out(uint32_t index, uint32_t entry) {
  const DataBlock block{uint64_t{index} * bitmap_entries + entry};
  if (kept_.contains(block)) return false;
  for (const auto& [state, freed] : freed_)
    if (freed.listed.contains(block)) return false;
  return was_free(index, entry);
}

// An entry of this bitmap that may be given out.
Result<std::optional<uint32_t>> DataSpace::find_in(uint32_t index, uint32_t from) {
  if (index_[index].nr_free == 0) return std::optional<uint32_t>();
  const BlockRef ref = TRY(bitmap(index));
  const BitmapView view(ref.bytes());
  const uint32_t end = entries_of(index);
  for (uint32_t entry = view.find_free(from, end); entry < end; entry = view.find_free(entry + 1, end))
    if (TRY(may_give_out(index, entry))) return std::optional<uint32_t>(entry);
  return std::optional<uint32_t>();
}

Result<std::optional<DataBlock>> DataSpace::reserve() {
  if (available() == 0) return std::optional<DataBlock>();
  // From the last one given out to the end, then from the start.
  const uint64_t start = search_from_ < blocks_ ? search_from_ : 0;
  const auto bitmaps = static_cast<uint32_t>(index_.size());
  const auto first = static_cast<uint32_t>(start / bitmap_entries);
  for (uint32_t i = 0; i <= bitmaps; ++i) {
    const uint32_t index = (first + i) % bitmaps;
    const uint32_t from = i == 0 ? static_cast<uint32_t>(start % bitmap_entries) : 0;
    const auto entry = TRY(find_in(index, from));
    if (!entry) continue;
    const DataBlock block{uint64_t{index} * bitmap_entries + *entry};
    kept_.insert(block);
    ++kept_count_;
    search_from_ = raw(block) + 1;
    return std::optional<DataBlock>(block);
  }
  return std::optional<DataBlock>();
}

Result<void> DataSpace::use(DataBlock block) {
  if (!kept_.erase(block))
    return Error(err::invalid, "a data block is used whose reservation was given up").at("data block", block);
  --kept_count_;
  return retain(block);
}

void DataSpace::unreserve(DataBlock block) {
  if (!kept_.erase(block)) return;
  --kept_count_;
  search_from_ = std::min(search_from_, raw(block));
}

Result<void> DataSpace::grow(uint64_t blocks) {
  VERIFY(blocks >= blocks_);
  for (uint64_t index = index_.size(); index < bitmaps_for(blocks); ++index) {
    const auto made = TRY(store_.create(BlockKind::bitmap));
    index_.push_back({.blocknr = raw(made.number), .nr_free = bitmap_entries, .none_free_before = 0});
    changed_.push_back(true);
    ++changes_;
  }
  blocks_ = blocks;
  return {};
}

Result<SpaceMapRoot> DataSpace::flush() {
  for (uint32_t index = 0; index < index_.size(); ++index) {
    if (!changed_[index]) continue;
    index_root_ = TRY(index_tree_.insert(index_root_, index, index_[index]));
    changed_[index] = false;
  }
  changes_ = 0;
  return SpaceMapRoot{blocks_, allocated_, raw(index_root_), raw(count_root_)};
}

uint64_t DataSpace::freeze() { return state_++; }

void DataSpace::committed(uint64_t state) {
  std::erase_if(held_bitmaps_, [&](const auto& held) { return held.second.state <= state; });
  while (!freed_.empty() && freed_.begin()->first <= state) {
    held_ -= freed_.begin()->second.count;
    freed_.erase(freed_.begin());
    search_from_ = 0;
  }
}

}  // namespace karst::thin
