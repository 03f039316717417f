// What a Layout is made of. Internal to build/.
#pragma once
#include "btrfs/tool/build/layout.h"
#include "btrfs/tool/build/placement.h"
#include "btrfs/tool/build/resolve.h"

namespace karst::btrfs::build {

struct Layout::State {
  Placement placement;  // for properties
  Settled settled;
};

}  // namespace karst::btrfs::build
