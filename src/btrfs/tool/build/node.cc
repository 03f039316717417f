#include "btrfs/tool/build/node.h"

namespace karst::btrfs::build {

void AttributesPatch::apply(Attributes& attributes) const {
  if (permissions) attributes.mode = attributes.type() | (*permissions & 07777);
  if (access) attributes.mode = (attributes.mode & ~0777u) | (*access & 0777);
  attributes.uid = uid.value_or(attributes.uid);
  attributes.gid = gid.value_or(attributes.gid);
  attributes.atime = atime.value_or(attributes.atime);
  attributes.mtime = mtime.value_or(attributes.mtime);
  attributes.ctime = ctime.value_or(attributes.ctime);
  attributes.otime = otime.value_or(attributes.otime);
}

bool is_storable_xattr(std::string_view name) {
  for (std::string_view prefix : {"user.", "trusted.", "security.", "btrfs."})
    if (name.starts_with(prefix) && name.size() > prefix.size() && name.size() <= 255) return true;
  return name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace karst::btrfs::build
