#include "thin/tool/space_check.h"

#include <algorithm>
#include <map>

#include "thin/format/block.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

uint64_t hash_of(uint64_t block) {
  uint64_t hash = block * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
  hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ull;
  return hash ^ hash >> 32;
}

}  // namespace

void SpaceCheck::broken(const FindingKind& kind, std::string text) {
  scan_.findings().add(kind, std::move(text));
  MutexLock lock(mutex_);
  only_leaks_ = false;
}

void SpaceCheck::compare_free(uint64_t really, uint64_t said, const std::string& where) {
  if (said == really) return;
  std::string text =
      fmt::format("the {} space map has {} free blocks{}, and says {}", name(), really, where, said);
  if (said > really)
    broken(finding::free_count, std::move(text));
  else
    scan_.findings().add(finding::free_count_low, std::move(text));
}

Result<void> SpaceCheck::visit() {
  if (root_.nr_allocated > root_.nr_blocks)
    broken(finding::space_map, fmt::format("the {} space map has {} blocks in use, of {}", name(),
                                           root_.nr_allocated.value(), root_.nr_blocks.value()));
  index_.assign(bitmaps_for(root_.nr_blocks), IndexEntry{});
  TRY(of_ == Of::data ? visit_data_index() : visit_metadata_index());
  if (usable_) TRY(visit_bitmaps());
  const auto role = of_ == Of::data ? BlockRole::data_counts_node : BlockRole::metadata_counts_node;
  const MetadataBlock counts{root_.ref_count_root.value()};
  TRY(scan_.scan({counts}, role, sizeof(le32), [](NodeView) {}));
  if (TRY(scan_.summarize(counts, role, sizeof(le32))).state != NodeSummary::whole)
    broken(finding::space_map, fmt::format("counts of the {} space map are lost", name()));
  return {};
}

Result<void> SpaceCheck::visit_data_index() {
  std::vector<bool> seen(index_.size());
  const MetadataBlock root{root_.bitmap_root.value()};
  TRY(scan_.scan({root}, BlockRole::data_index_node, sizeof(IndexEntry), [&](NodeView leaf) {
    MutexLock lock(mutex_);
    for (uint32_t i = 0; i < leaf.size(); ++i) {
      if (leaf.key(i) >= index_.size()) {
        scan_.findings().add(
            finding::space_map,
            fmt::format("the data space map's index has a bitmap {}, of {}", leaf.key(i), index_.size()));
        only_leaks_ = false;
        continue;
      }
      index_[leaf.key(i)] = leaf.value_as<IndexEntry>(i);
      seen[leaf.key(i)] = true;
    }
  }));
  const auto sum = TRY(scan_.summarize(root, BlockRole::data_index_node, sizeof(IndexEntry)));
  const auto missing = std::ranges::count(seen, false);
  if (sum.state == NodeSummary::whole && missing == 0) return {};
  broken(finding::space_map,
         fmt::format("the data space map's index lacks {} of {} bitmaps", missing, seen.size()));
  usable_ = missing == 0;
  return {};
}

Result<void> SpaceCheck::visit_metadata_index() {
  const MetadataBlock at{root_.bitmap_root.value()};
  usable_ = false;
  if (!scan_.refer(at, BlockRole::metadata_index, "the superblock")) return {};
  std::vector<std::byte> block(metadata_block_size);
  auto read = scan_.device().read(raw(at) * metadata_block_size, block);
  if (read) read = check_seal(BlockKind::index, at, block);
  if (!read) {
    broken(finding::block,
           std::move(read).error().while_doing("reading the metadata space map's index").message());
    return {};
  }
  const auto& entries = overlay<MetadataIndex>(block)->entries;
  std::copy_n(entries.begin(), index_.size(), index_.begin());
  usable_ = true;
  return {};
}

Result<void> SpaceCheck::visit_bitmaps() {
  const auto role = of_ == Of::data ? BlockRole::data_bitmap : BlockRole::metadata_bitmap;
  const std::string from = fmt::format("the {} space map's index", name());
  for (uint32_t i = 0; i < index_.size(); ++i) {
    const MetadataBlock at{index_[i].blocknr.value()};
    if (scan_.refer(at, role, from.c_str())) continue;
    broken(finding::space_map,
           fmt::format("{} has a bitmap {}, block {}, that is no block of its own", from, i, at));
    index_[i].blocknr = 0;  // not to be looked at
  }
  return {};
}

