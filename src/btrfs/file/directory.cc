#include "btrfs/file/directory.h"

namespace karst::btrfs {
namespace {

// Whether the tree `parent` really has the subvolume `child` under this name: not so in a snapshot of it.
Result<bool> has_root_ref(const Filesystem& fs, uint64_t parent, uint64_t child, uint64_t directory,
                          std::string_view name) {
  Cursor cursor(fs.root_tree());
  if (!TRY(cursor.find({parent, ItemType::root_ref, child}))) return false;
  const auto* ref = cursor.as<RootRef>();
  return ref && ref->dirid == directory && as_text(cursor.data().subspan(sizeof(RootRef))) == name;
}

Result<DirectoryEntry> entry_from(const Filesystem& fs, const Tree& tree, uint64_t directory, uint64_t index,
                                  const DirItem& item, std::string_view name) {
  Key location = item.location.key();
  auto type = FileType(item.type & ~file_type_encrypted);
  if (location.type == ItemType::inode_item)
    return DirectoryEntry{name, {tree.id, location.objectid}, type, index, false};
  if (!TRY(has_root_ref(fs, tree.id, location.objectid, directory, name)))
    return DirectoryEntry{name, {tree.id, id::empty_subvol_dir}, type, index, true};
  Root root = TRY(fs.root(location.objectid));
  return DirectoryEntry{name, {location.objectid, root.item.root_dirid}, type, index, true};
}

}  // namespace

Result<std::optional<DirectoryEntry>> DirectoryLister::seek(uint64_t index) {
  TRY(cursor_.seek({directory_, ItemType::dir_index, index}));
  return current();
}

Result<std::optional<DirectoryEntry>> DirectoryLister::next() {
  TRY(cursor_.next());
  return current();
}

bool DirectoryLister::at_entry() const {
  return cursor_.valid() && cursor_.key().objectid == directory_ && cursor_.key().type == ItemType::dir_index;
}

uint64_t DirectoryLister::position() const { return at_entry() ? cursor_.key().offset : ~0ull; }

Result<std::optional<DirectoryEntry>> DirectoryLister::current() {
  if (!at_entry()) return std::optional<DirectoryEntry>();
  const auto& item = *cursor_.as<DirItem>();
  std::string_view name = as_text(cursor_.data().subspan(sizeof(DirItem), item.name_len));
  return TRY(entry_from(*fs_, tree_, directory_, cursor_.key().offset, item, name));
}

Result<std::optional<DirectoryEntry>> look_up(const Filesystem& fs, Cursor& cursor, const Tree& tree,
                                              uint64_t directory, std::string_view name) {
  if (!TRY(cursor.find({directory, ItemType::dir_item, name_hash(name)})))
    return std::optional<DirectoryEntry>();
  Bytes rest = cursor.data();
  while (const auto* item = overlay<DirItem>(rest)) {
    uint64_t size = sizeof(DirItem) + uint64_t{item->name_len} + item->data_len;
    if (size > rest.size()) break;
    std::string_view candidate = as_text(rest.subspan(sizeof(DirItem), item->name_len));
    if (candidate == name) return TRY(entry_from(fs, tree, directory, 0, *item, candidate));
    rest = rest.subspan(size);
  }
  return std::optional<DirectoryEntry>();
}

Result<Attributes> empty_subvolume_attributes(Cursor& cursor, uint64_t parent_directory) {
  Attributes attributes = TRY(read_attributes(cursor, parent_directory));
  attributes.inode = id::empty_subvol_dir;
  attributes.mode = S_IFDIR | 0755;
  attributes.nlink = 1;
  attributes.size = 0;
  attributes.allocated = 0;
  attributes.flags = 0;
  return attributes;
}

}  // namespace karst::btrfs
