#include "btrfs/tool/check/log.h"

#include <algorithm>

#include "btrfs/tool/check/csum_ranges.h"
#include "btrfs/tool/check/scan.h"

namespace karst::btrfs::check {
namespace {

class NoSink final : public FactSink {
 public:
  void add(const Fact&, Times) override {}
};

RootRecord log_root(uint64_t subvolume, const BlockPointer& block) {
  RootRecord root;
  root.id = id::tree_log;
  root.key_offset = subvolume;
  root.block = block;
  root.block.root = id::tree_log;
  return root;
}

// One for each subvolume that was logged; the log root tree first.
std::vector<RootRecord> log_roots(State& state, const Tree& tree) {
  std::vector<RootRecord> roots{log_root(0, tree.root)};
  ItemStream items(state.blocks(), tree.root);
  while (items.next()) {
    if (items.key().type != ItemType::root_item) continue;
    Root root = root_from_item(items.key(), items.data());
    if (root.item.bytenr == 0)
      state.report.add(finding::bad_block,
                       fmt::format("log of subvolume {} has no tree block", items.key().offset),
                       {{"root", items.key().offset}});
    roots.push_back(
        log_root(items.key().offset,
                 {Logical(root.item.bytenr.value()), root.item.generation, root.item.level, 0, {}}));
  }
  return roots;
}

// Logged checksums are in the log tree itself, earlier ones in the checksum tree.
bool is_summed(State& state, const BlockPointer& log, uint64_t start, uint64_t end) {
  std::optional<BlockPointer> csums;
  if (auto tree = state.fs.tree(id::csum_tree)) csums = tree->root;
  while (start < end) {
    uint64_t at = first_unsummed(state, log, start, end);
    if (csums && at < end) at = first_unsummed(state, *csums, at, end);
    if (at == start) return false;
    start = at;
  }
  return true;
}

void check_log_extents(State& state, const RootRecord& log) {
  uint64_t inode = 0;
  bool nodatasum = false;
  ItemStream items(state.blocks(), log.block);
  while (items.next()) {
    const Key& key = items.key();
    if (key.objectid != inode) {
      inode = key.objectid;
      nodatasum = false;
    }
    if (key.type == ItemType::inode_item)
      nodatasum = (items.as<InodeItem>()->flags & inode_flag::nodatasum) != 0;
    if (key.type != ItemType::extent_data) continue;
    const auto* extent = items.as<FileExtent>();
    if (!extent || extent->head.type == static_cast<uint8_t>(FileExtentType::inline_data) ||
        extent->disk_bytenr == 0)
      continue;
    state.log_extents.emplace_back(extent->disk_bytenr, extent->disk_bytenr + extent->disk_num_bytes);
    if (nodatasum || extent->head.type != static_cast<uint8_t>(FileExtentType::regular)) continue;
    uint64_t start = extent->disk_bytenr, length = extent->disk_num_bytes;
    if (extent->head.compression == 0) {
      start += extent->offset;
      length = extent->num_bytes;
    }
    if (!is_summed(state, log.block, start, start + length))
      state.report.add(
          finding::log_csum,
          fmt::format("csum missing in log (root {} inode {} offset {} address 0x{:x} length {})",
                      log.key_offset, key.objectid, key.offset, start, length),
          {{"root", log.key_offset}, {"inode", key.objectid}, {"bytenr", start}});
  }
}

}  // namespace

Result<void> check_log(State& state) {
  auto tree = state.fs.log_root_tree();
  if (!tree) return {};
  const std::vector<RootRecord> roots = log_roots(state, *tree);
  NoSink none;
  TRY(scan_trees(state, roots,
                 {.make_sink = [&]() -> FactSink& { return none; }, .first = true, .references = false}));
  for (const RootRecord& root : std::span(roots).subspan(1)) check_log_extents(state, root);
  std::sort(state.log_extents.begin(), state.log_extents.end());
  return {};
}

}  // namespace karst::btrfs::check
