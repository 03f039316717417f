// Paths inside a file system.
#pragma once
#include <string>
#include <string_view>

#include "btrfs/file/directory.h"

namespace karst::btrfs {

// What a path led to.
struct Located {
  InodeId id;
  InodeId parent;  // the directory it was found in; itself for a root
  Attributes attributes;
};

enum class LastSymlink : uint8_t { follow, keep };

// Resolves `path` from the directory `start`, crossing into subvolumes and following symbolic links inside
// the image: an absolute link begins at `start`, ".." at `start` stays there. not_found, not_a_directory,
// loop, too_long as the system calls have them, with the component that failed.
Result<Located> resolve(const Filesystem& fs, InodeId start, std::string_view path,
                        LastSymlink last = LastSymlink::keep);

// The attributes of an inode known by its id; for the empty directory of a snapshot by its parent's.
Result<Attributes> attributes_of(const Filesystem& fs, InodeId id, InodeId parent);

// A symbolic link's text.
Result<std::string> read_symlink(Cursor& cursor, const Attributes& attributes);

}  // namespace karst::btrfs
