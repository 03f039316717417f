// Link counts after a replay, from the references that inodes then have.
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/name_parts.h"
#include "btrfs/txn/replay.h"

namespace karst::btrfs {
namespace {

template <typename Head>
Result<uint32_t> count_references(ItemStore& items, uint64_t inode, ItemType type) {
  uint32_t count = 0;
  auto item = TRY(items.seek({inode, type, 0}));
  while (item && item->key.objectid == inode && item->key.type == type) {
    for (auto part = part_at<Head>(item->data); part; part = part_at<Head>(item->data, part->end())) ++count;
    item = TRY(items.seek(item->key.successor()));
  }
  return count;
}

Result<void> make_orphan(Replay& replay, uint64_t inode, const InodeItem& item) {
  if (is_directory(item)) TRY(remove_all_entries(replay, inode));
  Key key{id::orphan, ItemType::orphan_item, inode};
  if (TRY(replay.items.find(key))) return {};
  return replay.items.insert(key, {});
}

Result<void> count_links_of(Replay& replay, uint64_t inode) {
  InodeItem item = TRY(get_inode(replay.items, inode));
  item.nlink = TRY(count_references<InodeRef>(replay.items, inode, ItemType::inode_ref)) +
               TRY(count_references<InodeExtref>(replay.items, inode, ItemType::inode_extref));
  TRY(update_inode(replay.items, inode, item, replay.transid));
  if (item.nlink != 0) return {};
  return make_orphan(replay, inode, item);
}

}  // namespace

Result<void> count_links(Replay& replay) {
  // A directory that goes adds what was in it.
  while (!replay.to_count.empty()) {
    auto last = std::prev(replay.to_count.end());
    uint64_t inode = *last;
    replay.to_count.erase(last);
    TRY(count_links_of(replay, inode));
  }
  return {};
}

}  // namespace karst::btrfs
