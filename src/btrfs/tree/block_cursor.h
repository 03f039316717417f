// A position in a tree's blocks: a path from the root to an item.
//
// Moving to another leaf goes through the parent nodes, and checks that keys only ever grow: so a tree whose
// nodes refer to each other in a loop, or to one child twice, ends in an error after a bounded number of
// steps. A cursor pins the blocks of its path. Not thread-safe; make one per thread.
//
// With a Damage it is tolerant: a block that cannot be read, or whose keys are not where its parent has them,
// is noted there and passed over in the direction of the walk; so are items of a leaf that are invalid. No
// block is then visited for more than one range of keys, so hostile pointers cannot multiply the walk.
#pragma once
#include <array>

#include "btrfs/tree/block_reader.h"
#include "btrfs/tree/damage.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind tree_order;  // blocks of a tree whose keys contradict each other
}

class BlockCursor {
 public:
  BlockCursor() = default;
  BlockCursor(BlockReader& blocks, const BlockPointer& root, Damage* damage = nullptr)
      : blocks_(&blocks), root_(root), damage_(damage) {}

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

  // Whether anything of these keys was lost; false for a tree that is not tolerant. What a cursor has passed
  // over, it has noted before.
  bool is_lost(const Key& first, const Key& last) const {
    return damage_ && damage_->touches(root_.root, first, last);
  }
  // Whether anything of them may be of an older state, in the same way.
  bool is_doubtful(const Key& first, const Key& last) const {
    return damage_ && damage_->is_doubtful(root_.root, first, last);
  }

 private:
  struct Step {
    BlockRef block;
    uint32_t slot = 0;
  };
  Result<bool> descend(uint8_t level, const Key* key, bool forward);
  Result<void> load(uint8_t level);
  Result<void> note_left_out(const TreeBlock& leaf) const;
  Result<bool> step_leaf(bool forward);
  std::optional<uint8_t> step_up(uint8_t level, bool forward);
  Result<void> check_leaf_order(const std::optional<Key>& edge, bool forward);
  Key last_key_of(uint8_t level) const;
  Key first_key_of(uint8_t level) const;
  LostBlock lost_at(uint8_t level, const Error& reason) const;
  bool substitute(uint8_t level, const Error& reason);
  void note_lost(uint8_t level, const Error& reason);
  bool leaf_covers(const Key& key) const;
  void announce(const TreeBlock& parent, uint32_t slot);
  bool settle();
  BlockPointer child_pointer(const TreeBlock& node, uint32_t slot) const;

  BlockReader* blocks_ = nullptr;
  BlockPointer root_;
  Damage* damage_ = nullptr;
  std::array<Step, max_level> path_;  // [0] is the leaf
  Key key_;
  bool valid_ = false;
  bool readahead_ = false;
};

}  // namespace karst::btrfs
