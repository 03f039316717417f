#include "btrfs/tool/build/archive_entry.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/posix_acl.h"

namespace karst::btrfs::build {
namespace {

Time time_of(time_t seconds, long nanoseconds) {
  const long valid = nanoseconds < 0 || nanoseconds >= 1'000'000'000 ? 0 : nanoseconds;
  return {seconds, static_cast<uint32_t>(valid)};
}

Result<uint32_t> id_of(int64_t id) {
  if (id < 0 || id > int64_t{UINT32_MAX} - 1)
    return Error::make(err::source_unsupported, "an owner that is no number of 32 bits: {}", id);
  return static_cast<uint32_t>(id);
}

std::optional<AclTag> tag_of(int tag) {
  switch (tag) {
    case ARCHIVE_ENTRY_ACL_USER: return AclTag::user;
    case ARCHIVE_ENTRY_ACL_USER_OBJ: return AclTag::user_owner;
    case ARCHIVE_ENTRY_ACL_GROUP: return AclTag::group;
    case ARCHIVE_ENTRY_ACL_GROUP_OBJ: return AclTag::group_owner;
    case ARCHIVE_ENTRY_ACL_MASK: return AclTag::mask;
    case ARCHIVE_ENTRY_ACL_OTHER: return AclTag::other;
    default: return std::nullopt;
  }
}

// Archives that have both a name and a number are taken by the number.
Result<uint32_t> named_id(int id, const char* name, bool is_group, const IdNames& names) {
  if (id >= 0) return static_cast<uint32_t>(id);
  if (auto known = names.find(name ? name : "", is_group)) return *known;
  return Error::make(err::source_acl, "access control list: no number is known for the {} {}",
                     is_group ? "group" : "user", name ? name : "without a name");
}

Result<std::vector<AclEntry>> acl_of(archive_entry* entry, int wanted, const IdNames& names) {
  std::vector<AclEntry> entries;
  if (archive_entry_acl_reset(entry, wanted) == 0) return entries;
  int type, permissions, tag, id;
  const char* name;
  while (archive_entry_acl_next(entry, wanted, &type, &permissions, &tag, &id, &name) == ARCHIVE_OK) {
    const auto known = tag_of(tag);
    if (!known) return Error(err::source_acl, "access control list: an entry of an unknown kind");
    const bool is_group = *known == AclTag::group;
    const bool named = is_group || *known == AclTag::user;
    entries.push_back({.tag = *known,
                       .permissions = static_cast<uint16_t>(permissions & 7),
                       .id = named ? TRY(named_id(id, name, is_group, names)) : 0});
  }
  return entries;
}
}  // namespace

Utf8Locale::Utf8Locale() : made_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{})), before_(nullptr) {
  if (made_) before_ = ::uselocale(static_cast<locale_t>(made_));
}
Utf8Locale::~Utf8Locale() {
  if (!made_) return;
  ::uselocale(static_cast<locale_t>(before_));
  ::freelocale(static_cast<locale_t>(made_));
}

Result<Attributes> attributes_of(archive_entry* entry) {
  Attributes attributes;
  attributes.mode = archive_entry_filetype(entry) | (archive_entry_perm(entry) & 07777);
  if (file_type_of(attributes.mode) == FileType::unknown)
    return Error::make(err::source_unsupported, "an entry of a type that btrfs does not have (mode {:o})",
                       attributes.mode);
  attributes.uid = TRY(id_of(archive_entry_uid(entry)));
  attributes.gid = TRY(id_of(archive_entry_gid(entry)));
  if (attributes.is_device()) {
    const auto major = archive_entry_rdevmajor(entry), minor = archive_entry_rdevminor(entry);
    if (major >= 1u << 12 || minor >= 1u << 20)
      return Error::make(err::source_unsupported, "a device number beyond 12 and 20 bits: {}:{}", major,
                         minor);
    attributes.device_major = static_cast<uint32_t>(major);
    attributes.device_minor = static_cast<uint32_t>(minor);
  }
  if (attributes.is_regular() && archive_entry_size(entry) > 0)
    attributes.size = static_cast<uint64_t>(archive_entry_size(entry));
  attributes.mtime = time_of(archive_entry_mtime(entry), archive_entry_mtime_nsec(entry));
  attributes.atime = attributes.ctime = attributes.otime = attributes.mtime;
  if (archive_entry_atime_is_set(entry))
    attributes.atime = time_of(archive_entry_atime(entry), archive_entry_atime_nsec(entry));
  if (archive_entry_ctime_is_set(entry))
    attributes.ctime = time_of(archive_entry_ctime(entry), archive_entry_ctime_nsec(entry));
  if (archive_entry_birthtime_is_set(entry))
    attributes.otime = time_of(archive_entry_birthtime(entry), archive_entry_birthtime_nsec(entry));
  return attributes;
}

Result<XattrChanges> xattrs_of(archive_entry* entry, std::string_view path, const IdNames& names,
                               const Logger& log, uint32_t& mode) {
  XattrChanges xattrs;
  if (archive_entry_xattr_reset(entry) > 0) {
    const char* name;
    const void* value;
    size_t size;
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
      const std::string_view text = name;
      if (!is_storable_xattr(text)) {
        log.warning("an extended attribute that btrfs has no place for is left out",
                    {{"name", text}, {"path", path}});
        continue;
      }
      xattrs.push_back({std::string(text), std::string(static_cast<const char*>(value), size)});
    }
  }
  if (archive_entry_acl_types(entry) & ARCHIVE_ENTRY_ACL_TYPE_NFS4)
    return Error(err::source_unsupported, "an access control list of NFSv4's kind");
  std::vector<AclEntry> access = TRY(acl_of(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, names));
  std::vector<AclEntry> by_default = TRY(acl_of(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, names));
  if (!is_trivial_acl(access)) {
    mode = (mode & ~0777u) | mode_of_acl(access);
    xattrs.push_back({acl_access_xattr, TRY(encode_acl(std::move(access)))});
  }
  if (!by_default.empty()) xattrs.push_back({acl_default_xattr, TRY(encode_acl(std::move(by_default)))});
  return xattrs;
}

}  // namespace karst::btrfs::build
