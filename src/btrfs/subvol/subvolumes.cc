#include "btrfs/subvol/subvolumes.h"

#include <map>

#include "btrfs/file/names.h"

namespace karst::btrfs {
namespace {

using ById = std::map<uint64_t, Subvolume>;

// Collects the root items of subvolumes and where each has its name.
Result<ById> read_roots(const Filesystem& fs) {
  ById found;
  Cursor cursor(fs.root_tree());
  for (bool more = TRY(cursor.seek({id::fs_tree, ItemType::root_item, 0})); more; more = TRY(cursor.next())) {
    const Key key = cursor.key();
    if (!is_fs_tree(key.objectid)) {
      if (key.objectid > id::last_free) break;
      continue;
    }
    if (key.type == ItemType::root_item) found[key.objectid].root = root_from_item(key, cursor.data());
    if (key.type != ItemType::root_backref) continue;
    const auto* ref = cursor.as<RootRef>();
    if (!ref) continue;
    Subvolume& subvolume = found[key.objectid];
    subvolume.parent = key.offset;
    subvolume.directory = ref->dirid;
    subvolume.name = as_text(cursor.data().subspan(sizeof(RootRef)));
    subvolume.linked = true;
  }
  // A back reference whose root item is gone names nothing.
  std::erase_if(found, [](const auto& entry) { return entry.second.root.id == 0; });
  return found;
}

// The path of a subvolume: its directory's path in the parent, below the parent's own.
Result<std::string> path_of(const Filesystem& fs, const ById& all, const Subvolume& subvolume) {
  std::string path;
  const Subvolume* at = &subvolume;
  for (size_t depth = 0; at->id() != id::fs_tree; ++depth) {
    if (depth > all.size()) return Error(karst::err::corrupt, "subvolumes contain each other").at("subvolume", subvolume.id());
    if (!at->linked) return Error(karst::err::not_found, "subvolume has no name").at("subvolume", at->id());
    Cursor cursor(TRY(fs.tree(at->parent)));
    std::string directory = TRY(path_in_subvolume(cursor, at->directory));
    std::string below = directory.empty() ? at->name : directory + "/" + at->name;
    path = path.empty() ? below : below + "/" + path;
    auto parent = all.find(at->parent);
    if (parent == all.end()) return Error(err::no_tree, "parent subvolume is missing").at("subvolume", at->parent);
    at = &parent->second;
  }
  return path;
}

}  // namespace

Result<std::vector<Subvolume>> list_subvolumes(const Filesystem& fs) {
  ById found = TRY(read_roots(fs));
  for (auto& [id, subvolume] : found) {
    if (subvolume.deleted()) continue;
    auto path = path_of(fs, found, subvolume);
    if (path) subvolume.path = std::move(*path);
    else fs.log().warning("a subvolume's path cannot be found", {{"subvolume", id}}, &path.error());
  }
  std::vector<Subvolume> list;
  for (auto& [id, subvolume] : found) list.push_back(std::move(subvolume));
  return list;
}

Result<uint64_t> default_subvolume(const Filesystem& fs) {
  Cursor cursor(fs.root_tree());
  if (!TRY(cursor.find({id::root_tree_dir, ItemType::dir_item, name_hash("default")}))) return id::fs_tree;
  const auto* item = cursor.as<DirItem>();
  if (!item) return id::fs_tree;
  return item->location.objectid.value();
}

}  // namespace karst::btrfs
