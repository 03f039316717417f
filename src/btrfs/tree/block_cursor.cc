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

// The keys that the block at path_[level] is there for, as its ancestors have them.
Key BlockCursor::first_key_of(uint8_t level) const {
  return level == root_.level ? Key::min() : path_[level + 1].block->key(path_[level + 1].slot);
}

Key BlockCursor::last_key_of(uint8_t level) const {
  Key last = Key::max();
  for (int above = level + 1; above <= root_.level; ++above) {
    const Step& step = path_[above];
    if (step.slot + 1 < step.block->nritems())
      last = std::min(last, step.block->key(step.slot + 1).predecessor());
  }
  return last;
}

// The block that is to be at path_[level], as lost.
LostBlock BlockCursor::lost_at(uint8_t level, const Error& reason) const {
  const uint64_t bytenr = level == root_.level
                              ? raw(root_.address)
                              : path_[level + 1].block->key_ptr(path_[level + 1].slot).blockptr.value();
  return {root_.root, first_key_of(level), last_key_of(level), bytenr, level, reason.message()};
}

void BlockCursor::note_lost(uint8_t level, const Error& reason) {
  const LostBlock lost = lost_at(level, reason);
  if (lost.first <= lost.last) damage_->add(lost);  // otherwise its keys are those of its neighbours
}

// Takes a node that was made again for the one that cannot be read.
bool BlockCursor::substitute(uint8_t level, const Error& reason) {
  if (level == 0) return false;
  const LostBlock lost = lost_at(level, reason);
  if (lost.first > lost.last) return false;
  auto node = damage_->use_substitute(lost);
  if (!node) return false;
  path_[level].block = BlockRef(std::move(node));
  return true;
}

// Notes the items that are not in the leaf any more, since they are invalid. Nobody takes such a leaf who
// would not learn of it.
Result<void> BlockCursor::note_left_out(const TreeBlock& leaf) const {
  const auto sieved = blocks_->sieved(leaf.bytenr());
  if (!sieved) return {};
  if (!damage_) return Error(err::item_invalid, "leaf with invalid items").at("block", leaf.bytenr());
  for (const auto& [key, kind] : sieved->left_out)
    damage_->add({root_.root, key, key, leaf.bytenr(), 0, fmt::format("invalid item ({})", kind->name)});
  return {};
}

// Reads the block at path_[level], which its parent's slot refers to.
Result<void> BlockCursor::load(uint8_t level) {
  Step& step = path_[level];
  if (damage_) {
    const Key first = first_key_of(level), last = last_key_of(level);
    if (first > last)
      return Error(err::tree_order, "child lies outside the keys of its parent")
          .at("block", path_[level + 1].block->bytenr());
    if (damage_->covers(root_.root, first, last)) return Error(err::tree_order, "known to be lost");
  }
  const BlockPointer pointer =
      level == root_.level ? root_ : child_pointer(*path_[level + 1].block, path_[level + 1].slot);
  step.block = TRY(blocks_->read(pointer));
  if (damage_ && step.block->generation() != pointer.generation)  // BlockTolerance::generation
    damage_->doubt(root_.root, first_key_of(level), last_key_of(level));
  if (level == 0) return note_left_out(*step.block);
  if (step.block->nritems() == 0)
    return Error(err::node_structure, "node without children").at("block", step.block->bytenr());
  return {};
}

// Fills path_[level] … path_[0], starting from path_[level + 1]'s slot, or from the root: at `key`, or at the
// end that the walk comes to first. False: nothing readable is left in that direction.
Result<bool> BlockCursor::descend(uint8_t level, const Key* key, bool forward) {
  path_[0].block.reset();  // a failed descent leaves no leaf behind to be trusted
  for (int at = level; at >= 0; --at) {
    const auto here = static_cast<uint8_t>(at);
    auto loaded = load(here);
    if (!loaded && !damage_) return std::move(loaded).error();
    if (!loaded && !substitute(here, loaded.error())) {
      note_lost(here, loaded.error());
      path_[0].block.reset();
      auto turn = step_up(here, forward);
      if (!turn) return false;
      at = *turn;  // the loop goes on below it
      key = nullptr;
      continue;
    }
    Step& step = path_[at];
    const TreeBlock& block = *step.block;
    if (key)
      step.slot = at > 0 ? block.child_slot(*key) : block.lower_bound(*key);
    else
      step.slot = forward || block.nritems() == 0 ? 0 : block.nritems() - 1;
    if (at == 1 && readahead_) announce(block, step.slot);
  }
  return true;
}

// The nearest node above `level` that has a further child in that direction, moved to it.
std::optional<uint8_t> BlockCursor::step_up(uint8_t level, bool forward) {
  for (++level; level <= root_.level; ++level) {
    Step& step = path_[level];
    if (forward && step.slot + 1 < step.block->nritems()) {
      ++step.slot;
      return level;
    }
    if (!forward && step.slot > 0) {
      --step.slot;
      return level;
    }
  }
  return std::nullopt;
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
  if (!TRY(descend(root_.level, &key, true))) return false;
  if (settle()) return true;
  return step_leaf(true);
}

Result<bool> BlockCursor::seek_back(const Key& key) {
  if (TRY(seek(key)) && key_ == key) return true;
  if (!valid_) {
    if (!TRY(descend(root_.level, nullptr, false))) return false;
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

Result<void> BlockCursor::check_leaf_order(const std::optional<Key>& edge, bool forward) {
  if (path_[0].block->nritems() == 0)
    return Error(err::tree_order, "empty leaf inside a tree").at("block", path_[0].block->bytenr());
  const Key found = path_[0].block->key(path_[0].slot);
  if (!edge || (forward ? found > *edge : found < *edge)) return {};
  return Error(err::tree_order, "keys of neighbouring leaves are out of order")
      .expected(fmt::format("{} {}", forward ? "above" : "below", *edge), found)
      .at("tree", root_name(root_.root))
      .at("block", path_[0].block->bytenr());
}

// From the end (or start) of the leaf to the neighbouring one.
Result<bool> BlockCursor::step_leaf(bool forward) {
  const TreeBlock& leaf = *path_[0].block;
  std::optional<Key> edge;
  if (leaf.nritems() > 0) edge = forward ? leaf.key(leaf.nritems() - 1) : leaf.key(0);
  valid_ = false;
  for (;;) {
    auto turn = step_up(0, forward);
    if (!turn) return false;
    if (*turn == 1 && readahead_ && forward) announce(*path_[1].block, path_[1].slot);
    if (!TRY(descend(static_cast<uint8_t>(*turn - 1), nullptr, forward))) return false;
    auto ordered = check_leaf_order(edge, forward);
    if (ordered) return settle();
    if (!damage_) return std::move(ordered).error();
    note_lost(0, ordered.error());
  }
}

}  // namespace karst::btrfs
