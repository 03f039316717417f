// Visits every node of a pool's trees once, however many snapshots share it, and counts who refers to what.
//
// Trees are read level by level from their roots; the blocks of a level in the order of their addresses, on
// all threads. What each block is for is on record, so that a block of two purposes is found, and no circle
// of pointers makes the scan endless. Then summarize() goes through the inner nodes again, and compares what
// is below each with what its entries say.
//
// Memory: about 40 bytes for each block of the metadata device from the first to the last in use, a byte for
// each of the data device.
#pragma once
#include <memory>
#include <vector>

#include "core/worker_pool.h"
#include "thin/format/node.h"
#include "thin/tool/block_scan.h"
#include "thin/tool/findings.h"
#include "thin/tool/use_counts.h"

namespace karst::thin {

// What a metadata block is for.
enum class BlockRole : uint8_t {
  none,
  superblock,
  roots_node,
  mapping_node,
  details_node,
  data_index_node,
  data_counts_node,
  metadata_counts_node,
  metadata_index,
  data_bitmap,
  metadata_bitmap,
};
const char* name_of(BlockRole role);

// What is below a node, the node included.
struct NodeSummary {
  uint64_t first_key, last_key;  // if there are entries
  uint64_t entries;              // of all leaves below
  uint16_t own_entries;          // of this node,
  uint16_t least_entries;        // and how many it should have if it is not a root
  enum State : uint8_t { unknown, in_progress, whole, damaged } state;  // damaged: something is missing
};

class TreeScan {
 public:
  // Blocks are those below `nr_blocks`. Findings outlive it. err::no_memory.
  static Result<std::unique_ptr<TreeScan>> create(block::Device& device, uint64_t nr_blocks,
                                                  uint64_t nr_data_blocks, WorkerPool& pool,
                                                  Findings& findings);
  static uint64_t memory_needed(uint64_t nr_blocks, uint64_t nr_data_blocks);

  // One reference to a block that is for this; true if it is the first. What cannot be is a finding, in which
  // `from` is who refers to it. Thread-safe.
  bool refer(MetadataBlock block, BlockRole role, const char* from);

  // Reads the trees below the roots, as far as they have not been read, and calls each(leaf) for their
  // leaves, in no order, from several threads.
  using EachLeaf = FunctionRef<void(NodeView leaf)>;
  Result<void> scan(const std::vector<MetadataBlock>& roots, BlockRole role, uint32_t value_size,
                    EachLeaf each);
  // The same for trees of mappings, whose data blocks are counted.
  Result<void> scan_mappings(const std::vector<MetadataBlock>& roots);
  // After scan(): finds keys that are not where they should be and nodes that are not full enough.
  Result<NodeSummary> summarize(MetadataBlock root, BlockRole role, uint32_t value_size);

  block::Device& device() const { return device_; }
  WorkerPool& pool() const { return pool_; }
  Findings& findings() const { return findings_; }
  uint64_t nr_blocks() const { return nr_blocks_; }
  UseCounts& metadata_uses() { return *metadata_uses_; }
  UseCounts& data_uses() { return *data_uses_; }
  const UseCounts& data_uses() const { return *data_uses_; }
  BlockRole role(MetadataBlock block) const { return roles_.get()[raw(block)]; }
  const NodeSummary& summary(MetadataBlock block) const { return summaries_.get()[raw(block)]; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  template <typename T>
  using ZeroedArray = std::unique_ptr<T, Free>;
  struct Level;
  TreeScan(block::Device& device, uint64_t nr_blocks, WorkerPool& pool, Findings& findings)
      : device_(device), nr_blocks_(nr_blocks), pool_(pool), findings_(findings) {}
  Result<NodeView> verify(MetadataBlock number, Bytes block, uint32_t value_size) const;
  void visit(const Level& level, MetadataBlock number, Bytes block, const Error* error);
  void count_data_blocks(NodeView leaf);
  Result<void> summarize_below(MetadataBlock number, BlockRole role, uint32_t value_size, unsigned depth);
  void add_child(NodeView node, uint32_t at, NodeSummary& sum);

  block::Device& device_;
  const uint64_t nr_blocks_;
  WorkerPool& pool_;
  Findings& findings_;
  std::unique_ptr<UseCounts> metadata_uses_, data_uses_;
  ZeroedArray<BlockRole> roles_;
  ZeroedArray<NodeSummary> summaries_;
};

}  // namespace karst::thin
