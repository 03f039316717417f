// Inode items of the log.
#include "btrfs/txn/file_extents.h"
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/replay.h"
#include "core/checked.h"

namespace karst::btrfs {
namespace {

// An inode the subvolume does not have. Its size, if a directory, and its allocated bytes grow with what is
// replayed into it.
Result<void> insert_inode(Replay& replay, const Key& key, InodeItem logged) {
  logged.nbytes = 0;
  if (is_directory(logged)) logged.size = 0;
  if (logged.generation == 0) logged.generation = replay.transid;
  return replay.items.insert(key, bytes_of(logged));
}

// An inode that exists. Where it is in the log only to exist, it may still bring the size that an earlier
// fsync of it had logged.
Result<void> overwrite_inode(Replay& replay, const Key& key, const InodeItem& existing, InodeItem logged) {
  if (logged.generation == 0) {
    if (!is_regular(logged) || !is_regular(existing) || logged.size == 0) return {};
    InodeItem resized = existing;
    resized.size = logged.size;
    return replay.items.replace(key, bytes_of(resized));
  }
  logged.nbytes = existing.nbytes;
  if (is_directory(logged)) logged.size = is_directory(existing) ? existing.size : le64(0);
  return replay.items.replace(key, bytes_of(logged));
}

// Before the logged extents come, not after: they may be preallocated ones past the end of the file.
Result<void> drop_past_end(Replay& replay, uint64_t inode) {
  InodeItem item = TRY(get_inode(replay.items, inode));
  auto end = checked_round_up<uint64_t>(item.size, replay.geometry.sectorsize);
  if (!end) return {};
  uint64_t dropped = TRY(drop_file_extents(replay.items, inode, *end, ~0ull));
  item.nbytes -= dropped;
  return update_inode(replay.items, inode, item, replay.transid);
}

}  // namespace

Result<void> replay_inode(Replay& replay, const StoredItem& item) {
  const auto* logged = overlay<InodeItem>(item.data);
  if (!logged) return Error(karst::err::corrupt, "inode item is too short").at("key", item.key);
  uint64_t inode = item.key.objectid;
  TRY(remove_unlogged_attributes(replay, inode));
  if (is_directory(*logged)) TRY(remove_unlogged_entries(replay, inode));

  auto existing = TRY(find_inode(replay.items, inode));
  if (!existing)
    TRY(insert_inode(replay, item.key, *logged));
  else if (as_text(bytes_of(*existing)) != as_text(item.data))
    TRY(overwrite_inode(replay, item.key, *existing, *logged));

  if (is_regular(*logged)) TRY(drop_past_end(replay, inode));
  replay.to_count.insert(inode);
  return {};
}

}  // namespace karst::btrfs
