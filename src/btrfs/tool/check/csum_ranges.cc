#include "btrfs/tool/check/csum_ranges.h"

#include <algorithm>

#include "btrfs/tree/block_cursor.h"

namespace karst::btrfs::check {
namespace {

// An item may begin before the range that it reaches into; no item is longer than this.
uint64_t reach(const Geometry& geometry) {
  return uint64_t{geometry.nodesize} / geometry.checksum_size * geometry.sectorsize;
}

Key csum_key(uint64_t bytenr) { return {id::extent_csum, ItemType::extent_csum, bytenr}; }

}  // namespace

uint64_t first_unsummed(State& state, const BlockPointer& tree, uint64_t start, uint64_t end) {
  const Geometry& geometry = state.geometry();
  BlockCursor cursor(state.blocks(), tree);
  auto found = cursor.seek_back(csum_key(start));
  uint64_t at = start;
  while (found && *found && at < end && cursor.key().type == ItemType::extent_csum) {
    uint64_t from = cursor.key().offset;
    uint64_t upto = from + cursor.data().size() / geometry.checksum_size * geometry.sectorsize;
    if (from > at || upto <= at) break;
    at = upto;
    if (at < end) found = cursor.next();
  }
  return std::min(at, end);
}

CsumRanges::CsumRanges(State& state, const RootRecord* tree, uint64_t from, uint64_t to, bool quiet)
    : state_(state), from_(from), to_(to), quiet_(quiet) {
  if (!tree) return;
  uint64_t before = std::min(from, reach(state.geometry()));
  Key end = to == ~0ull ? csum_key(~0ull).successor() : csum_key(to);
  items_.emplace(state.blocks(), tree->block, csum_key(from - before), end,
                 [&state, quiet](const TreeBlock& leaf) {
                   if (!quiet && state.table.claim(leaf.bytenr())) state.block_seen(leaf);
                 });
}

bool CsumRanges::load() {
  const Geometry& geometry = state_.geometry();
  while (start_ >= end_) {
    if (!items_ || !items_->next()) return false;
    if (items_->key().type != ItemType::extent_csum) continue;
    uint64_t start = items_->key().offset;
    uint64_t end = start + items_->data().size() / geometry.checksum_size * geometry.sectorsize;
    if (start < previous_end_ && start >= from_ && !quiet_)
      state_.report.add(finding::csum_overlap,
                        fmt::format("csum overlap, current bytenr={} prev_end={}, eb={} slot={}", start,
                                    previous_end_, items_->leaf().bytenr(), 0),
                        {{"bytenr", start}});
    start_ = std::max({start, previous_end_, from_});
    end_ = std::min(end, to_);
    previous_end_ = std::max(previous_end_, end);
  }
  return true;
}

uint64_t CsumRanges::take(uint64_t start, uint64_t end) {
  pass(start);
  uint64_t covered = 0;
  while (load() && start_ < end) {
    uint64_t upto = std::min(end_, end);
    covered += upto - start_;
    start_ = upto;
  }
  return covered;
}

void CsumRanges::pass(uint64_t start) {
  while (load() && start_ < start) {
    uint64_t upto = std::min(end_, start);
    orphan(start_, upto);
    start_ = upto;
  }
  flush_orphan();
}

// Neighbouring ones are reported together.
void CsumRanges::orphan(uint64_t start, uint64_t end) {
  if (orphan_start_ < orphan_end_ && orphan_end_ == start) {
    orphan_end_ = end;
    return;
  }
  flush_orphan();
  orphan_start_ = start;
  orphan_end_ = end;
}

void CsumRanges::flush_orphan() {
  if (orphan_start_ >= orphan_end_) return;
  // What a log refers to has its extent only after the log's replay.
  auto logged = std::upper_bound(state_.log_extents.begin(), state_.log_extents.end(),
                                 std::pair<uint64_t, uint64_t>(orphan_start_, ~0ull));
  bool in_log = logged != state_.log_extents.begin() && std::prev(logged)->second >= orphan_end_;
  if (report_orphans_ && !quiet_ && !in_log)
    state_.report.add(finding::csum_orphan,
                      fmt::format("there are no extents for csum range {}-{}", orphan_start_, orphan_end_),
                      {{"start", orphan_start_}, {"end", orphan_end_}});
  orphan_start_ = orphan_end_ = 0;
}

}  // namespace karst::btrfs::check
