// References of the log, from inodes back to their names, and with them the names.
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/links.h"
#include "btrfs/txn/name_parts.h"
#include "btrfs/txn/replay.h"

namespace karst::btrfs {
namespace {

// A name of the inode.
struct Reference {
  uint64_t directory;
  uint64_t index;
  std::string name;
};

// All in an item of either type.
std::vector<Reference> references_in(const StoredItem& item) {
  std::vector<Reference> all;
  if (item.key.type == ItemType::inode_extref) {
    for (auto part = part_at<InodeExtref>(item.data); part;
         part = part_at<InodeExtref>(item.data, part->end()))
      all.push_back({part->head.parent_objectid, part->head.index, std::string(part->name)});
  } else {
    for (auto part = part_at<InodeRef>(item.data); part; part = part_at<InodeRef>(item.data, part->end()))
      all.push_back({item.key.offset, part->head.index, std::string(part->name)});
  }
  return all;
}

Result<std::vector<Reference>> references_at(ItemReader& items, const Key& key) {
  auto item = TRY(items.find(key));
  return item ? references_in(*item) : std::vector<Reference>();
}

// Unlinks the names that the subvolume's item at `key` has and the log's does not; with `only_in`, those of
// that directory.
Result<void> unlink_unlogged(Replay& replay, const Key& key, std::optional<uint64_t> only_in) {
  std::vector<Reference> present = TRY(references_at(replay.items, key));
  if (present.empty()) return {};
  std::set<std::pair<uint64_t, std::string>> logged;
  for (Reference& reference : TRY(references_at(replay.log, key)))
    logged.emplace(reference.directory, std::move(reference.name));
  for (const Reference& reference : present) {
    if (only_in && reference.directory != *only_in) continue;
    if (logged.contains({reference.directory, reference.name})) continue;
    TRY(remove_link(replay.items, reference.directory, reference.name, key.objectid, replay.transid));
  }
  return {};
}

// Whether the directory leads to the inode by this name and index, in both its items.
Result<bool> is_in_directory(Replay& replay, uint64_t inode, const Reference& reference) {
  const Key location = inode_key(inode);
  auto at = TRY(find_entry_at(replay.items, reference.directory, reference.index, reference.name));
  if (!at || at->location != location) return false;
  auto by_name = TRY(find_entry(replay.items, reference.directory, reference.name));
  return by_name && by_name->location == location;
}

// One reference item of the log.
class ReferenceItem {
 public:
  ReferenceItem(Replay& replay, uint64_t inode) : replay_(replay), inode_(inode) {}

  Result<void> add(const Reference& reference) {
    if (TRY(is_in_directory(replay_, inode_, reference))) return {};
    TRY(make_way(reference));
    bool added = TRY(add_link(replay_.items, reference.directory, reference.index, reference.name, inode_,
                              WithReference::no, replay_.transid));
    if (!added)
      return Error(karst::err::corrupt, "the name of a logged reference is taken").at("name", reference.name);
    return {};
  }

 private:
  // Removes what stands in the way: other names of the inode in that directory, and another inode under that
  // name.
  Result<void> make_way(const Reference& wanted) {
    TRY(unlink_unlogged_once({inode_, ItemType::inode_ref, wanted.directory}, wanted.directory));
    Key extref{inode_, ItemType::inode_extref, extref_hash(wanted.directory, wanted.name)};
    if (TRY(has_extref(replay_.items, inode_, wanted.directory, wanted.name)))
      TRY(unlink_unlogged_once(extref, wanted.directory));
    if (TRY(find_entry_at(replay_.items, wanted.directory, wanted.index, wanted.name)))
      TRY(remove_entry_for_replay(replay_, wanted.directory, wanted.name));
    if (TRY(find_entry(replay_.items, wanted.directory, wanted.name)))
      TRY(remove_entry_for_replay(replay_, wanted.directory, wanted.name));
    return {};
  }

  // Once is enough, and an item can hold thousands of names.
  Result<void> unlink_unlogged_once(const Key& key, uint64_t directory) {
    if (!cleared_.emplace(key, directory).second) return {};
    return unlink_unlogged(replay_, key, directory);
  }

  Replay& replay_;
  const uint64_t inode_;
  std::set<std::pair<Key, uint64_t>> cleared_;
};

}  // namespace

Result<void> replay_references(Replay& replay, const StoredItem& item) {
  const uint64_t inode = item.key.objectid;
  std::vector<Reference> logged = references_in(item);
  if (logged.empty()) return {};
  // The root directory refers to itself, and has no name.
  if (item.key.type == ItemType::inode_ref && inode == item.key.offset && TRY(replay.items.find(item.key)))
    return {};
  // A directory that is neither in the log nor in the subvolume: the count of links will tell.
  if (!TRY(find_inode(replay.items, logged.front().directory))) return {};

  ReferenceItem references(replay, inode);
  for (const Reference& reference : logged)
    if (TRY(find_inode(replay.items, reference.directory))) TRY(references.add(reference));
  // The item is about to be replaced: its other names go as names do, with their entries.
  TRY(unlink_unlogged(replay, item.key, std::nullopt));
  return replay.items.put(item.key, item.data);
}

}  // namespace karst::btrfs
