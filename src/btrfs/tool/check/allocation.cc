#include "btrfs/tool/check/allocation.h"

#include <algorithm>
#include <deque>

#include "btrfs/format/extent.h"
#include "btrfs/tool/check/csum_ranges.h"
#include "btrfs/tool/check/extent_facts.h"
#include "btrfs/tool/check/free_space.h"
#include "btrfs/tool/check/item_stream.h"

namespace karst::btrfs::check {
namespace {

bool is_extent(ItemType type) { return type == ItemType::extent_item || type == ItemType::metadata_item; }

// Addresses from one chunk's start to the next one's.
struct Part {
  uint64_t from = 0, to = ~0ull;
  const ChunkEntry* chunk = nullptr;  // none only where there is no chunk at all
};

std::vector<Part> parts_of(const ChunkMap& chunks) {
  std::vector<Part> parts;
  for (const ChunkEntry& chunk : chunks.all()) {
    if (!parts.empty()) parts.back().to = chunk.logical;
    parts.push_back({parts.empty() ? 0 : chunk.logical, ~0ull, &chunk});
  }
  if (parts.empty()) parts.push_back({});
  return parts;
}

// What one part found, put together when all are done.
struct PartResult {
  std::vector<uint64_t> partly_summed;
  std::vector<BlockGroupRecord> groups;
  uint64_t used_in_chunk = 0;
  uint64_t tree_blocks = 0;
  bool extents_incomplete = false, csums_incomplete = false;
};

class PartCheck {
 public:
  PartCheck(State& state, const Part& part, const RootRecord& tree, FactSink& sink, bool first,
            PartResult& result)
      : state_(state),
        part_(part),
        sink_(sink),
        first_(first),
        result_(result),
        extents_(state.blocks(), tree.block, {part.from, ItemType{}, 0}, {part.to, ItemType{}, 0},
                 [this](const TreeBlock& leaf) {
                   if (first_ && state_.table.claim(leaf.bytenr())) state_.block_seen(leaf);
                 }),
        csums_(state, state.root(id::csum_tree), part.from, part.to, !first) {
    if (first_ && part.chunk) free_.emplace(state, *part.chunk);
    if (part.chunk) free_from_ = part.chunk->logical;
  }

  Result<void> run() {
    while (extents_.next()) {
      const Key& key = extents_.key();
      add_extent_item(key, extents_.data(), sink_);
      if (is_extent(key.type))
        TRY(extent(key, extents_.data()));
      else if (key.type == ItemType::block_group_item && first_)
        result_.groups.push_back(group_record(key, *extents_.as<BlockGroupItem>()));
    }
    if (extents_.incomplete()) csums_.distrust_extents();
    csums_.pass(part_.to);
    result_.extents_incomplete = extents_.incomplete();
    result_.csums_incomplete = csums_.incomplete();
    if (!free_) return {};
    free_->expect(std::max(free_from_, end_), part_.chunk->end());
    free_->finish(!extents_.incomplete());
    return {};
  }

  static BlockGroupRecord group_record(const Key& key, const BlockGroupItem& item) {
    return {key.objectid, key.offset, item.used, item.flags, 0};
  }

 private:
  Result<void> extent(const Key& key, Bytes data) {
    const ExtentItem& item = *overlay<ExtentItem>(data);
    bool metadata = key.type == ItemType::metadata_item || (item.flags & extent_flag::tree_block);
    uint64_t start = key.objectid;
    uint64_t length = key.type == ItemType::metadata_item ? state_.geometry().nodesize : key.offset;
    uint64_t end = start + length;
    TRY(checksums(start, length, metadata, item.refs));
    if (!first_) return {};
    if (metadata && (item.flags & extent_flag::full_backref))
      state_.table.update(start, [](BlockFacts& facts) { facts.full_backref = true; });
    result_.tree_blocks += metadata;
    state_.statistics.bytes_used.fetch_add(length, std::memory_order_relaxed);
    place(start, end, metadata);
    if (start > end_ && free_ && start <= part_.chunk->end())
      free_->expect(std::max(free_from_, end_), start);
    end_ = std::max(end_, end);
    return {};
  }

