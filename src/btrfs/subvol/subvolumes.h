// The subvolumes of a file system: their tree of names, and which one is the default.
#pragma once
#include <string>
#include <vector>

#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

struct Subvolume {
  Root root;
  uint64_t parent = 0;     // the subvolume it has its name in; 0 for the top level and for unlinked ones
  uint64_t directory = 0;  // the directory there
  std::string name;
  std::string path;     // from the top level, without a leading slash; empty for the top level
  bool linked = false;  // has a name

  uint64_t id() const { return root.id; }
  bool readonly() const { return (root.item.flags & root_flag::readonly) != 0; }
  // Deleted, and not yet cleaned up.
  bool deleted() const { return root.item.refs == 0; }
};

// All subvolumes by ascending id, the top level (5) among them, deleted ones too. A subvolume whose names
// cannot be followed has an empty path, and the log says why.
Result<std::vector<Subvolume>> list_subvolumes(const Filesystem& fs);

// The id of the subvolume that a mount without options shows.
Result<uint64_t> default_subvolume(const Filesystem& fs);

}  // namespace karst::btrfs
