// The items of a tree in key order, going on past what cannot be read.
//
// Made for broken trees: a block that is unreadable or not what its parent means is left out and incomplete()
// says so; reporting it is the scan's business. A block whose keys leave the range its parent has for it is
// left out too, so the walk visits each block at most once and ends. Not thread-safe; make one per thread.
#pragma once
#include <array>
#include <functional>

#include "btrfs/tree/block_reader.h"

namespace karst::btrfs::check {

class ItemStream {
 public:
  // Called for each leaf that the stream enters; neighbouring ranges share leaves.
  using LeafVisitor = std::function<void(const TreeBlock&)>;

  // Items with from <= key < to.
  ItemStream(BlockReader& blocks, const BlockPointer& root, const Key& from = Key::min(),
             const Key& to = Key::max(), LeafVisitor visitor = {});

  // Goes to the first or next item; false at the end.
  bool next();
  bool valid() const { return valid_; }
  // While valid; the data lives until the stream moves.
  const Key& key() const { return key_; }
  Bytes data() const { return path_[0].block->item_data(path_[0].slot); }
  const TreeBlock& leaf() const { return *path_[0].block; }
  template <Overlay T>
  const T* as() const {
    return overlay<T>(data());
  }
  bool incomplete() const { return incomplete_; }

 private:
  struct Step {
    BlockRef block;
    uint32_t slot = 0;
    Key end;  // keys below are less
  };
  bool enter(const BlockPointer& pointer, const Key& end);
  bool next_leaf();
  bool settle();

  BlockReader& blocks_;
  const BlockPointer root_;
  const Key from_, to_;
  const LeafVisitor visitor_;
  std::array<Step, max_level> path_;
  uint8_t top_ = 0;
  Key key_;
  bool started_ = false, valid_ = false, incomplete_ = false;
};

}  // namespace karst::btrfs::check
