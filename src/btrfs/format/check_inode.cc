// INODE_ITEM, the names that an inode knows of itself, orphans, and the ranges of logged directories.
#include "btrfs/format/check_item.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/inode_mode.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/object_ids.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_inode{"item-inode", &item_invalid, EUCLEAN};
const ErrorKind item_inode_ref{"item-inode-ref", &item_invalid, EUCLEAN};
const ErrorKind item_orphan{"item-orphan", &item_invalid, EUCLEAN};
const ErrorKind item_dir_log{"item-dir-log", &item_invalid, EUCLEAN};
}  // namespace err

namespace {
constexpr uint32_t mode_mask = mode::type_mask | 07777;
constexpr uint64_t lower_half = 0xffffffff;  // flags whose unknown bits forbid reading too
}  // namespace

Result<void> check_inode_item(const ItemView& item, LeafCheck&) {
  const ErrorKind& kind = err::item_inode;
  if (!is_inode_number(item.key.objectid)) [[unlikely]]
    return invalid_item(kind, item, "invalid inode number", "256 or above", item.key.objectid);
  if (item.key.offset != 0) [[unlikely]]
    return invalid_item(kind, item, "inode item at an offset", 0, item.key.offset);
  TRY(check_item_size(kind, item, sizeof(InodeItem)));
  const InodeItem& inode = *item.get<InodeItem>();
  TRY(check_generation(kind, item, "inode of a future transaction", inode.generation));
  TRY(check_generation(kind, item, "inode changed in a future transaction", inode.transid));
  uint32_t file_mode = inode.mode;
  if ((file_mode & ~mode_mask) || file_type_of(file_mode) == FileType::unknown) [[unlikely]]
    return invalid_item(kind, item, "invalid mode", "a file type and permissions",
                        fmt::format("0{:o}", file_mode));
  if ((file_mode & mode::type_mask) == mode::directory && inode.nlink > 1) [[unlikely]]
    return invalid_item(kind, item, "directory with several links", "at most 1", inode.nlink);
  if (inode.flags & lower_half & ~inode_flag::known) [[unlikely]]
    return invalid_item(kind, item, "unknown inode flags", fmt::format("within 0x{:x}", inode_flag::known),
                        fmt::format("0x{:x}", inode.flags.value()));
  return {};
}

Result<void> check_inode_ref(const ItemView& item, LeafCheck&) {
  TRY(check_follows_inode(item));
  if (item.data.empty()) [[unlikely]]
    return invalid_item(err::item_inode_ref, item, "no name", "at least one", "none");
  for (uint64_t at = 0; at < item.data.size();) {
    const auto* ref = item.get<InodeRef>(at);
    auto name = ref ? slice(item.data, at + sizeof(InodeRef), ref->name_len) : std::nullopt;
    if (!name) [[unlikely]]
      return invalid_item(err::item_inode_ref, item, "name reaches past the item",
                          fmt::format("within {} bytes", item.data.size()), fmt::format("name at {}", at));
    // The root directory of a subvolume is its own parent, by the name "..".
    bool is_root = item.key.objectid == item.key.offset && as_text(*name) == "..";
    if (!is_root) TRY(check_name(item, as_text(*name)));
    at += sizeof(InodeRef) + name->size();
  }
  return {};
}

Result<void> check_inode_extref(const ItemView& item, LeafCheck&) {
  TRY(check_follows_inode(item));
  if (item.data.empty()) [[unlikely]]
    return invalid_item(err::item_inode_ref, item, "no name", "at least one", "none");
  for (uint64_t at = 0; at < item.data.size();) {
    const auto* ref = item.get<InodeExtref>(at);
    auto name = ref ? slice(item.data, at + sizeof(InodeExtref), ref->name_len) : std::nullopt;
    if (!name) [[unlikely]]
      return invalid_item(err::item_inode_ref, item, "name reaches past the item",
                          fmt::format("within {} bytes", item.data.size()), fmt::format("name at {}", at));
    TRY(check_name(item, as_text(*name)));
    uint64_t hash = extref_hash(ref->parent_objectid, as_text(*name));
    if (hash != item.key.offset) [[unlikely]]
      return invalid_item(err::item_name_hash, item, "key is not the hash of the name", hash,
                          item.key.offset);
    at += sizeof(InodeExtref) + name->size();
  }
  return {};
}

Result<void> check_orphan_item(const ItemView& item, LeafCheck&) {
  return check_item_size(err::item_orphan, item, 0);
}

Result<void> check_dir_log(const ItemView& item, LeafCheck&) {
  return check_item_size(err::item_dir_log, item, sizeof(DirLogItem));
}

}  // namespace karst::btrfs
