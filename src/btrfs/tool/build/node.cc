#include "btrfs/tool/build/node.h"

namespace karst::btrfs::build {

void AttributesPatch::apply(Attributes& attributes) const {
  if (permissions) attributes.mode = attributes.type() | (*permissions & 07777);
  attributes.uid = uid.value_or(attributes.uid);
  attributes.gid = gid.value_or(attributes.gid);
  attributes.atime = atime.value_or(attributes.atime);
  attributes.mtime = mtime.value_or(attributes.mtime);
  attributes.ctime = ctime.value_or(attributes.ctime);
  attributes.otime = otime.value_or(attributes.otime);
}

}  // namespace karst::btrfs::build
