// POSIX access control lists in the form in which the kernel takes them as xattrs, and as setfacl(1) writes
// them.
//
// Source: Linux include/uapi/linux/posix_acl_xattr.h and posix_acl.h: le32 version (2), then for each entry
// le16 tag, le16 permissions, le32 id, sorted by tag and id.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/endian.h"
#include "core/function_ref.h"
#include "core/result.h"

namespace karst::btrfs::build {

inline constexpr char acl_access_xattr[] = "system.posix_acl_access";
inline constexpr char acl_default_xattr[] = "system.posix_acl_default";

enum class AclTag : uint16_t {
  user_owner = 0x01,
  user = 0x02,
  group_owner = 0x04,
  group = 0x08,
  mask = 0x10,
  other = 0x20
};

struct AclEntry {
  AclTag tag;
  uint16_t permissions;  // 4 read, 2 write, 1 execute
  uint32_t id = 0;       // of user and group
};

// err::source_acl for a list that the kernel would refuse: owner, owning group and others must be there once
// each, and a mask if there are named users or groups; no user or group twice.
Result<std::string> encode_acl(std::vector<AclEntry> entries);

// Whether the permission bits of a mode say it all.
bool is_trivial_acl(const std::vector<AclEntry>& entries);
// The permissions that a file with this access list has in its mode: owner's, the mask's or the group's,
// others'.
uint32_t mode_of_acl(const std::vector<AclEntry>& entries);
// An access list in the kernel's form as chmod(2) to this mode would leave it (Linux fs/posix_acl.c,
// __posix_acl_chmod_masq()). What is no such list stays as it is.
std::string acl_after_chmod(std::string encoded, uint32_t mode);

// Gives the id of a user or a group by name, or nothing.
using AclNames = FunctionRef<std::optional<uint32_t>(std::string_view name, bool is_group)>;

// "user::rw-,user:1000:r--,group::r--,mask::r--,other::r--", separated by commas or line ends, tags also as
// u, g, m, o, comments after #. Permissions are letters or a digit. A mask that is needed and missing is the
// union of what it covers, as setfacl does it. err::source_acl with the entry that is wrong.
Result<std::vector<AclEntry>> parse_acl(std::string_view text, AclNames names);

}  // namespace karst::btrfs::build
