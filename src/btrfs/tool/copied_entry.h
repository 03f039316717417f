// What is said of one file when it is copied out of a file system, to an archive or a directory.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "btrfs/file/attributes.h"

namespace karst::btrfs {

struct CopiedEntry {
  std::string path;  // in the copy, without a leading slash; empty for its root
  Attributes attributes;
  std::string symlink;   // target
  std::string hardlink;  // path of the first name; then there are no contents
  std::vector<std::pair<std::string, std::string>> xattrs;  // name and value, ACLs among them
  std::vector<std::pair<uint64_t, uint64_t>> data;          // offset and length of what is not a hole
  bool sparse = false;  // whether `data` is to be used; all but its last range are whole sectors

  bool has_contents() const { return attributes.is_regular() && hardlink.empty(); }
};

}  // namespace karst::btrfs
