// How a new file system lies on its devices, once all of its content is known.
#pragma once
#include <optional>
#include <vector>

#include "btrfs/extent/device_space.h"
#include "btrfs/extent/metadata_space.h"

namespace karst::btrfs {

// A chunk, and the block group that it is.
struct PlacedChunk {
  ChunkEntry chunk;
  std::optional<size_t> data;  // which of DataUse::chunks it is, if it holds data
  uint64_t filled = 0;         // otherwise: how far tree blocks fill it from its start
  uint64_t used = 0;           // bytes of extents
};

// What data takes of its chunks, one element for each.
struct DataUse {
  struct Chunk {
    uint64_t used = 0;
    std::vector<DataSpace::Run> free;  // ascending
  };
  std::vector<Chunk> chunks;
};

struct MakeLayout {
  DeviceSpace space;                // with all chunks taken out
  std::vector<PlacedChunk> chunks;  // ascending by logical address
  TreeRoot chunk_root;
  std::vector<BlockRecord> chunk_blocks;  // the chunk tree's
};

inline bool is_system(const ChunkEntry& chunk) { return (chunk.type & block_group::system) != 0; }

}  // namespace karst::btrfs
