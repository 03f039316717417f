// What libarchive says about an entry, in our terms.
#pragma once
#include <string>

#include "btrfs/tool/build/id_names.h"
#include "btrfs/tool/build/node.h"
#include "core/log.h"
#include "core/result.h"

struct archive_entry;

namespace karst::btrfs::build {

// The locale in which libarchive gives names as the bytes they are. For the thread, until the end of the
// scope.
class Utf8Locale {
 public:
  Utf8Locale();
  ~Utf8Locale();
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  void* made_;
  void* before_;
};

// err::source_unsupported: a type that btrfs does not have, an owner beyond 32 bits. Times that the entry
// does not have are its modification time.
Result<Attributes> attributes_of(archive_entry* entry);
// Extended attributes, and ACLs as those; the permissions of `mode` become those that an access list grants,
// as libarchive has the owning group's there and Linux the mask's. Users and groups that ACLs name without a
// number, as GNU tar writes them, are looked up in `names`. Attributes that btrfs has no place for are left
// out, with a warning that names the path. err::source_acl; err::source_unsupported for NFSv4's.
Result<XattrChanges> xattrs_of(archive_entry* entry, std::string_view path, const IdNames& names,
                               const Logger& log, uint32_t& mode);

}  // namespace karst::btrfs::build
