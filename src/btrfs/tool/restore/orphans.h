// Inodes of a damaged subvolume that no directory leads to any more.
//
// Goes through what is left of the subvolume's tree, inode by inode, and gives those that a walk from its
// root cannot have met: whose directory entries are lost with the blocks they were in. Their own back
// references tell their names, and those of their directories the path; where these end, at a directory whose
// names are lost too, the path begins below `lost_and_found`/SUBVOLUME/INODE.
//
// That an inode has been met is worked out from its links (the entry is there, in a directory that is there),
// not remembered; remembered are only those whose links are lost. Not thread-safe.
#pragma once
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "btrfs/file/attributes.h"
#include "btrfs/tool/copy_tree.h"

namespace karst::btrfs {

inline constexpr const char* lost_and_found = "karst-lost+found";

// Where inodes are in the copy whose place cannot be worked out from their links: roots of subvolumes, and
// those without links.
class Places {
 public:
  void set(InodeId id, std::string path) {
    paths_[id] = std::move(path);
    last_.reset();
  }
  const std::string* find(InodeId id) const {
    auto found = paths_.find(id);
    return found == paths_.end() ? nullptr : &found->second;
  }
  // The path of a directory by the links of it and of those above; of directories that contain each other,
  // from the one with the lowest number on, which has no place but its own.
  const std::string& of_directory(Cursor& cursor, InodeId id);

 private:
  std::string find_directory(Cursor& cursor, InodeId id) const;
  std::optional<std::pair<InodeId, std::string>>
      last_;  // of_directory(): inodes that were made together have one
  std::unordered_map<InodeId, std::string> paths_;
};

struct Orphan {
  InodeId id;
  std::string path;
  InodeId parent;  // its directory; itself if that is not known
  Attributes attributes;
  bool attributes_lost = false;
};

class OrphanScan {
 public:
  // Adds the orphans without links to `places`. `lost` is told of names without an inode.
  OrphanScan(const Tree& tree, Places& places, LossListener lost);

  // The next one; nullopt at the end.
  std::optional<Orphan> next();
  // The one given last is to be given again.
  void give_back(Orphan orphan) { found_.push_front(std::move(orphan)); }

 private:
  struct Name {
    uint64_t parent;
    std::string name;
  };
  void examine(uint64_t inode);
  void examine_names(uint64_t directory);
  FileType guess_type(uint64_t inode);
  bool has_entry(uint64_t parent, uint64_t index, uint64_t inode);
  void give(uint64_t inode, const Name& name, const Attributes& attributes, bool attributes_lost);
  std::string path_below(uint64_t parent, const std::string& name);

  const Tree tree_;
  Places& places_;
  LossListener lost_;
  Cursor items_, look_;
  uint64_t next_inode_ = id::first_free;
  std::deque<Orphan> found_;
};

}  // namespace karst::btrfs
