// Blocks of new metadata, written one after the other from block 1 on in large pieces.
//
// Not thread-safe.
#pragma once
#include <vector>

#include "block/device.h"
#include "thin/format/block.h"

namespace karst::thin {

class BlockWriter {
 public:
  // Blocks 1 to nr_blocks - 1 of the device, which outlives it.
  BlockWriter(block::Device& device, uint64_t nr_blocks) : device_(device), nr_blocks_(nr_blocks) {}

  uint64_t nr_blocks() const { return nr_blocks_; }
  // The number that append() will give.
  MetadataBlock next() const { return MetadataBlock{next_}; }
  // Seals a block of metadata_block_size and writes it, sooner or later. err::no_space.
  Result<MetadataBlock> append(BlockKind kind, MutableBytes block);
  // What was appended.
  Result<void> read(MetadataBlock number, MutableBytes into);
  // Writes what is still here.
  Result<void> flush();

 private:
  static constexpr size_t piece = 256 * metadata_block_size;
  block::Device& device_;
  const uint64_t nr_blocks_;
  uint64_t next_ = 1;
  std::vector<std::byte> waiting_;  // the last blocks before next_
};

}  // namespace karst::thin
