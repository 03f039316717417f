// Opening the files of source directories again, after the scan, to read their contents and xattrs.
//
// Paths are looked up below the source's root without following symlinks, in pieces where they are longer
// than PATH_MAX. A file that is not what was scanned is an error: err::source_vanished, err::source_changed,
// err::source_unreadable; its text names the file.
//
// SourceFiles may be shared by threads; a SourceReader belongs to one. It keeps the directory it opened last,
// so files in the order of a walk cost one openat each.
#pragma once
#include <sys/stat.h>

#include <string>
#include <vector>

#include "btrfs/tool/build/layout.h"
#include "core/function_ref.h"
#include "core/unique_fd.h"

namespace karst::btrfs::build {

// Directory entries are looked up one component after the other below `root`, never through a symlink, in
// pieces where the path is longer than PATH_MAX. As openat(2): a descriptor, or -1 and errno.
int open_below(int root, std::string_view path, int flags);

// What a file's contents and attributes have in common with what was scanned if nobody wrote to it.
uint64_t change_token(const struct statx& status);
// statx(2) of what a scan keeps; 0 or an errno. The name "" is the descriptor itself.
int scan_status(int directory, const char* name, struct statx& status);

// A system call's failure on a source's entry, as an error of the family err::source that names the file.
Error source_error(int errno_value, std::string_view operation, std::string_view location,
                   std::string_view path);

class SourceFiles {
 public:
  // The place that Origin::source names.
  uint32_t add(std::string location, UniqueFd root);
  const std::string& location(uint32_t source) const { return roots_[source].location; }
  int root(uint32_t source) const { return roots_[source].fd.get(); }

 private:
  struct Root {
    std::string location;
    UniqueFd fd;  // a directory
  };
  std::vector<Root> roots_;
};

class SourceReader {
 public:
  explicit SourceReader(const SourceFiles& files) : files_(files) {}

  // Opens a regular file for reading, and compares it with what was scanned.
  Result<UniqueFd> open(const Origin& origin);
  // All of `into` from the file that open() gave. err::source_changed if it ends before.
  Result<void> read(int fd, const Origin& origin, uint64_t offset, MutableBytes into) const;
  // After reading: err::source_changed if it was written to meanwhile.
  Result<void> verify_unchanged(int fd, const Origin& origin) const;
  // Calls back for each extended attribute that btrfs can store, in no particular order. fd: what open()
  // gave, or -1 for what is not a regular file. Name and value are borrowed for the call.
  Result<void> for_each_xattr(const Origin& origin, int fd,
                              FunctionRef<Result<void>(std::string_view name, Bytes value)> visit);

 private:
  Result<int> directory_of(const Origin& origin);
  Error error_of(int errno_value, const Origin& origin, const char* operation) const;
  Error changed(const Origin& origin, const char* how) const;

  const SourceFiles& files_;
  uint32_t source_ = ~0u;
  std::string directory_path_;
  UniqueFd directory_;
  std::vector<char> names_;
  std::vector<std::byte> value_;
};

}  // namespace karst::btrfs::build
