#include "btrfs/txn/replay.h"

#include "btrfs/format/inode.h"
#include "core/function_ref.h"

namespace karst::btrfs {
namespace {

using Step = Result<void>(Replay&, const StoredItem&);

// Calls the step for each item that belongs to an inode which is to be replayed. Items come with their bytes
// copied, since the step looks up others in the log.
Result<void> for_each_logged(Replay& replay, FunctionRef<Step> step) {
  std::vector<std::byte> bytes;
  bool skipping = false;  // the items of an inode without links
  auto item = TRY(replay.log.seek(Key::min()));
  while (item) {
    Key key = item->key;
    bytes.assign(item->data.begin(), item->data.end());
    if (key.type == ItemType::inode_item) {
      const auto* inode = overlay<InodeItem>(bytes);
      skipping = inode && inode->nlink == 0;
    }
    if (!skipping) TRY(step(replay, {key, bytes}).context([&] { return fmt::format("replaying {}", key); }));
    item = TRY(replay.log.seek(key.successor()));
  }
  return {};
}

Result<void> inode_step(Replay& replay, const StoredItem& item) {
  return item.key.type == ItemType::inode_item ? replay_inode(replay, item) : Result<void>();
}

Result<void> entry_step(Replay& replay, const StoredItem& item) {
  return item.key.type == ItemType::dir_index ? replay_entry(replay, item) : Result<void>();
}

Result<void> last_step(Replay& replay, const StoredItem& item) {
  switch (item.key.type) {
    case ItemType::xattr_item: return replay_attributes(replay, item);
    case ItemType::inode_ref:
    case ItemType::inode_extref: return replay_references(replay, item);
    case ItemType::extent_data: return replay_file_extent(replay, item);
    default: return {};
  }
}

}  // namespace

Result<void> replay_subvolume(Replay& replay) {
  TRY(for_each_logged(replay, inode_step));
  TRY(for_each_logged(replay, entry_step));
  TRY(for_each_logged(replay, last_step));
  return count_links(replay);
}

}  // namespace karst::btrfs
