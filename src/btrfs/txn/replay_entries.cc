// Directory entries of the log. Only those by index are logged; older kernels logged those by name too, which
// follow from them.
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/links.h"
#include "btrfs/txn/name_parts.h"
#include "btrfs/txn/replay.h"

namespace karst::btrfs {
namespace {

// Whether the entry found is the logged one. Another one is removed, unless the logged one's inode does not
// exist.
Result<bool> matches_or_removed(Replay& replay, uint64_t directory, std::string_view name,
                                const EntryTarget& found, const EntryTarget& logged, bool exists) {
  if (found == logged) return true;
  if (exists) TRY(remove_entry_for_replay(replay, directory, name));
  return false;
}

}  // namespace

Result<void> replay_entry(Replay& replay, const StoredItem& item) {
  auto part = part_at<DirItem>(item.data);
  if (!part) return Error(karst::err::corrupt, "directory entry is too short").at("key", item.key);
  const uint64_t directory = item.key.objectid, index = item.key.offset;
  const std::string_view name = part->name;
  const EntryTarget logged{part->head.location.key(), part->head.type};
  const uint64_t inode = logged.location.objectid;
  const bool exists = logged.is_inode() && TRY(find_inode(replay.items, inode));

  bool has_name = false, has_index = false;
  if (auto found = TRY(find_entry(replay.items, directory, name)))
    has_name = TRY(matches_or_removed(replay, directory, name, *found, logged, exists));
  if (auto found = TRY(find_entry_at(replay.items, directory, index, name)))
    has_index = TRY(matches_or_removed(replay, directory, name, *found, logged, exists));
  if (has_name && has_index) return {};
  // A directory's fsync does not take along what its names lead to.
  if (!exists) return {};
  // The name comes with the logged reference, later.
  if (TRY(has_reference(replay.log, inode, directory, name))) return {};

  bool added = TRY(add_link(replay.items, directory, index, name, inode, WithReference::yes, replay.transid));
  if (added && part->head.type != static_cast<uint8_t>(FileType::directory)) replay.to_count.insert(inode);
  return {};
}

}  // namespace karst::btrfs
