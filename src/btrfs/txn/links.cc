#include "btrfs/txn/links.h"

#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/name_parts.h"

namespace karst::btrfs {
namespace {

Key entry_key(uint64_t directory, std::string_view name) {
  return {directory, ItemType::dir_item, name_hash(name)};
}
Key index_key(uint64_t directory, uint64_t index) { return {directory, ItemType::dir_index, index}; }
Key reference_key(uint64_t inode, uint64_t directory) { return {inode, ItemType::inode_ref, directory}; }
Key extref_key(uint64_t inode, uint64_t directory, std::string_view name) {
  return {inode, ItemType::inode_extref, extref_hash(directory, name)};
}

Error broken_link(const char* what, uint64_t directory, std::string_view name, uint64_t inode) {
  return Error(karst::err::corrupt, what).at("directory", directory).at("name", name).at("inode", inode);
}

std::optional<NamePart<InodeExtref>> find_extref(Bytes item, uint64_t directory, std::string_view name) {
  return find_part<InodeExtref>(item, [&](const NamePart<InodeExtref>& part) {
    return part.head.parent_objectid == directory && part.name == name;
  });
}

Result<std::optional<EntryTarget>> target_in(ItemReader& items, const Key& key, std::string_view name) {
  auto item = TRY(items.find(key));
  auto part = item ? find_name<DirItem>(item->data, name) : std::nullopt;
  if (!part) return std::optional<EntryTarget>();
  return std::optional(EntryTarget{part->head.location.key(), part->head.type});
}

// The size of a directory is the length of its names, twice.
Result<void> resize_directory(ItemStore& items, uint64_t directory, int64_t change, uint64_t transid) {
  InodeItem item = TRY(get_inode(items, directory));
  uint64_t size = item.size;
  item.size = change < 0 && size < static_cast<uint64_t>(-change) ? 0 : size + static_cast<uint64_t>(change);
  item.sequence += 1;
  return update_inode(items, directory, item, transid);
}

int64_t directory_bytes(std::string_view name) { return 2 * static_cast<int64_t>(name.size()); }

Result<void> add_reference(ItemStore& items, uint64_t inode, uint64_t directory, uint64_t index,
                           std::string_view name) {
  auto length = static_cast<uint16_t>(name.size());
  if (TRY(append_to_item(items, reference_key(inode, directory), packed(InodeRef{index, length}, name))))
    return {};
  Key key = extref_key(inode, directory, name);
  if (TRY(append_to_item(items, key, packed(InodeExtref{directory, index, length}, name)))) return {};
  return broken_link("too many references of one hash", directory, name, inode);
}

// Takes the reference away: the index of its entry.
Result<uint64_t> remove_reference(ItemStore& items, uint64_t inode, uint64_t directory,
                                  std::string_view name) {
  Key key = reference_key(inode, directory);
  if (auto item = TRY(items.find(key)))
    if (auto part = find_name<InodeRef>(item->data, name)) {
      uint64_t index = part->head.index;
      TRY(cut_from_item(items, key, part->offset, part->size));
      return index;
    }
  key = extref_key(inode, directory, name);
  if (auto item = TRY(items.find(key)))
    if (auto part = find_extref(item->data, directory, name)) {
      uint64_t index = part->head.index;
      TRY(cut_from_item(items, key, part->offset, part->size));
      return index;
    }
  return broken_link("the inode does not refer back to its name", directory, name, inode);
}

Result<void> remove_entry(ItemStore& items, uint64_t directory, std::string_view name) {
  Key key = entry_key(directory, name);
  auto item = TRY(items.find(key));
  auto part = item ? find_name<DirItem>(item->data, name) : std::nullopt;
  if (!part) return broken_link("no such name in the directory", directory, name, 0);
  return cut_from_item(items, key, part->offset, part->size);
}

}  // namespace

Result<std::optional<EntryTarget>> find_entry(ItemReader& items, uint64_t directory, std::string_view name) {
  return target_in(items, entry_key(directory, name), name);
}

Result<std::optional<EntryTarget>> find_entry_at(ItemReader& items, uint64_t directory, uint64_t index,
                                                 std::string_view name) {
  return target_in(items, index_key(directory, index), name);
}

Result<bool> has_reference(ItemReader& items, uint64_t inode, uint64_t directory, std::string_view name) {
  if (auto item = TRY(items.find(reference_key(inode, directory))))
    if (find_name<InodeRef>(item->data, name)) return true;
  return has_extref(items, inode, directory, name);
}

Result<bool> has_extref(ItemReader& items, uint64_t inode, uint64_t directory, std::string_view name) {
  auto item = TRY(items.find(extref_key(inode, directory, name)));
  return item && find_extref(item->data, directory, name);
}

Result<bool> add_link(ItemStore& items, uint64_t directory, uint64_t index, std::string_view name,
                      uint64_t inode, WithReference with_reference, uint64_t transid) {
  if (TRY(find_entry(items, directory, name))) return false;
  if (with_reference == WithReference::yes) {
    if (TRY(has_reference(items, inode, directory, name))) return false;
    TRY(add_reference(items, inode, directory, index, name));
  }
  InodeItem target = TRY(get_inode(items, inode));
  DirItem entry{DiskKey::from(inode_key(inode)), transid, 0, static_cast<uint16_t>(name.size()),
                static_cast<uint8_t>(file_type_of(target.mode))};
  auto bytes = packed(entry, name);
  if (!TRY(append_to_item(items, entry_key(directory, name), bytes)))
    return broken_link("too many names of one hash", directory, name, inode);
  TRY(items.insert(index_key(directory, index), bytes));
  TRY(resize_directory(items, directory, directory_bytes(name), transid));
  return true;
}

Result<void> remove_link(ItemStore& items, uint64_t directory, std::string_view name, uint64_t inode,
                         uint64_t transid) {
  TRY(remove_entry(items, directory, name));
  uint64_t index = TRY(remove_reference(items, inode, directory, name));
  TRY(items.erase(index_key(directory, index)));
  TRY(resize_directory(items, directory, -directory_bytes(name), transid));
  InodeItem item = TRY(get_inode(items, inode));
  item.sequence += 1;
  return update_inode(items, inode, item, transid);
}

Result<void> remove_subvolume_entry(ItemStore& items, uint64_t directory, uint64_t index,
                                    std::string_view name, uint64_t transid) {
  TRY(remove_entry(items, directory, name));
  TRY(items.erase(index_key(directory, index)));
  return resize_directory(items, directory, -directory_bytes(name), transid);
}

}  // namespace karst::btrfs
