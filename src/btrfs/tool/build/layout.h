// What a build makes: subvolumes, and in each its inodes in the order of their numbers. The result of
// Inventory::finish(), read by the writer.
//
//   Walk walk = layout.walk();
//   while (const Subvolume* subvolume = TRY(walk.next_subvolume()))
//     while (const Inode* inode = TRY(walk.next()))
//       while (const Child* child = TRY(walk.next_child())) …
//
// Numbers: a subvolume's root directory is 256; the others are numbered breadth first, directories in the
// order of their own numbers, names in byte order. Numbers ascend, with gaps: a hard link's second and later
// names leave out the number they would have had.
//
// Memory: nothing grows with the number of entries but temporary files; a walk holds the names of one inode.
//
// Thread-safety: a Layout may be shared; a Walk belongs to one thread. Walks are independent of each other.
// The layout outlives them.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "btrfs/format/inode.h"
#include "btrfs/tool/build/node.h"
#include "core/result.h"

namespace karst::btrfs::build {

// One for each subvolume, in the order of ids: 5, then 256, 257 … in the order of paths, so that a subvolume
// comes after the one it lies in.
struct Subvolume {
  uint64_t id = 5;
  std::string path = "/";  // absolute
  std::string name;        // in its directory; empty for 5
  size_t parent = 0;       // place in Layout::subvolumes() of the one it lies in; its own for 5
  uint64_t directory = 0;  // inode number, in the parent, of the directory it lies in
  uint64_t index = 0;      // its DIR_INDEX there
  bool readonly = false;
  bool is_default = false;  // exactly one is
  std::optional<size_t>
      snapshot_of;  // place of the subvolume this is a snapshot of. It has no inodes of its own
  // What a walk will give:
  uint64_t inodes = 0;        // root directory included
  uint64_t names = 0;         // entries of directories, nested subvolumes included
  uint64_t bytes = 0;         // sizes of regular files, hard links counted once
  uint64_t last_inode = 256;  // no number is greater
};

// One name of an inode.
struct Link {
  uint64_t directory;  // inode number; of a second and later name, it may be greater than the inode's own
  uint64_t index;      // DIR_INDEX in that directory, from 2
  std::string_view name;
};

enum class ContentKind : uint8_t {
  none,         // directories, devices, pipes, sockets, empty files
  bytes,        // here: a symlink's target, a plan's literal
  source_file,  // in a source directory: open `origin` with a SourceReader
  stored,       // in the ContentStore, under the token
};

// Where in a source directory a file is. For SourceReader.
struct Origin {
  uint32_t source = 0;
  std::string_view path;      // from the source's root, without a leading slash; empty for the root
  uint64_t change_token = 0;  // made of the identity, size and times that were scanned
};

// Views are valid until the walk's next call of next() or next_subvolume().
struct Inode {
  uint64_t number = 256;
  Attributes attributes;
  Properties properties;  // that hold here, inherited ones included
  std::string_view
      path;  // its first name's, from the subvolume's root, without a leading slash; for messages
  // All names in this subvolume, in the order of directories and names; none for a root directory. A
  // directory has one. At most 65535.
  std::span<const Link> links;
  // Of directories: entries, and the bytes of their names (btrfs has twice as many as a directory's size).
  uint64_t child_count = 0;
  uint64_t child_name_bytes = 0;

  ContentKind content = ContentKind::none;
  bool may_be_sparse = false;  // source_file: fewer blocks than bytes were allocated
  // bytes: the contents. stored: the token. A hard link across subvolumes gives one token to two inodes,
  // which then share the data.
  Bytes content_bytes;
  // The file in a source directory that this is; contents (source_file) and, unless told otherwise, extended
  // attributes are read from there.
  std::optional<Origin> origin;
  bool xattrs_from_origin = false;
  // Extended attributes given by archives and plans, sorted by name. They win over the origin's; those
  // without a value take the origin's away.
  std::span<const XattrChange> xattrs;
};

struct Child {
  std::string_view name;
  uint64_t index;   // DIR_INDEX, from 2, ascending by one
  uint64_t number;  // inode number; of a subvolume, its id
  bool is_subvolume;
  FileType type;
};

class Layout;

class Walk {
 public:
  Walk(Walk&&) noexcept;
  Walk& operator=(Walk&&) noexcept;
  ~Walk();

  // The next subvolume, 5 first; nullptr after the last. What was not walked of the one before is skipped.
  // Snapshots come too, and have no inodes.
  Result<const Subvolume*> next_subvolume();
  // The next inode of the subvolume, its root directory first; nullptr after the last.
  Result<const Inode*> next();
  // The next entry of the directory that next() gave last, in the order of names and indexes; nullptr after
  // the last. Entries that are not asked for are skipped by next().
  Result<const Child*> next_child();

 private:
  friend class Layout;
  struct State;
  explicit Walk(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Layout {
 public:
  Layout(Layout&&) noexcept;
  Layout& operator=(Layout&&) noexcept;
  ~Layout();

  const std::vector<Subvolume>& subvolumes() const;
  Walk walk() const;

  struct State;  // internal
 private:
  friend class Inventory;
  explicit Layout(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace karst::btrfs::build
