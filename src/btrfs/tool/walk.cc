#include "btrfs/tool/walk.h"

#include "btrfs/file/lost_inode.h"
#include "btrfs/file/names.h"

namespace karst::btrfs {
namespace err {
const ErrorKind directory_loop{"directory-loop", &karst::err::corrupt, ELOOP};
}

Walker::Walker(const Filesystem& fs, const Located& start, WalkOptions options)
    : fs_(fs), options_(options), start_(start) {}

Result<std::optional<WalkEntry>> Walker::next() {
  if (!started_) {
    started_ = true;
    subvolumes_.insert(start_.id.subvolume);
    entry_points_.insert(start_.id);
    if (start_.attributes.is_directory() && !start_.id.is_empty_subvolume())
      pending_ = Frame{start_.id, 0, 0};
    return std::optional(WalkEntry{path_, path_, start_.id, start_.parent, start_.attributes, false});
  }
  auto entry = advance();
  if (!entry) return std::move(entry).error().while_doing(fmt::format("'{}'", path_));
  return entry;
}

// Makes `frame` the innermost one, listing from where it stopped.
Result<void> Walker::enter(const Frame& frame) {
  if (!tree_ || tree_->id != frame.directory.subvolume) {
    tree_ = TRY(fs_.tree(frame.directory.subvolume));
    inodes_ = Cursor(*tree_);
  }
  lister_.emplace(fs_, *tree_, frame.directory.inode);
  lister_->set_readahead(true);
  listing_ = true;
  return {};
}

void Walker::leave() {
  frames_.pop_back();
  listing_ = false;
}

Result<std::optional<WalkEntry>> Walker::advance() {
  std::optional<DirectoryEntry> entry;
  if (auto frame = std::exchange(pending_, std::nullopt)) {
    frames_.push_back(*frame);
    listing_ = false;
  }
  for (;;) {
    if (frames_.empty()) return std::optional<WalkEntry>();
    Frame& frame = frames_.back();
    path_.resize(frame.path_length);
    bool resumed = !listing_;
    auto step = [&]() -> Result<std::optional<DirectoryEntry>> {
      if (resumed) TRY(enter(frame));
      return resumed ? lister_->seek(frame.next_index) : lister_->next();
    }();
    if (!step) {
      // Go on behind an entry that is broken by itself; a directory that cannot be read further is left.
      uint64_t reached = listing_ ? lister_->position() : 0;
      if (reached < frame.next_index || reached == ~0ull)
        leave();
      else {
        frame.next_index = reached + 1;
        listing_ = false;
      }
      return std::move(step).error();
    }
    entry = *step;
    if (!entry) {
      leave();
      continue;
    }
    frame.next_index = entry->index + 1;
    break;
  }

  const InodeId directory = frames_.back().directory;
  if (!path_.empty()) path_ += '/';
  size_t name_at = path_.size();
  path_ += entry->name;
  WalkEntry found{
      path_, std::string_view(path_).substr(name_at), entry->target, directory, {}, entry->is_subvolume};
  TRY(find_attributes(found, entry->type));

  bool enterable = found.attributes.is_directory() && !found.id.is_empty_subvolume() && options_.recurse &&
                   (!found.is_subvolume || options_.cross_subvolumes);
  if (!enterable) return std::optional(found);
  TRY(may_enter(found, entry->index));
  pending_ = Frame{found.id, 0, path_.size()};
  return std::optional(found);
}

Result<void> Walker::find_attributes(WalkEntry& entry, FileType type) {
  if (entry.id.is_empty_subvolume()) {
    entry.attributes = TRY(empty_subvolume_attributes(inodes_, entry.parent.inode));
  } else if (entry.id.subvolume == entry.parent.subvolume) {
    entry.attributes = TRY(attributes_or_rest(inodes_, entry.id.inode, type, entry.attributes_lost));
  } else {
    Cursor cursor(TRY(fs_.tree(entry.id.subvolume)));
    entry.attributes =
        TRY(attributes_or_rest(cursor, entry.id.inode, FileType::directory, entry.attributes_lost));
  }
  return {};
}

Result<void> Walker::may_enter(const WalkEntry& entry, uint64_t index) {
  if (entry.is_subvolume) {
    entry_points_.insert(entry.id);
    if (subvolumes_.insert(entry.id.subvolume).second) return {};
    return Error(err::directory_loop, "subvolume is linked more than once")
        .at("subvolume", entry.id.subvolume);
  }
  if (entry_points_.contains(entry.id))
    return Error(err::directory_loop, "directory contains itself").at("inode", entry.id.inode);
  size_t links = 0;
  uint64_t own_index = 0;
  bool ours = false;
  TRY(for_each_link(inodes_, entry.id.inode, [&](const Link& link) -> Result<void> {
    ++links;
    ours = ours || (link.parent == entry.parent.inode && link.name == entry.name);
    own_index = link.index;
    return {};
  }));
  if (links == 1 && ours && own_index == index) return {};
  if (links == 0 && links_are_lost(inodes_, entry.id.inode) && other_indexes_.insert(entry.id).second)
    return {};
  if (links == 1 && ours) {
    // Under another index than it says: once, and only if nothing leads to it under its own.
    bool there = TRY(inodes_.find({entry.parent.inode, ItemType::dir_index, own_index})) &&
                 inodes_.as<DirItem>()->location.objectid == entry.id.inode;
    if (!there && other_indexes_.insert(entry.id).second) return {};
  }
  return Error(err::directory_loop, "directory does not name the one it is in as its only parent")
      .at("inode", entry.id.inode)
      .at("links", links);
}

}  // namespace karst::btrfs
