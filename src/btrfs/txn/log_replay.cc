#include "btrfs/txn/log_replay.h"

#include "btrfs/txn/replay.h"

namespace karst::btrfs {
namespace {

struct Log {
  uint64_t subvolume;
  Tree tree;
};

// The log trees that the tree of log roots refers to, each under its subvolume's id.
Result<std::vector<Log>> list_logs(const Filesystem& fs, const Tree& roots) {
  std::vector<Log> logs;
  Cursor cursor(roots);
  for (bool more = TRY(cursor.seek({id::tree_log, ItemType::root_item, 0})); more;
       more = TRY(cursor.next_of(id::tree_log, ItemType::root_item))) {
    Key key = cursor.key();
    if (key.objectid != id::tree_log || key.type != ItemType::root_item) break;
    if (!is_fs_tree(key.offset))
      return Error(karst::err::corrupt, "log of something other than a subvolume").at("tree", key.offset);
    Root root = root_from_item(key, cursor.data());
    BlockPointer block{
        Logical(root.item.bytenr.value()), root.item.generation, root.item.level, id::tree_log, {}};
    logs.push_back({key.offset, fs.tree_at(id::tree_log, block)});
  }
  return logs;
}

// The subvolume that a log is for; nothing if it has been deleted since.
Result<std::optional<Root>> subvolume_of(const Filesystem& fs, const Log& log) {
  auto root = fs.root(log.subvolume);
  if (!root && root.error().is(err::no_tree)) return std::optional<Root>();
  Root found = TRY(std::move(root));
  if (found.item.refs == 0) return std::optional<Root>();
  return std::optional(std::move(found));
}

using Overlays = std::vector<std::pair<uint64_t, std::unique_ptr<ItemOverlay>>>;

Result<Overlays> replay_all(const Filesystem& fs, const Tree& roots) {
  Overlays overlays;
  OverlayStore checksums(TRY(fs.tree(id::csum_tree)), fs.geometry().nodesize);
  for (const Log& log : TRY(list_logs(fs, roots))) {
    auto subvolume = TRY(subvolume_of(fs, log));
    if (!subvolume) continue;
    TreeReader reader(log.tree);
    OverlayStore items(fs.tree_of(*subvolume), fs.geometry().nodesize);
    Replay replay{reader, items, checksums, fs.geometry(), fs.super().generation + 1};
    TRY(replay_subvolume(replay).context([&] { return fmt::format("log of subvolume {}", log.subvolume); }));
    overlays.emplace_back(log.subvolume, std::move(items).take_overlay());
  }
  overlays.emplace_back(id::csum_tree, std::move(checksums).take_overlay());
  return overlays;
}

}  // namespace

Result<void> replay_log(Filesystem& fs) {
  auto roots = fs.log_root_tree();
  if (!roots) return {};
  Overlays overlays = TRY(replay_all(fs, *roots));
  for (auto& [tree, overlay] : overlays) fs.install_overlay(tree, std::move(overlay));
  return {};
}

}  // namespace karst::btrfs
