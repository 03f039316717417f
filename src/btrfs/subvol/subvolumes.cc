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

// Finds paths from the top level: a subvolume's directory in its parent, below the parent's own. Each is
// worked out once, so that a long chain of them costs no more than its length.
class PathFinder {
 public:
  PathFinder(const Filesystem& fs, ById& all) : fs_(fs), all_(all) {}

  // Sets the subvolume's path, and those it depends on.
  Result<void> find(Subvolume& subvolume) {
    std::vector<Subvolume*> chain;  // from this one up to the first whose path is known
    auto outcome = climb(subvolume, chain);
    for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
      if (outcome) outcome = join(**at);
      states_[(*at)->id()] = outcome ? State::found : State::failed;
    }
    return outcome;
  }

 private:
  enum class State : uint8_t { unknown, climbing, found, failed };
  static constexpr size_t longest = 64 << 10;  // far above PATH_MAX; bounds what a chain can take

  Result<void> climb(Subvolume& subvolume, std::vector<Subvolume*>& chain) {
    for (Subvolume* at = &subvolume; at->id() != id::fs_tree;) {
      State& state = states_[at->id()];
      if (state == State::found) return {};
      if (state == State::failed)
        return Error(karst::err::not_found, "path of the parent is not known").at("subvolume", at->id());
      if (state == State::climbing)
        return Error(karst::err::corrupt, "subvolumes contain each other").at("subvolume", at->id());
      state = State::climbing;
      chain.push_back(at);
      if (!at->linked) return Error(karst::err::not_found, "subvolume has no name").at("subvolume", at->id());
      auto parent = all_.find(at->parent);
      if (parent == all_.end())
        return Error(err::no_tree, "parent subvolume is missing").at("subvolume", at->parent);
      at = &parent->second;
    }
    return {};
  }

  Result<void> join(Subvolume& subvolume) {
    Cursor cursor(TRY(fs_.tree(subvolume.parent)));
    std::string path = all_.at(subvolume.parent).path;
    for (const std::string& part : {TRY(path_in_subvolume(cursor, subvolume.directory)), subvolume.name}) {
      if (!path.empty() && !part.empty()) path += '/';
      path += part;
    }
    if (path.size() > longest)
      return Error(karst::err::too_long, "path is too long").at("subvolume", subvolume.id());
    subvolume.path = std::move(path);
    return {};
  }

  const Filesystem& fs_;
  ById& all_;
  std::map<uint64_t, State> states_;
};

}  // namespace

Result<std::vector<Subvolume>> list_subvolumes(const Filesystem& fs) {
  ById found = TRY(read_roots(fs));
  PathFinder paths(fs, found);
  for (auto& [id, subvolume] : found) {
    if (subvolume.deleted()) continue;
    auto done = paths.find(subvolume);
    if (!done) fs.log().warning("a subvolume's path cannot be found", {{"subvolume", id}}, &done.error());
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
