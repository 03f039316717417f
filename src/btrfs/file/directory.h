// Directories: names to inodes, by hash and by index, across subvolume boundaries.
//
// A directory has each name twice: in a DIR_ITEM under the name's hash (several names there on a collision)
// and in a DIR_INDEX in the order of creation. Lookup uses the first, listing the second. An entry may lead
// to another subvolume; in a snapshot, entries that led to subvolumes of the original lead to an empty
// directory, as in the kernel.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "btrfs/file/attributes.h"

namespace karst::btrfs {

struct DirectoryEntry {
  std::string_view name;  // borrowed from the cursor's block
  InodeId target;
  FileType type;
  uint64_t index;     // of DIR_INDEX; 0 where it was found by hash
  bool is_subvolume;  // target is the root of a subvolume, or the empty directory in its place
};

// Lists one directory. Not thread-safe. An error leaves the lister usable: next() goes on after the entry.
class DirectoryLister {
 public:
  DirectoryLister(const Filesystem& fs, const Tree& tree, uint64_t directory)
      : fs_(&fs), tree_(tree), cursor_(tree), directory_(directory) {}

  void set_readahead(bool on) { cursor_.set_readahead(on); }
  // The first entry whose index is at least `index`; nullopt at the end.
  Result<std::optional<DirectoryEntry>> seek(uint64_t index);
  Result<std::optional<DirectoryEntry>> next();
  // The index of the entry that the lister is at, also where that entry gave an error; all ones at the end.
  uint64_t position() const;

 private:
  bool at_entry() const;
  Result<std::optional<DirectoryEntry>> current();
  const Filesystem* fs_;
  Tree tree_;
  Cursor cursor_;
  uint64_t directory_;
};

// The entry of that name, or nullopt. The cursor is on the directory's tree, is moved, and lends the name.
Result<std::optional<DirectoryEntry>> look_up(const Filesystem& fs, Cursor& cursor, const Tree& tree,
                                              uint64_t directory, std::string_view name);

// The attributes an entry or id stands for, the empty directories of snapshots included (those take
// owner and times from the directory they are in).
Result<Attributes> empty_subvolume_attributes(Cursor& cursor, uint64_t parent_directory);

}  // namespace karst::btrfs
