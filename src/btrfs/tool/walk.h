// Walking a directory tree from a start, parents before children, entries in the order of their creation.
//
// Memory is bounded by the depth, not by the size of directories. No image, however broken, makes the walk
// endless, or longer than its number of names:
//   - a subvolume is entered once
//   - a directory is entered only if it names the one it was found in as its only parent, under that name and
//     index; where only the index differs and nothing is at the right one, once
//   - the start and the roots of subvolumes, which were entered for another reason, are not entered so
//   - in a tolerant tree, a directory whose names are lost is entered once
#pragma once
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "btrfs/file/path.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind directory_loop;  // child of corrupt
}

struct WalkEntry {
  std::string_view path;  // from the start, without a leading slash; empty for the start. Until next()
  std::string_view name;  // its last component
  InodeId id;
  InodeId parent;
  Attributes attributes;
  bool is_subvolume = false;
  bool attributes_lost = false;  // tolerant trees only: they are what the inode's other items tell
};

struct WalkOptions {
  bool cross_subvolumes = true;  // otherwise a subvolume is given as an entry and not entered
  bool recurse = true;           // otherwise only the start's own entries
};

class Walker {
 public:
  Walker(const Filesystem& fs, const Located& start, WalkOptions options = {});

  // The next entry, the start first; nullopt at the end. An error names the path it concerns; the walk can go
  // on after it with next(), without that entry (or the rest of that directory).
  Result<std::optional<WalkEntry>> next();
  // The path of what next() gave last, or of what its error concerns.
  const std::string& path() const { return path_; }
  // Does not enter the directory given last.
  void skip() { pending_.reset(); }

 private:
  struct Frame {
    InodeId directory;
    uint64_t next_index;
    size_t path_length;  // of the directory's own path
  };
  Result<std::optional<WalkEntry>> advance();
  Result<void> enter(const Frame& frame);
  Result<void> find_attributes(WalkEntry& entry, FileType type);
  Result<void> may_enter(const WalkEntry& entry, uint64_t index);
  void leave();

  const Filesystem& fs_;
  const WalkOptions options_;
  const Located start_;
  bool started_ = false;
  std::string path_;
  std::vector<Frame> frames_;
  std::optional<Frame> pending_;  // the directory given last, entered by next()
  std::optional<Tree> tree_;      // of the innermost frame
  std::optional<DirectoryLister> lister_;
  bool listing_ = false;  // lister_ is in the innermost frame's directory
  Cursor inodes_;
  std::unordered_set<uint64_t> subvolumes_;    // entered so far
  std::unordered_set<InodeId> entry_points_;   // the start, and the roots of those subvolumes
  std::unordered_set<InodeId> other_indexes_;  // directories entered although their index is another, or lost
};

}  // namespace karst::btrfs
