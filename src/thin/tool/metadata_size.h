// How large a metadata device should be.
#pragma once
#include <algorithm>
#include <cstdint>

#include "thin/format/node.h"
#include "thin/format/space_map.h"

namespace karst::thin {

// In bytes: a leaf half full for all data blocks, a root for each device, the superblock; no more than Linux
// uses. As thin_metadata_size counts.
constexpr uint64_t metadata_size_for(uint64_t data_blocks, uint64_t devices) {
  const uint64_t leaves = data_blocks / (node_capacity(sizeof(uint64_t)) / 2);
  const uint64_t most = metadata_blocks_max - 1;
  const uint64_t blocks = 1 + (leaves > most ? most : leaves) + std::min(devices, most);
  return std::min(blocks, metadata_blocks_max) * metadata_block_size;
}

}  // namespace karst::thin