  Result<void> checksums(uint64_t start, uint64_t length, bool metadata, uint64_t refs) {
    if (metadata) {
      csums_.pass(start + length);
      return {};
    }
    uint64_t covered = csums_.take(start, start + length);
    if (covered == 0 || covered == length) {
      sink_.add({FactKind::checksummed, start, {covered != 0}}, minus(refs));
      return {};
    }
    if (!first_) return {};
    // A growing vector has twice what it holds; then all parts' are put together.
    TRY(state_.allowance.take(4 * sizeof start, "extents with checksums for a part"));
    result_.partly_summed.push_back(start);
    return {};
  }

  // Where the extent lies.
  void place(uint64_t start, uint64_t end, bool metadata) {
    if (start < end_)
      state_.report.add(
          finding::extent_overlap,
          fmt::format("extent [{}, {}) overlaps the one before, which ends at {}", start, end, end_),
          {{"bytenr", start}});
    const ChunkEntry* chunk = part_.chunk;
    if (!chunk || start < chunk->logical || end > chunk->end()) {
      state_.report.add(finding::extent_type,
                        fmt::format("bad extent [{}, {}), no block group holds it", start, end),
                        {{"bytenr", start}});
      return;
    }
    result_.used_in_chunk += end - start;
    uint64_t wanted = metadata ? block_group::metadata | block_group::system : block_group::data;
    if (!(chunk->type & wanted))
      state_.report.add(finding::extent_type,
                        fmt::format("bad extent [{}, {}), type mismatch with chunk", start, end),
                        {{"bytenr", start}});
    uint64_t within = start - chunk->logical;
    if (metadata && within / stripe_length != (within + (end - start) - 1) / stripe_length)
      state_.report.add(finding::extent_crosses_stripe,
                        fmt::format("bad metadata [{}, {}) crossing stripe boundary", start, end),
                        {{"bytenr", start}});
  }

  State& state_;
  const Part& part_;
  FactSink& sink_;
  const bool first_;
  PartResult& result_;
  ItemStream extents_;
  CsumRanges csums_;
  std::optional<FreeSpaceComparison> free_;
  uint64_t free_from_ = 0, end_ = 0;
};

// Block group items have a tree of their own with that feature.
void read_block_group_tree(State& state, std::vector<BlockGroupRecord>& groups) {
  const RootRecord* tree = state.root(id::block_group_tree);
  if (!tree) return;
  ItemStream items(state.blocks(), tree->block);
  while (items.next())
    if (items.key().type == ItemType::block_group_item)
      groups.push_back(PartCheck::group_record(items.key(), *items.as<BlockGroupItem>()));
}

void merge(State& state, std::span<const Part> parts, std::span<PartResult> results) {
  state.extents_known = state.checksums_known = true;
  std::vector<BlockGroupRecord>& groups = state.block_groups;
  for (PartResult& result : results) {
    state.extents_known = state.extents_known && !result.extents_incomplete;
    state.checksums_known = state.checksums_known && !result.csums_incomplete;
    state.partly_summed.insert(state.partly_summed.end(), result.partly_summed.begin(),
                               result.partly_summed.end());
    groups.insert(groups.end(), result.groups.begin(), result.groups.end());
    state.tree_blocks += result.tree_blocks;
  }
  if (!state.root(id::csum_tree)) state.checksums_known = false;
  if (state.geometry().compat_ro & compat_ro::block_group_tree) read_block_group_tree(state, groups);
  std::sort(groups.begin(), groups.end(),
            [](const BlockGroupRecord& a, const BlockGroupRecord& b) { return a.start < b.start; });
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].chunk) continue;
    auto group = std::lower_bound(groups.begin(), groups.end(), parts[i].chunk->logical,
                                  [](const BlockGroupRecord& g, uint64_t start) { return g.start < start; });
    if (group != groups.end() && group->start == parts[i].chunk->logical)
      group->found_used = results[i].used_in_chunk;
  }
}

}  // namespace

Result<void> check_allocation(State& state, const AllocationOptions& options) {
  const RootRecord* tree = state.root(id::extent_tree);
  if (!tree) return {};  // reported with the roots
  const std::vector<Part> parts = parts_of(state.fs.volume().chunks());
  std::vector<PartResult> results(parts.size());
  TaskGroup group(state.pool);
  for (size_t i = 0; i < parts.size(); ++i)
    group.run([&, i]() -> Result<void> {
      return PartCheck(state, parts[i], *tree, options.make_sink(), options.first, results[i]).run();
    });
  TRY(group.wait());
  if (options.first) merge(state, parts, results);
  return {};
}

}  // namespace karst::btrfs::check
