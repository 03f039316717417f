// What is gone: attributes and directory entries that the log would have if they were still there.
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/links.h"
#include "btrfs/txn/name_parts.h"
#include "btrfs/txn/replay.h"

namespace karst::btrfs {
namespace {

bool is_of(const std::optional<StoredItem>& item, uint64_t objectid, ItemType type) {
  return item && item->key.objectid == objectid && item->key.type == type;
}

// An entry, copied out of the store.
struct Entry {
  uint64_t index;
  std::string name;
};

Result<std::optional<Entry>> first_entry(ItemStore& items, uint64_t directory, uint64_t index) {
  auto item = TRY(items.seek({directory, ItemType::dir_index, index}));
  if (!is_of(item, directory, ItemType::dir_index)) return std::optional<Entry>();
  auto part = part_at<DirItem>(item->data);
  if (!part) return Error(karst::err::corrupt, "directory entry is too short").at("key", item->key);
  return std::optional(Entry{item->key.offset, std::string(part->name)});
}

Result<void> remove_entry_at(Replay& replay, uint64_t directory, const Entry& entry) {
  auto target = TRY(find_entry_at(replay.items, directory, entry.index, entry.name));
  if (!target->is_inode())
    return remove_subvolume_entry(replay.items, directory, entry.index, entry.name, replay.transid);
  replay.to_count.insert(target->location.objectid);
  return remove_link(replay.items, directory, entry.name, target->location.objectid, replay.transid);
}

// An entry that leads to another subvolume has no reference that would give its index.
Result<void> remove_subvolume_name(Replay& replay, uint64_t directory, std::string_view name) {
  auto entry = TRY(first_entry(replay.items, directory, 0));
  while (entry && entry->name != name && entry->index != ~0ull)
    entry = TRY(first_entry(replay.items, directory, entry->index + 1));
  if (!entry || entry->name != name)
    return Error(karst::err::corrupt, "entry by name only").at("directory", directory).at("name", name);
  return remove_subvolume_entry(replay.items, directory, entry->index, name, replay.transid);
}

// Removes the entries with indexes first … last for which `keep` says no.
template <typename Keep>
Result<void> remove_entries(Replay& replay, uint64_t directory, uint64_t first, uint64_t last, Keep keep) {
  for (uint64_t index = first;;) {
    auto entry = TRY(first_entry(replay.items, directory, index));
    if (!entry || entry->index > last) return {};
    if (!TRY(keep(*entry))) TRY(remove_entry_at(replay, directory, *entry));
    if (entry->index == last) return {};
    index = entry->index + 1;
  }
}

// The first name of the item that the log does not have under the same key.
Result<std::optional<std::string>> unlogged_attribute(ItemReader& log, const Key& key,
                                                      const std::vector<std::byte>& item) {
  auto logged = TRY(log.find(key));
  auto part = find_part<DirItem>(item, [&](const NamePart<DirItem>& candidate) {
    return !logged || !find_name<DirItem>(logged->data, candidate.name);
  });
  if (!part) return std::optional<std::string>();
  return std::optional(std::string(part->name));
}

}  // namespace

Result<void> remove_unlogged_attributes(Replay& replay, uint64_t inode) {
  auto item = TRY(replay.items.seek({inode, ItemType::xattr_item, 0}));
  while (is_of(item, inode, ItemType::xattr_item)) {
    Key key = item->key;
    std::vector<std::byte> bytes(item->data.begin(), item->data.end());
    if (auto name = TRY(unlogged_attribute(replay.log, key, bytes))) {
      auto part = find_name<DirItem>(bytes, *name);
      TRY(cut_from_item(replay.items, key, part->offset, part->size));
      item = TRY(replay.items.seek(key));
    } else {
      item = TRY(replay.items.seek(key.successor()));
    }
  }
  return {};
}

Result<void> remove_unlogged_entries(Replay& replay, uint64_t directory) {
  if (!TRY(find_inode(replay.items, directory))) return {};  // new in the log
  auto is_logged = [&](const Entry& entry) -> Result<bool> {
    return TRY(find_entry_at(replay.log, directory, entry.index, entry.name)).has_value();
  };
  auto range = TRY(replay.log.seek({directory, ItemType::dir_log_index, 0}));
  while (is_of(range, directory, ItemType::dir_log_index)) {
    const auto* item = overlay<DirLogItem>(range->data);
    if (!item)
      return Error(karst::err::corrupt, "range of a logged directory is too short").at("key", range->key);
    Key key = range->key;
    TRY(remove_entries(replay, directory, key.offset, item->end, is_logged));
    range = TRY(replay.log.seek(key.successor()));
  }
  return {};
}

Result<void> remove_all_entries(Replay& replay, uint64_t directory) {
  return remove_entries(replay, directory, 0, ~0ull, [](const Entry&) -> Result<bool> { return false; });
}

Result<void> remove_entry_for_replay(Replay& replay, uint64_t directory, std::string_view name) {
  auto target = TRY(find_entry(replay.items, directory, name));
  if (!target)
    return Error(karst::err::corrupt, "entry by index only").at("directory", directory).at("name", name);
  if (!target->is_inode()) return remove_subvolume_name(replay, directory, name);
  replay.to_count.insert(target->location.objectid);
  return remove_link(replay.items, directory, name, target->location.objectid, replay.transid);
}

}  // namespace karst::btrfs
