#include "btrfs/tool/restore/salvage_walk.h"

#include <algorithm>
#include <set>

#include "btrfs/file/lost_inode.h"
#include "btrfs/subvol/subvolumes.h"

namespace karst::btrfs {

SalvageWalk::SalvageWalk(const Filesystem& fs, const Located& start, bool attributes_lost,
                         SalvageOptions options, LossListener lost)
    : fs_(fs), start_(start), options_(std::move(options)), lost_(lost) {
  enter(start, "", attributes_lost);
}

void SalvageWalk::enter(const Located& start, std::string path, bool attributes_lost) {
  base_ = std::move(path);
  start_lost_ = attributes_lost;
  walker_.emplace(fs_, start, WalkOptions{.cross_subvolumes = options_.cross_subvolumes});
  if (std::find(subvolumes_.begin(), subvolumes_.end(), start.id.subvolume) == subvolumes_.end()) {
    subvolumes_.push_back(start.id.subvolume);
    places_.set(start.id, base_);
  }
}

Result<std::optional<WalkEntry>> SalvageWalk::next() {
  for (;;) {
    if (auto entry = next_of_walk()) return entry;
    if (auto entry = next_orphan()) return entry;
    if (!next_subvolume()) return std::optional<WalkEntry>();
  }
}

// The path in the copy of what the walk has at `path`.
std::string SalvageWalk::in_copy(std::string_view path) const {
  std::string whole = base_;
  if (!whole.empty() && !path.empty()) whole += '/';
  whole += path;
  return whole;
}

// Whether the entry is to be given. Its path becomes that in the copy, borrowed from path_.
bool SalvageWalk::take(WalkEntry& entry) {
  path_ = in_copy(entry.path);
  entry.path = path_;
  entry.name = std::string_view(path_).substr(path_.rfind('/') + 1);
  if (options_.wanted && !path_.empty() && !options_.wanted(path_)) return false;
  // A directory whose links are lost may be named in two others; it has one place.
  const std::string* placed = entry.attributes.is_directory() ? places_.find(entry.id) : nullptr;
  if (placed && *placed != path_) {
    lost_({CopyLoss::Kind::entry, path_, 0, 0,
           Error(karst::err::corrupt, fmt::format("this directory is also named '{}', where it is", *placed))
               .at("inode", entry.id.inode)});
    return false;
  }
  if (entry.attributes_lost) {
    lost_({CopyLoss::Kind::attributes, path_, 0, 0,
           Error(karst::err::corrupt, "the inode's item is lost").at("inode", entry.id.inode)});
    if (entry.attributes.is_directory()) tell_lost_names(entry.id, path_);
  }
  if (options_.seen) options_.seen(entry);
  return true;
}

// Remembers where an inode is that does not tell so itself.
void SalvageWalk::note_place(const WalkEntry& entry) {
  const uint64_t subvolume = entry.id.subvolume, inode = entry.id.inode;
  if (entry.id.is_empty_subvolume()) return;  // all of a tree are one inode
  if (entry.is_subvolume) {
    subvolumes_.push_back(subvolume);
    places_.set(entry.id, path_);
    return;
  }
  const Damage* damage = fs_.damage();
  if (!damage ||
      !damage->touches(subvolume, {inode, ItemType::inode_ref, 0}, {inode, ItemType::inode_extref, ~0ull}))
    return;
  // No scan will meet an inode of which nothing is left.
  if (!damage->covers(subvolume, first_key_of(inode), last_key_of(inode)) || entry.attributes.is_directory())
    places_.set(entry.id, path_);
}

std::optional<WalkEntry> SalvageWalk::next_of_walk() {
  while (walker_) {
    auto entry = walker_->next();
    if (!entry) {
      lost_({CopyLoss::Kind::entry, in_copy(walker_->path()), 0, 0, std::move(entry).error()});
      continue;
    }
    if (!*entry) {
      walker_.reset();
      break;
    }
    WalkEntry found = **entry;
    if (found.path.empty()) found.attributes_lost = start_lost_;
    const bool subvolume = found.is_subvolume && !found.id.is_empty_subvolume();
    if (subvolume && !options_.cross_subvolumes) {
      ++subvolumes_skipped_;
      continue;
    }
    if (!take(found)) {
      walker_->skip();
      continue;
    }
    if (found.id.is_empty_subvolume()) tell_lost_subvolume(found);
    note_place(found);
    return found;
  }
  return std::nullopt;
}

// A subvolume to which no reference leads is an empty directory: in a snapshot by right, elsewhere because
// the reference is lost.
void SalvageWalk::tell_lost_subvolume(const WalkEntry& entry) {
  const uint64_t parent = entry.parent.subvolume;
  const Damage* damage = fs_.damage();
  const bool may_be_lost = fs_.given_roots().contains(parent) ||
                           (damage && damage->touches(id::root_tree, {parent, ItemType::root_ref, 0},
                                                      {parent, ItemType::root_ref, ~0ull}));
  if (may_be_lost)
    lost_({CopyLoss::Kind::entry, path_, 0, 0,
           Error(karst::err::corrupt, "the reference to this subvolume may be lost")
               .at("parent subvolume", parent)});
}

std::optional<WalkEntry> SalvageWalk::repeated_directory() {
  if (!changed_directory_) return std::nullopt;
  const InodeId id = *std::exchange(changed_directory_, std::nullopt);
  auto tree = fs_.tree(id.subvolume);
  if (!tree || !options_.repeat_directories) return std::nullopt;
  Cursor cursor(*tree);
  bool lost = false;
  auto attributes = attributes_or_rest(cursor, id.inode, FileType::directory, lost);
  if (!attributes || lost || !attributes->is_directory()) return std::nullopt;
  path_ = places_.of_directory(cursor, id);
  return WalkEntry{path_, std::string_view(path_).substr(path_.rfind('/') + 1), id, id, *attributes, false,
                   false};
}

std::optional<WalkEntry> SalvageWalk::next_orphan() {
  for (;;) {
    if (!orphans_) {
      if (subvolumes_scanned_ == subvolumes_.size()) return std::nullopt;
      auto tree = fs_.tree(subvolumes_[subvolumes_scanned_++]);
      if (!tree || !fs_.damage()) continue;
      if (!fs_.damage()->any(tree->id) && fs_.damage()->doubts(tree->id).empty()) continue;
      orphans_.emplace(*tree, places_, lost_);
    }
    auto orphan = orphans_->next();
    if (changed_directory_ && (!orphan || orphan->parent != *changed_directory_)) {
      auto repeated = repeated_directory();
      if (repeated) {
        // The orphan, if there is one, is found again: nothing was given of it yet.
        if (orphan) orphans_->give_back(std::move(*orphan));
        return repeated;
      }
    }
    if (!orphan) {
      if (auto tree = fs_.tree(subvolumes_[subvolumes_scanned_ - 1])) {
        tell_lost_names(*tree);
        tell_older_directories(*tree);
      }
      orphans_.reset();
      continue;
    }
    if (orphan->parent != orphan->id) changed_directory_ = orphan->parent;
    if (orphan->attributes.is_directory()) {
      enter({orphan->id, orphan->parent, orphan->attributes}, orphan->path, orphan->attributes_lost);
      if (auto entry = next_of_walk()) return entry;
      continue;
    }
    base_ = orphan->path;
    WalkEntry entry{"", "", orphan->id, orphan->parent, orphan->attributes, false, orphan->attributes_lost};
    if (take(entry)) return entry;
  }
}

void SalvageWalk::tell_lost_names(InodeId directory, std::string path) {
  lost_({CopyLoss::Kind::names, std::move(path), 0, 0,
         Error(karst::err::corrupt, "names in this directory may be lost").at("inode", directory.inode)});
}

// Directories at the edges of what was lost, of which entries may be missing. Those whose inode items are
// lost were told when they were given.
void SalvageWalk::tell_lost_names(const Tree& tree) {
  std::set<uint64_t> directories;
  for (const auto& [first, last] : fs_.damage()->ranges(tree.id)) {
    for (uint64_t inode : {first.objectid, last.objectid})
      if (fs_.damage()->touches(tree.id, {inode, ItemType::dir_index, 0},
                                {inode, ItemType::dir_index, ~0ull}))
        directories.insert(inode);
  }
  Cursor cursor(tree);
  for (uint64_t inode : directories) {
    auto attributes = read_attributes(cursor, inode);
    if (attributes && attributes->is_directory())
      tell_lost_names({tree.id, inode}, places_.of_directory(cursor, {tree.id, inode}));
  }
}

// After everything below them was read. Files are told by those who read their contents.
void SalvageWalk::tell_older_directories(const Tree& tree) {
  Cursor cursor(tree), look(tree);
  uint64_t inode = id::first_free;
  for (const auto& [first, last] : fs_.damage()->doubts(tree.id)) {
    inode = std::max(inode, first.objectid);
    for (; inode <= std::min<uint64_t>(last.objectid, id::last_free); ++inode) {
      auto at = cursor.seek(first_key_of(inode));
      if (!at || !*at) return;
      inode = cursor.key().objectid;
      if (inode > last.objectid || !look.is_doubtful(first_key_of(inode), last_key_of(inode))) continue;
      auto attributes = read_attributes(look, inode);
      if (!attributes || !attributes->is_directory()) continue;
      lost_({CopyLoss::Kind::older, places_.of_directory(look, {tree.id, inode}), 0, 0,
             Error(karst::err::corrupt, "this directory may be of an older state").at("inode", inode)});
    }
  }
}

// Enters the next subvolume that no directory has led to; false when there is none.
bool SalvageWalk::next_subvolume() {
  const bool from_the_top = start_.id == InodeId{id::fs_tree, id::first_free};
  if (!options_.cross_subvolumes || !from_the_top) return false;
  if (!unreached_) {
    unreached_.emplace();
    std::set<uint64_t> known(subvolumes_.begin(), subvolumes_.end());
    auto list = list_subvolumes(fs_);
    if (list)
      for (const Subvolume& subvolume : *list)
        if (known.insert(subvolume.id()).second && !subvolume.deleted())
          unreached_->emplace_back(subvolume.id(), subvolume.path);
    for (const auto& [tree, root] : fs_.given_roots())
      if (is_fs_tree(tree) && known.insert(tree).second) unreached_->emplace_back(tree, "");
    std::reverse(unreached_->begin(), unreached_->end());
  }
  while (!unreached_->empty()) {
    auto [subvolume, path] = std::move(unreached_->back());
    unreached_->pop_back();
    if (std::find(subvolumes_.begin(), subvolumes_.end(), subvolume) != subvolumes_.end()) continue;
    if (path.empty()) path = fmt::format("{}/{}", lost_and_found, subvolume);
    auto tree = fs_.tree(subvolume);
    auto root = fs_.root(subvolume);
    if (!tree || !root) continue;
    const InodeId id{subvolume, root->item.root_dirid};
    Cursor cursor(*tree);
    bool lost = false;
    auto attributes = attributes_or_rest(cursor, id.inode, FileType::directory, lost);
    if (!attributes) {
      lost_({CopyLoss::Kind::entry, path, 0, 0, std::move(attributes).error()});
      continue;
    }
    enter({id, id, *attributes}, path, lost);
    return true;
  }
  return false;
}

}  // namespace karst::btrfs
