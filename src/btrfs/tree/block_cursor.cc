#include "btrfs/tree/block_cursor.h"

namespace karst::btrfs {
namespace err {
const ErrorKind tree_order{"tree-order", &karst::err::corrupt, EUCLEAN};
}

namespace {
constexpr uint32_t readahead_blocks = 32;
}

BlockPointer BlockCursor::child_pointer(const TreeBlock& node, uint32_t slot) const {
  const KeyPtr& pointer = node.key_ptr(slot);
  return {Logical(pointer.blockptr.value()), pointer.generation, static_cast<uint8_t>(node.level() - 1),
          root_.root, pointer.key.key()};
}

// Fills path_[level] … path_[0], starting from path_[level + 1]'s slot, or from the root.
Result<void> BlockCursor::descend(uint8_t level, const Key* key, bool to_last) {
  path_[0].block.reset();  // a failed descent leaves no leaf behind to be trusted
  for (int at = level; at >= 0; --at) {
    Step& step = path_[at];
    step.block = at == root_.level
                     ? TRY(blocks_->read(root_))
                     : TRY(blocks_->read(child_pointer(*path_[at + 1].block, path_[at + 1].slot)));
    const TreeBlock& block = *step.block;
    if (at > 0 && block.nritems() == 0)
      return Error(err::node_structure, "node without children").at("block", block.bytenr());
    if (to_last)
      step.slot = block.nritems() == 0 ? 0 : block.nritems() - 1;
    else if (!key)
      step.slot = 0;
    else
      step.slot = at > 0 ? block.child_slot(*key) : block.lower_bound(*key);
    if (at == 1 && readahead_) announce(block, step.slot);
  }
  return {};
}

void BlockCursor::announce(const TreeBlock& parent, uint32_t slot) {
  // One announcement for a whole window: again only when the walk has passed it.
  if (slot % readahead_blocks != 0) return;
  std::array<BlockPointer, readahead_blocks> soon;
  uint32_t count = std::min(readahead_blocks, parent.nritems() - slot);
  for (uint32_t i = 0; i < count; ++i) soon[i] = child_pointer(parent, slot + i);
  blocks_->will_read(std::span(soon).first(count));
}

bool BlockCursor::settle() {
  valid_ = path_[0].slot < path_[0].block->nritems();
  if (valid_) key_ = path_[0].block->key(path_[0].slot);
  return valid_;
}

bool BlockCursor::leaf_covers(const Key& key) const {
  if (!path_[0].block) return false;
  const TreeBlock& leaf = *path_[0].block;
  return leaf.nritems() > 0 && leaf.key(0) <= key && key <= leaf.key(leaf.nritems() - 1);
}

Result<bool> BlockCursor::seek(const Key& key) {
  if (leaf_covers(key)) {
    path_[0].slot = path_[0].block->lower_bound(key);
    return settle();
  }
  valid_ = false;
  TRY(descend(root_.level, &key, false));
  if (settle()) return true;
  return step_leaf(true);
}

Result<bool> BlockCursor::seek_back(const Key& key) {
  if (TRY(seek(key)) && key_ == key) return true;
  if (!valid_) {
    TRY(descend(root_.level, nullptr, true));
    return settle();
  }
  return previous();
}

Result<bool> BlockCursor::next() {
  if (!valid_) return false;
  if (++path_[0].slot < path_[0].block->nritems()) {
    key_ = path_[0].block->key(path_[0].slot);
    return true;
  }
  return step_leaf(true);
}

Result<bool> BlockCursor::previous() {
  if (!valid_) return false;
  if (path_[0].slot > 0) {
    --path_[0].slot;
    return settle();
  }
  return step_leaf(false);
}

// From the end (or start) of the leaf to the neighbouring one.
Result<bool> BlockCursor::step_leaf(bool forward) {
  const TreeBlock& leaf = *path_[0].block;
  std::optional<Key> edge;
  if (leaf.nritems() > 0) edge = forward ? leaf.key(leaf.nritems() - 1) : leaf.key(0);
  valid_ = false;
  uint8_t level = 1;
  for (;; ++level) {
    if (level > root_.level) return false;
    Step& step = path_[level];
    if (forward && step.slot + 1 < step.block->nritems()) {
      ++step.slot;
      break;
    }
    if (!forward && step.slot > 0) {
      --step.slot;
      break;
    }
  }
  if (level == 1 && readahead_ && forward) announce(*path_[1].block, path_[1].slot);
  TRY(descend(static_cast<uint8_t>(level - 1), nullptr, !forward));
  if (!settle())
    return Error(err::tree_order, "empty leaf inside a tree").at("block", path_[0].block->bytenr());
  if (edge && (forward ? key_ <= *edge : key_ >= *edge)) {
    valid_ = false;
    return Error(err::tree_order, "keys of neighbouring leaves are out of order")
        .expected(fmt::format("{} {}", forward ? "above" : "below", *edge), key_)
        .at("tree", root_name(root_.root))
        .at("block", path_[0].block->bytenr());
  }
  return true;
}

}  // namespace karst::btrfs
