// A position in a tree's blocks: a path from the root to an item.
//
// Moving to another leaf goes through the parent nodes, and checks that keys only ever grow: so a tree whose
// nodes refer to each other in a loop, or to one child twice, ends in an error after a bounded number of
// steps. A cursor pins the blocks of its path. Not thread-safe; make one per thread.
#pragma once
#include <array>

#include "btrfs/tree/block_reader.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind tree_order;  // blocks of a tree whose keys contradict each other
}

class BlockCursor {
 public:
  BlockCursor() = default;
  BlockCursor(BlockReader& blocks, const BlockPointer& root) : blocks_(&blocks), root_(root) {}

  // Announces the leaves to come to the devices while moving forward.
  void set_readahead(bool on) { readahead_ = on; }

  // Goes to the first item whose key is not less than `key`; false at the end of the tree.
  Result<bool> seek(const Key& key);
  // Goes to the last item whose key is not greater than `key`; false if there is none.
  Result<bool> seek_back(const Key& key);
  Result<bool> next();
  Result<bool> previous();

  bool valid() const { return valid_; }
  // Only while valid; the data is borrowed from the block and lives until the cursor moves.
  const Key& key() const { return key_; }
  Bytes data() const { return path_[0].block->item_data(path_[0].slot); }
  const TreeBlock& leaf() const { return *path_[0].block; }
  uint32_t slot() const { return path_[0].slot; }

 private:
  struct Step {
    BlockRef block;
    uint32_t slot = 0;
  };
  Result<void> descend(uint8_t level, const Key* key, bool to_last);
  Result<bool> step_leaf(bool forward);
  bool leaf_covers(const Key& key) const;
  void announce(const TreeBlock& parent, uint32_t slot);
  bool settle();
  BlockPointer child_pointer(const TreeBlock& node, uint32_t slot) const;

  BlockReader* blocks_ = nullptr;
  BlockPointer root_;
  std::array<Step, max_level> path_;  // [0] is the leaf
  Key key_;
  bool valid_ = false;
  bool readahead_ = false;
};

}  // namespace karst::btrfs
