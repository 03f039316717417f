// The header of one entry of a pax archive.
//
// Blocks of 512 bytes: where a field of the ustar header has no room for a value, or no form for it, an
// extended header of "length keyword=value" records comes first. Keywords beyond POSIX's are those that GNU
// tar, bsdtar and star read: SCHILY.xattr.* and SCHILY.acl.*, and GNU.sparse.* of the sparse format 1.0,
// whose map is the first thing in the entry's contents. Names are written as the bytes they are, as GNU tar
// does. libarchive's writer is not used: it leaves the sparse map to whoever writes the contents through it,
// and adds keywords that GNU tar complains of. Sources: POSIX.1-2017, pax; GNU tar manual, "PAX Format,
// Version 1.0"; GNU tar src/xheader.c.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "btrfs/file/attributes.h"
#include "core/bytes.h"
#include "core/result.h"

namespace karst::btrfs {

// What one entry says, beyond its contents.
struct TarEntry {
  std::string path;  // in the archive
  Attributes attributes;
  std::string symlink;   // target
  std::string hardlink;  // path of the first name; then there are no contents
  std::vector<std::pair<std::string, std::string>> xattrs;  // name and value, ACLs among them
  std::vector<std::pair<uint64_t, uint64_t>> data;          // offset and length of what is not a hole
  bool sparse = false;  // whether `data` is to be used; all but its last range are whole tar blocks

  bool has_contents() const { return attributes.is_regular() && hardlink.empty(); }
};

constexpr size_t tar_block = 512;
constexpr size_t contents_padding(uint64_t contents) {
  return (tar_block - contents % tar_block) % tar_block;
}

// Everything of the entry that comes before the bytes of its file: whole blocks. err::limit for what no
// archive can say: a file of 8 EiB or more.
Result<std::string> pax_header(const TarEntry& entry);

}  // namespace karst::btrfs
