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

#include "btrfs/tool/copied_entry.h"
#include "core/bytes.h"
#include "core/result.h"

namespace karst::btrfs {

using TarEntry = CopiedEntry;  // with the path that it has in the archive

constexpr size_t tar_block = 512;
constexpr size_t contents_padding(uint64_t contents) {
  return (tar_block - contents % tar_block) % tar_block;
}

// Everything of the entry that comes before the bytes of its file: whole blocks. err::limit for what no
// archive can say: a file of 8 EiB or more.
Result<std::string> pax_header(const TarEntry& entry);

}  // namespace karst::btrfs
