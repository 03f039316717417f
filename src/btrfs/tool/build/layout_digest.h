// What tells images apart before their data is read: names, attributes, sizes, extended attributes that
// archives and plans give, targets of links. Not what files contain, nor where it comes from.
#pragma once
#include <string>

#include "btrfs/tool/build/layout.h"

namespace karst::btrfs::build {

// SHA-256 in hexadecimal. Walks the layout once. Errors: those of the walk.
Result<std::string> digest_of(const Layout& layout);

}  // namespace karst::btrfs::build
