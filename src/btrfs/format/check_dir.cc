// DIR_ITEM, DIR_INDEX and XATTR_ITEM, which share their layout.
#include "btrfs/format/check_item.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/object_ids.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_dir{"item-dir", &item_invalid, EUCLEAN};
const ErrorKind item_xattr{"item-xattr", &item_invalid, EUCLEAN};
const ErrorKind item_name_hash{"item-name-hash", &item_invalid, EUCLEAN};
}  // namespace err

namespace {

// What an entry points at: an inode of this tree, or another subvolume's root.
Result<void> check_location(const ItemView& item, const DirItem& entry, uint8_t type) {
  Key location = entry.location.key();
  if (location.type == ItemType::root_item) {
    if (!is_subvolume(location.objectid)) [[unlikely]]
      return invalid_item(err::item_dir, item, "entry for something other than a subvolume", "a subvolume",
                          location);
    if (type != static_cast<uint8_t>(FileType::directory)) [[unlikely]]
      return invalid_item(err::item_dir, item, "subvolume that is not a directory",
                          static_cast<uint8_t>(FileType::directory), type);
    return {};
  }
  if (location.type != ItemType::inode_item || !is_inode_number(location.objectid) || location.offset != 0)
      [[unlikely]]
    return invalid_item(err::item_dir, item, "invalid location of an entry", "(inode INODE_ITEM 0)",
                        location);
  return {};
}

Result<void> check_attribute(const ItemView& item, const DirItem& entry, std::string_view name) {
  if (entry.location.key() != Key{}) [[unlikely]]
    return invalid_item(err::item_xattr, item, "attribute with a location", "no location",
                        entry.location.key());
  if (name.empty() || name.size() > max_name_length || name.find('\0') != name.npos) [[unlikely]]
    return invalid_item(err::item_name, item, "invalid attribute name", "1 to 255 bytes, none of them NUL",
                        fmt::format("{} bytes", name.size()));
  return {};
}

Result<void> check_entry(const ItemView& item, const DirItem& entry, std::string_view name) {
  uint8_t type = entry.type & static_cast<uint8_t>(~file_type_encrypted);
  bool is_attribute = item.key.type == ItemType::xattr_item;
  const ErrorKind& kind = is_attribute ? err::item_xattr : err::item_dir;
  if (type == 0 || type >= file_type_max || (type == static_cast<uint8_t>(FileType::xattr)) != is_attribute)
      [[unlikely]]
    return invalid_item(kind, item, "invalid type of an entry", is_attribute ? "8" : "1 to 7", type);
  if (is_attribute) {
    TRY(check_attribute(item, entry, name));
  } else {
    TRY(check_location(item, entry, type));
    TRY(check_name(item, name));
    if (entry.data_len != 0) [[unlikely]]
      return invalid_item(kind, item, "entry with data", 0, entry.data_len);
  }
  if (item.key.type == ItemType::dir_index) return {};
  uint64_t hash = name_hash(name);
  if (hash != item.key.offset) [[unlikely]]
    return invalid_item(err::item_name_hash, item, "key is not the hash of the name", hash, item.key.offset);
  return {};
}

}  // namespace

Result<void> check_dir_item(const ItemView& item, LeafCheck&) {
  TRY(check_follows_inode(item));
  const ErrorKind& kind = item.key.type == ItemType::xattr_item ? err::item_xattr : err::item_dir;
  if (item.data.empty()) [[unlikely]]
    return invalid_item(kind, item, "no entry", "at least one", "none");
  for (uint64_t at = 0; at < item.data.size();) {
    const auto* entry = item.get<DirItem>(at);
    uint64_t name_len = entry ? entry->name_len.value() : 0;
    uint64_t data_len = entry ? entry->data_len.value() : 0;
    auto text = entry ? slice(item.data, at + sizeof(DirItem), name_len + data_len) : std::nullopt;
    if (!text) [[unlikely]]
      return invalid_item(kind, item, "entry reaches past the item",
                          fmt::format("within {} bytes", item.data.size()), fmt::format("entry at {}", at));
    TRY(check_entry(item, *entry, as_text(text->first(name_len))));
    at += sizeof(DirItem) + name_len + data_len;
    if (item.key.type == ItemType::dir_index && at != item.data.size()) [[unlikely]]
      return invalid_item(kind, item, "several entries under one index", at, item.data.size());
  }
  return {};
}

}  // namespace karst::btrfs
