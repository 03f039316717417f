// Gives back blocks that are counted more often than they are used, where that is in bitmaps: in place,
// bitmap by bitmap, then their index and the superblock's number of used blocks.
//
// Counts only become what they should be, so that wherever it is interrupted it can be done again.
#pragma once
#include "thin/tool/space_check.h"

namespace karst::thin {

// After compare(), which found only leaks. The caller changes the superblock to the root that is returned.
Result<SpaceMapRoot> repair_leaks(TreeScan& scan, const SpaceCheck& space, SpaceCheck::Of of);

}  // namespace karst::thin
