// Builds a tree from items that come in key order: every block is filled, written once, and never touched
// again. The leaf and one node of each level above are being filled; the rest is out of memory.
//
// A block gets its address when it is full, so blocks of one tree, children before parents, have ascending
// addresses. Every block passes the structural checker before it is written: what we would refuse to read
// is not written.
//
// Not thread-safe. Errors: those of the sink; what the checker finds (a bug, or items that contradict the
// format); invalid for keys out of order or an item that fits into no leaf.
#pragma once
#include <vector>

#include "btrfs/format/check.h"

namespace karst::btrfs {

// What every block of a new file system carries.
struct BlockStamp {
  Geometry geometry;       // generation is that of the blocks
  Uuid chunk_tree_uuid{};  // in each header
};

struct TreeRoot {
  Logical address{};
  uint8_t level = 0;
  uint64_t blocks = 0;  // of the whole tree
};

// Where blocks go.
class BlockSink {
 public:
  virtual ~BlockSink() = default;
  // The address for one more block of nodesize bytes. Ascending.
  virtual Result<Logical> allocate() = 0;
  // A finished block, at an address from allocate(). Borrowed.
  virtual Result<void> write(const TreeBlock& block) = 0;
};

class BulkTree {
 public:
  // The sink outlives the builder.
  BulkTree(const BlockStamp& stamp, uint64_t owner, BlockSink& sink);

  // Appends an item. Keys ascend strictly. The pieces are the item's data, one after the other.
  Result<void> add(const Key& key, std::initializer_list<Bytes> pieces);
  Result<void> add(const Key& key, Bytes data = {}) { return add(key, {data}); }
  // Room for an item of this size at the end of the leaf, to be filled in by the caller before the next call.
  Result<MutableBytes> append(const Key& key, size_t size);

  // Writes what is left. A tree without items is one empty leaf.
  Result<TreeRoot> finish();
  // The root as it was written, after finish().
  Bytes root_block() const { return levels_.back().bytes; }

  // The largest item that fits into a leaf.
  static uint32_t max_item_size(uint32_t nodesize) { return nodesize - sizeof(Header) - sizeof(Item); }

 private:
  // A block being filled.
  struct Level {
    std::vector<std::byte> bytes;
    uint32_t count = 0;
    uint32_t data_start = 0;  // leaves: where the items' data begins, from the end of the header
  };
  void begin(Level& level) const;
  Result<Logical> write_block(uint8_t level);
  Result<void> point_to(uint8_t level, const Key& first, Logical child);
  Result<void> close(uint8_t level);
  Key first_key(uint8_t level) const;

  const BlockStamp stamp_;
  const uint64_t owner_;
  BlockSink& sink_;
  std::vector<Level> levels_;  // [0] is the leaf
  Key last_key_;
  uint64_t blocks_ = 0;
};

}  // namespace karst::btrfs
