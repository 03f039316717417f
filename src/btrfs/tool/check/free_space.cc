#include "btrfs/tool/check/free_space.h"

#include <algorithm>

#include "btrfs/format/extent.h"

namespace karst::btrfs::check {

// space_cache.cc
std::unique_ptr<FreeSpaceSource> open_space_cache(State& state, const ChunkEntry& group);

namespace {

// The free space tree's extents and bitmaps, neighbouring ones as one range.
class FreeSpaceTree final : public FreeSpaceSource {
 public:
  FreeSpaceTree(State& state, const RootRecord& tree, const ChunkEntry& group)
      : group_(group),
        sectorsize_(state.geometry().sectorsize),
        items_(state.blocks(), tree.block, {group.logical, ItemType{}, 0}, {group.end(), ItemType{}, 0},
               [&state](const TreeBlock& leaf) {
                 if (state.table.claim(leaf.bytenr())) state.block_seen(leaf);
               }) {}

  std::optional<Range> next() override {
    std::optional<Range> joined;
    while (auto piece = next_piece()) {
      if (!joined) {
        joined = piece;
      } else if (piece->start == joined->end) {
        joined->end = piece->end;
      } else {
        ahead_ = piece;
        break;
      }
    }
    if (joined) ++count_;
    return joined;
  }

  std::optional<std::string> fault() override {
    while (next()) {
    }
    if (fault_ || items_.incomplete()) return fault_;
    if (!info_) return fmt::format("no free space info for block group {}", group_.logical);
    if (info_->extent_count != count_)
      return fmt::format("free space info recorded {} extents, counted {}", info_->extent_count.value(),
                         count_);
    return {};
  }
  bool incomplete() const override { return items_.incomplete(); }

 private:
  // A run of set bits, an extent, or nothing at the end.
  std::optional<Range> next_piece() {
    if (ahead_) return std::exchange(ahead_, std::nullopt);
    for (;;) {
      if (auto run = next_run()) return run;
      if (!items_.next()) return std::nullopt;
      const Key& key = items_.key();
      Range range{key.objectid, key.objectid + key.offset};
      if (range.end > group_.end() || key.objectid < group_.logical) {
        fault_ = fmt::format("free space item ({} {} {}) reaches out of its block group", key.objectid,
                             static_cast<unsigned>(key.type), key.offset);
        continue;
      }
      switch (key.type) {
        case ItemType::free_space_info: info(key); break;
        case ItemType::free_space_extent: in_form(key, false); return range;
        case ItemType::free_space_bitmap:
          in_form(key, true);
          bitmap_ = range;
          bit_ = 0;
          break;
        default: break;
      }
    }
  }

  void info(const Key& key) {
    if (key.objectid != group_.logical || key.offset != group_.length)
      fault_ = fmt::format("free space info ({} {}) has no block group", key.objectid, key.offset);
    else
      info_ = *items_.as<FreeSpaceInfo>();
  }

  // The group's info comes before, and says in which form its free space is.
  void in_form(const Key& key, bool bitmap) {
    if (info_ && ((info_->flags & free_space_using_bitmaps) != 0) != bitmap)
      fault_ = fmt::format("unexpected key of type {}", static_cast<unsigned>(key.type));
  }

  std::optional<Range> next_run() {
    if (!bitmap_) return std::nullopt;
    Bytes bits = items_.data();
    uint64_t count = (bitmap_->end - bitmap_->start) / sectorsize_;
    auto is_set = [&](uint64_t bit) {
      return (std::to_integer<unsigned>(bits[bit / 8]) >> (bit % 8) & 1) != 0;
    };
    while (bit_ < count && !is_set(bit_)) ++bit_;
    if (bit_ == count) {
      bitmap_.reset();
      return std::nullopt;
    }
    uint64_t first = bit_;
    while (bit_ < count && is_set(bit_)) ++bit_;
    return Range{bitmap_->start + first * sectorsize_, bitmap_->start + bit_ * sectorsize_};
  }

