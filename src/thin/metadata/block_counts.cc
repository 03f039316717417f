#include "thin/metadata/block_counts.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "core/assert.h"
#include "thin/format/errors.h"
#include "thin/format/space_map.h"

namespace karst::thin {

BlockCounts::BlockCounts(uint64_t blocks) { grow(blocks); }

void BlockCounts::grow(uint64_t blocks) {
  VERIFY(blocks >= counts_.size());
  const uint64_t old = counts_.size();
  counts_.resize(blocks);
  // Bits past the end are busy, so that a search needs no other bound.
  for (uint64_t block = old; block < std::min(blocks, busy_bits_.size() * 64); ++block)
    busy_bits_[block / 64] &= ~(uint64_t{1} << block % 64);
  busy_bits_.resize((blocks + 63) / 64);
  if (blocks % 64 != 0) busy_bits_.back() |= ~uint64_t{0} << blocks % 64;
  const uint64_t old_bitmaps = changed_bitmaps_.size();
  changed_bitmaps_.resize(bitmaps_for(blocks));
  for (uint64_t i = old_bitmaps; i < changed_bitmaps_.size(); ++i) changed_bitmaps_[i] = true;
  search_from_ = std::min(search_from_, old / 64);
}

uint32_t BlockCounts::count(MetadataBlock block) const {
  return raw(block) < counts_.size() ? counts_[raw(block)] : 0;
}

void BlockCounts::set_busy(uint64_t block, bool busy) {
  uint64_t& word = busy_bits_[block / 64];
  const uint64_t bit = uint64_t{1} << block % 64;
  if (((word & bit) != 0) == busy) return;
  word ^= bit;
  busy ? ++busy_ : --busy_;
  if (!busy) search_from_ = std::min(search_from_, block / 64);
}

void BlockCounts::note_change(uint64_t block, uint32_t before, uint32_t after) {
  counts_[block] = after;
  allocated_ += (after != 0) - (before != 0);
  changed_bitmaps_[block / bitmap_entries] = true;
  if (before >= count_in_tree || after >= count_in_tree) changed_large_.insert(block);
}

Result<MetadataBlock> BlockCounts::allocate() {
  for (; search_from_ < busy_bits_.size(); ++search_from_) {
    const uint64_t word = busy_bits_[search_from_];
    if (word == ~uint64_t{0}) continue;
    const uint64_t block = search_from_ * 64 + static_cast<uint64_t>(std::countr_one(word));
    fresh_.insert(block);
    set_busy(block, true);
    note_change(block, 0, 1);
    return MetadataBlock{block};
  }
  return Error::make(err::no_space, "no block of the metadata device is free ({} blocks)", blocks());
}

Result<void> BlockCounts::retain(MetadataBlock block) {
  const uint32_t before = count(block);
  if (before == 0 || before == std::numeric_limits<uint32_t>::max())
    return Error(err::space_map, "a metadata block is referred to whose count does not allow it")
        .at("block", block)
        .expected("1 to 4294967294", before);
  note_change(raw(block), before, before + 1);
  return {};
}

Result<bool> BlockCounts::release(MetadataBlock block) {
  const uint32_t before = count(block);
  if (before == 0) return Error(err::space_map, "a metadata block is freed that is free").at("block", block);
  note_change(raw(block), before, before - 1);
  if (before > 1) return false;
  if (fresh_.erase(raw(block)) != 0)
    set_busy(raw(block), false);
  else
    leaving_.push_back(block);
  return true;
}

void BlockCounts::load(MetadataBlock block, uint32_t count) {
  VERIFY(raw(block) < counts_.size() && counts_[raw(block)] == 0);
  if (count == 0) return;
  counts_[raw(block)] = count;
  ++allocated_;
  set_busy(raw(block), true);
}

std::vector<MetadataBlock> BlockCounts::freeze() {
  fresh_.clear();
  return std::exchange(leaving_, {});
}

void BlockCounts::make_available(const std::vector<MetadataBlock>& leaving) {
  for (const MetadataBlock block : leaving) set_busy(raw(block), false);
}

std::vector<uint32_t> BlockCounts::take_changed_bitmaps() {
  std::vector<uint32_t> changed;
  for (uint32_t i = 0; i < changed_bitmaps_.size(); ++i)
    if (changed_bitmaps_[i]) changed.push_back(i);
  changed_bitmaps_.assign(changed_bitmaps_.size(), false);
  return changed;
}

std::vector<MetadataBlock> BlockCounts::take_changed_large() {
  std::vector<MetadataBlock> changed;
  for (const uint64_t block : std::exchange(changed_large_, {})) changed.push_back(MetadataBlock{block});
  std::ranges::sort(changed);
  return changed;
}

}  // namespace karst::thin