void SpaceCheck::compare_count(uint64_t block, uint32_t recorded, bool in_bitmap, uint32_t index) {
  const uint32_t used = uses().count(block);
  if (recorded == used) return;
  const bool leak = recorded > used;
  scan_.findings().add(
      leak ? finding::leak : finding::count,
      fmt::format("{} block {} is counted {} times and used {} times", name(), block, recorded, used));
  MutexLock lock(mutex_);
  if (!leak) only_leaks_ = false;
  ++leaks_;
  if (!leak) return;
  if (!in_bitmap)
    only_leaks_ = false;
  else if (leaky_.empty() || leaky_.back() != index)
    leaky_.push_back(index);
}

void SpaceCheck::compare_bitmap(uint32_t index, Bytes block) {
  const BitmapView bitmap(block);
  const uint64_t base = uint64_t{index} * bitmap_entries;
  const auto end = static_cast<uint32_t>(std::min<uint64_t>(bitmap_entries, root_.nr_blocks - base));
  uint64_t hashes = 0;
  for (uint32_t entry = 0; entry < end; ++entry) {
    const uint32_t bits = bitmap.get(entry);
    if (bits == count_in_tree)
      hashes += hash_of(base + entry);
    else
      compare_count(base + entry, bits, true, index);
  }
  // Past the end all entries are free; who made the map may have counted them or not.
  const uint32_t free = bitmap.count_free(end), free_with_rest = free + (bitmap_entries - end);
  const uint32_t said = index_[index].nr_free;
  if (said != free) compare_free(free_with_rest, said, fmt::format(" in bitmap {}", index));
  MutexLock lock(mutex_);
  allocated_ += end - free;
  large_in_bitmaps_ += hashes;
}

Result<void> SpaceCheck::compare() {
  if (!usable_) return {};
  BlockSet bitmaps(scan_.nr_blocks());
  std::vector<std::pair<uint64_t, uint32_t>> by_block;
  for (uint32_t i = 0; i < index_.size(); ++i) {
    if (index_[i].blocknr == 0) continue;
    bitmaps.insert(MetadataBlock{index_[i].blocknr.value()});
    by_block.emplace_back(index_[i].blocknr.value(), i);
  }
  std::ranges::sort(by_block);
  TRY(scan_blocks(
      scan_.device(), bitmaps, scan_.pool(), [&](MetadataBlock number, Bytes block, const Error* error) {
        auto read =
            error == nullptr ? check_seal(BlockKind::bitmap, number, block) : Result<void>(error->clone());
        if (!read)
          return broken(
              finding::block,
              std::move(read).error().while_doing(fmt::format("reading the {} space map", name())).message());
        compare_bitmap(std::ranges::lower_bound(by_block, std::pair(raw(number), 0u))->second, block);
      }));
  TRY(compare_large_counts());
  if (!only_leaks_ && by_block.size() != index_.size()) return {};
  if (root_.nr_allocated <= root_.nr_blocks)
    compare_free(root_.nr_blocks - allocated_, root_.nr_blocks - root_.nr_allocated, "");
  return {};
}

Result<void> SpaceCheck::compare_large_counts() {
  // Visited before, so it is read as a tree of its own.
  BlockSet nodes(scan_.nr_blocks());
  const auto role = of_ == Of::data ? BlockRole::data_counts_node : BlockRole::metadata_counts_node;
  for (uint64_t block = 0; block < scan_.nr_blocks(); ++block)
    if (scan_.role(MetadataBlock{block}) == role) nodes.insert(MetadataBlock{block});
  TRY(scan_blocks(
      scan_.device(), nodes, scan_.pool(), [&](MetadataBlock number, Bytes block, const Error* error) {
        if (error != nullptr || scan_.summary(number).state != NodeSummary::whole) return;
        const NodeView node(block);
        if (!check_seal(BlockKind::node, number, block) ||
            !check_node(node, {sizeof(le32), scan_.nr_blocks()}))
          return;
        if (!node.is_leaf()) return;
        uint64_t hashes = 0;
        for (uint32_t i = 0; i < node.size(); ++i) {
          if (node.key(i) >= root_.nr_blocks || node.value_as<le32>(i) < count_in_tree) {
            broken(finding::space_map, fmt::format("the {} space map has a large count of {} for block {}",
                                                   name(), node.value_as<le32>(i).value(), node.key(i)));
            continue;
          }
          hashes += hash_of(node.key(i));
          compare_count(node.key(i), node.value_as<le32>(i), false, 0);
        }
        MutexLock lock(mutex_);
        large_in_tree_ += hashes;
      }));
  if (large_in_bitmaps_ != large_in_tree_)
    broken(
        finding::space_map,
        fmt::format("bitmaps and counts of the {} space map do not agree on what has a large count", name()));
  return {};
}

}  // namespace karst::thin