  const ChunkEntry& group_;
  const uint32_t sectorsize_;
  ItemStream items_;
  std::optional<Range> ahead_, bitmap_;
  uint64_t bit_ = 0, count_ = 0;
  std::optional<FreeSpaceInfo> info_;
  std::optional<std::string> fault_;
};

}  // namespace

std::unique_ptr<FreeSpaceSource> open_free_space(State& state, const ChunkEntry& group) {
  uint64_t flags = state.geometry().compat_ro;
  if (!(flags & compat_ro::free_space_tree)) return open_space_cache(state, group);
  const RootRecord* tree = state.root(id::free_space_tree);
  if (!tree || !(flags & compat_ro::free_space_tree_valid)) return nullptr;
  return std::make_unique<FreeSpaceTree>(state, *tree, group);
}

void check_free_space_groups(State& state) {
  uint64_t flags = state.geometry().compat_ro;
  const RootRecord* tree = state.root(id::free_space_tree);
  if (!tree || !(flags & compat_ro::free_space_tree_valid)) return;
  ItemStream items(state.blocks(), tree->block);
  while (items.next()) {
    const Key& key = items.key();
    auto chunk = state.fs.volume().chunks().find(key.objectid);
    bool inside = chunk && key.offset <= (*chunk)->end() - key.objectid;
    bool begins = inside && (key.type != ItemType::free_space_info || key.objectid == (*chunk)->logical);
    if (!begins)
      state.report.add(finding::free_space,
                       fmt::format("Space key logical {} length {} has no corresponding block group",
                                   key.objectid, key.offset),
                       {{"start", key.objectid}});
  }
}

std::vector<Range> superblock_ranges(const ChunkEntry& group) {
  std::vector<Range> ranges;
  uint32_t width = group.data_stripes();
  for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
    uint64_t at = superblock_mirror_offset(mirror);
    for (uint32_t i = 0; i < group.stripes.size(); ++i) {
      uint64_t begin = group.stripes[i].offset;
      if (at < begin || at - begin >= group.stripe_size()) continue;
      uint64_t offset = at - begin;
      if (width == 1 && !group.is_parity()) {
        ranges.push_back({group.logical + offset, group.logical + offset + stripe_length});
        continue;
      }
      // Source of the rule for parity: Linux fs/btrfs/block-group.c, btrfs_rmap_block(): the whole row.
      uint64_t row = offset / stripe_length;
      uint64_t index = group.is_parity() ? 0 : i / std::max<uint32_t>(1, group.profile->sub_stripes);
      uint64_t start = group.logical + (row * width + index) * stripe_length;
      ranges.push_back({start, start + stripe_length * (group.is_parity() ? width : 1)});
    }
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
  return ranges;
}

FreeSpaceComparison::FreeSpaceComparison(State& state, const ChunkEntry& group)
    : state_(state),
      group_(group),
      superblocks_(superblock_ranges(group)),
      source_(open_free_space(state, group)) {}

// The range without what superblocks take, last piece first.
void FreeSpaceComparison::cut(const Range& range, std::vector<Range>& into) const {
  std::vector<Range> pieces;
  uint64_t start = range.start;
  for (const Range& taken : superblocks_) {
    if (taken.end <= start || taken.start >= range.end) continue;
    if (taken.start > start) pieces.push_back({start, taken.start});
    start = taken.end;
  }
  if (start < range.end) pieces.push_back({start, range.end});
  into.insert(into.end(), pieces.rbegin(), pieces.rend());
}

std::optional<Range> FreeSpaceComparison::recorded() {
  while (pending_.empty()) {
    auto range = source_->next();
    if (!range) return std::nullopt;
    cut(*range, pending_);
  }
  Range range = pending_.back();
  pending_.pop_back();
  return range;
}

void FreeSpaceComparison::expect(uint64_t start, uint64_t end) {
  if (!source_ || mismatch_ || start >= end) return;
  std::vector<Range> pieces;
  cut({start, end}, pieces);
  while (!pieces.empty() && !mismatch_) {
    compare(pieces.back());
    pieces.pop_back();
  }
}

void FreeSpaceComparison::compare(const Range& expected) {
  auto found = recorded();
  if (!found)
    mismatch(fmt::format("there is no free space entry for {}-{}", expected.start, expected.end));
  else if (found->start != expected.start)
    mismatch(fmt::format("wanted offset {}, found {}", expected.start, found->start));
  else if (found->end != expected.end)
    mismatch(fmt::format("wanted bytes {}, found {} for off {}", expected.end - expected.start,
                         found->end - found->start, expected.start));
}

void FreeSpaceComparison::mismatch(std::string text) { mismatch_ = std::move(text); }

void FreeSpaceComparison::finish(bool trusted) {
  if (!source_) return;
  if (!mismatch_) {
    if (auto more = recorded())
      mismatch(fmt::format("free space entry {}-{} is in use", more->start, more->end));
  }
  auto fault = source_->fault();
  if (!trusted || source_->incomplete()) return;
  if (!mismatch_) mismatch_ = fault;
  if (!mismatch_) return;
  bool tree = (state_.geometry().compat_ro & compat_ro::free_space_tree) != 0;
  state_.report.add(tree ? finding::free_space : finding::free_space_cache,
                    fmt::format("{}\ncache appears valid but isn't {}", *mismatch_, group_.logical),
                    {{"block_group", group_.logical}});
}

}  // namespace karst::btrfs::check
