// Discards the data blocks that nobody uses.
#pragma once
#include "block/device.h"
#include "thin/tool/tree_scan.h"

namespace karst::thin {

struct TrimReport {
  uint64_t ranges = 0, blocks = 0;
};

// `scan` has the uses of all data blocks of metadata that is consistent. Free blocks that follow each other
// are discarded together. err::invalid if the data device is too small.
Result<TrimReport> trim_data(const TreeScan& scan, uint32_t data_block_sectors, block::Device& data);

}  // namespace karst::thin
