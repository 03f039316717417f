#include "btrfs/tool/check/item_stream.h"

#include <vector>

namespace karst::btrfs::check {

ItemStream::ItemStream(BlockReader& blocks, const BlockPointer& root, const Key& from, const Key& to,
                       LeafVisitor visitor)
    : blocks_(blocks), root_(root), from_(from), to_(to), visitor_(std::move(visitor)) {}

// Puts a block on the path if it is good.
bool ItemStream::enter(const BlockPointer& pointer, const Key& end) {
  auto block = blocks_.read(pointer);
  bool in_range = block && ((*block)->nritems() == 0 || (*block)->key((*block)->nritems() - 1) < end);
  if (!in_range) {
    incomplete_ = true;
    return false;
  }
  Step& step = path_[pointer.level];
  step.end = end;
  step.block = std::move(*block);
  const TreeBlock& view = *step.block;
  if (view.is_leaf()) {
    step.slot = view.lower_bound(from_);
    if (visitor_) visitor_(view);
    return true;
  }
  step.slot = view.child_slot(from_);
  if (view.level() == 1) {
    std::vector<BlockPointer> soon;
    for (uint32_t slot = step.slot; slot < view.nritems() && view.key(slot) < to_; ++slot)
      soon.push_back({Logical(view.key_ptr(slot).blockptr.value()), 0, 0, root_.root, {}});
    blocks_.will_read(soon);
  }
  return true;
}

// From the blocks on the path, whose slots are what to visit next, down to a leaf.
bool ItemStream::next_leaf() {
  uint8_t level = 1;
  while (level <= top_) {
    Step& step = path_[level];
    if (!step.block || step.slot >= step.block->nritems() || step.block->key(step.slot) >= to_) {
      ++level;
      continue;
    }
    const TreeBlock& node = *step.block;
    uint32_t slot = step.slot++;
    const KeyPtr& child = node.key_ptr(slot);
    Key end = slot + 1 < node.nritems() ? node.key(slot + 1) : step.end;
    BlockPointer pointer{Logical(child.blockptr.value()), child.generation, static_cast<uint8_t>(level - 1),
                         root_.root, child.key.key()};
    if (!enter(pointer, end)) continue;
    if (--level == 0) return true;
  }
  return false;
}

// On an item of the leaf, if one is left in the range.
bool ItemStream::settle() {
  const Step& leaf = path_[0];
  valid_ = leaf.slot < leaf.block->nritems();
  if (!valid_) return false;
  key_ = leaf.block->key(leaf.slot);
  valid_ = key_ < to_;
  return valid_;
}

bool ItemStream::next() {
  if (!started_) {
    started_ = true;
    if (root_.level >= max_level || !enter(root_, Key::max())) {
      incomplete_ = true;
      return false;
    }
    top_ = root_.level;
    if (top_ == 0) return settle();
    valid_ = false;
  } else if (valid_) {
    ++path_[0].slot;
    if (settle()) return true;
  } else {
    return false;
  }
  while (top_ > 0 && next_leaf())
    if (settle()) return true;
  valid_ = false;
  return false;
}

}  // namespace karst::btrfs::check
