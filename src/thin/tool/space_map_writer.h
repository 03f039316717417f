// Space maps of new metadata, from how often each block is used.
#pragma once
#include "thin/format/space_map.h"
#include "thin/tool/block_writer.h"
#include "thin/tool/use_counts.h"

namespace karst::thin {

// What it writes itself is added to the uses of metadata.
Result<SpaceMapRoot> write_data_space_map(BlockWriter& writer, UseCounts& metadata_uses,
                                          const UseCounts& data_uses);
// The last thing written: it has its own blocks in it.
Result<SpaceMapRoot> write_metadata_space_map(BlockWriter& writer, UseCounts& metadata_uses);

}  // namespace karst::thin
