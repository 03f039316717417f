#include "thin/metadata/btree.h"

#include <algorithm>

#include "thin/format/errors.h"
#include "thin/metadata/tree_walk.h"

namespace karst::thin {
namespace {

uint32_t room(const NodeView& node) { return node.capacity() - node.size(); }
uint32_t least(const NodeView& node) { return node.capacity() / 3; }

}  // namespace

Result<MetadataBlock> Btree::create() { return TRY(create_node(true)).number; }

Result<Btree::Own> Btree::create_node(bool leaf) {
  const auto made = TRY(store_.create(BlockKind::node));
  return Own{made.number, MutableNode::format(made.bytes, leaf, leaf ? value_size_ : sizeof(le64))};
}

Result<Btree::Own> Btree::shadow(MetadataBlock number) {
  const auto own = TRY(store_.shadow_node(number, value_size_));
  const MutableNode node(own.bytes);
  if (own.was_shared) {
    if (!node.is_leaf()) {
      for (uint32_t i = 0; i < node.size(); ++i) TRY(store_.counts().retain(node.child(i)));
    } else if (leaves_ != nullptr) {
      TRY(leaves_->retain(node));
    }
  }
  return Own{own.number, node};
}

Result<Btree::Own> Btree::shadow_child(MutableNode& parent, uint32_t at) {
  Own child = TRY(shadow(parent.child(at)));
  parent.set_child(at, child.number);
  return child;
}

Result<std::optional<Btree::Found>> Btree::find(MetadataBlock root, uint64_t key) const {
  MetadataBlock number = root;
  for (unsigned depth = 0; depth < max_tree_depth; ++depth) {
    BlockRef block = TRY(store_.read_node(number, value_size_));
    const NodeView node = block.node();
    if (node.is_leaf()) {
      const uint32_t at = node.lower_bound(key);
      if (at == node.size() || node.key(at) != key) return std::optional<Found>();
      return std::optional<Found>(Found{std::move(block), at});
    }
    number = node.child(node.child_for(key));
  }
  return tree_too_deep(root);
}

Result<std::optional<Btree::Found>> Btree::last(MetadataBlock root) const {
  MetadataBlock number = root;
  for (unsigned depth = 0; depth < max_tree_depth; ++depth) {
    BlockRef block = TRY(store_.read_node(number, value_size_));
    const NodeView node = block.node();
    if (node.size() == 0) return std::optional<Found>();
    if (node.is_leaf()) {
      const uint32_t at = node.size() - 1;
      return std::optional<Found>(Found{std::move(block), at});
    }
    number = node.child(node.size() - 1);
  }
  return tree_too_deep(root);
}

Result<void> Btree::walk(MetadataBlock root, uint64_t from, uint64_t to, Visit each) const {
  return from < to ? TreeWalk(store_, value_size_).walk(root, {from, to - 1}, each) : Result<void>();
}

// Whether an insertion of the key needs room in this node.
Result<bool> Btree::is_full_for(MetadataBlock number, uint64_t key) const {
  const BlockRef block = TRY(store_.read_node(number, value_size_));
  const NodeView node = block.node();
  if (room(node) > 0) return false;
  if (!node.is_leaf()) return true;
  const uint32_t at = node.lower_bound(key);
  return at == node.size() || node.key(at) != key;
}

// A root above the root.
Result<Btree::Own> Btree::grow_root(Own root) {
  Own above = TRY(create_node(false));
  above.node.insert_child(0, root.node.key(0), root.number);
  return above;
}

// The full child gives its upper part to a new one. Where keys ascend, only what a node must have, so that
// nodes behind stay full.
Result<void> Btree::split(MutableNode& parent, uint32_t at, Own& full, uint64_t key) {
  const bool ascending = at + 1 == parent.size() && key > full.node.key(full.node.size() - 1);
  Own right = TRY(create_node(full.node.is_leaf()));
  full.node.move_to_right(right.node, ascending ? least(full.node) : full.node.size() / 2);
  parent.insert_child(at + 1, right.node.key(0), right.number);
  return {};
}

Result<void> Btree::make_room(MutableNode& parent, uint32_t at, uint64_t key) {
  Own full = TRY(shadow_child(parent, at));
  // A neighbour takes all but one of the entries it has room for; with less room, splitting is due soon
  // anyway.
  constexpr uint32_t worth = 8;
  const auto spare = [&](uint32_t neighbour) -> Result<uint32_t> {
    const BlockRef block = TRY(store_.read_node(parent.child(neighbour), value_size_));
    const uint32_t free = room(block.node());
    return free > worth ? std::min(free - 1, full.node.size() / 2) : 0;
  };
  if (at > 0) {
    if (const uint32_t count = TRY(spare(at - 1)); count > 0) {
      Own left = TRY(shadow_child(parent, at - 1));
      left.node.move_from_right(full.node, count);
      parent.set_key(at, full.node.key(0));
      return {};
    }
  }
  if (at + 1 < parent.size()) {
    if (const uint32_t count = TRY(spare(at + 1)); count > 0) {
      Own right = TRY(shadow_child(parent, at + 1));
      full.node.move_to_right(right.node, count);
      parent.set_key(at + 1, right.node.key(0));
      return {};
    }
  }
  return split(parent, at, full, key);
}

Result<MetadataBlock> Btree::insert(MetadataBlock root, uint64_t key, Bytes value,
                                    FunctionRef<Result<void>(Bytes old)>* replaced) {
  Own own = TRY(shadow(root));
  if (TRY(is_full_for(own.number, key))) {
    own = TRY(grow_root(own));
    TRY(make_room(own.node, 0, key));
  }
  const MetadataBlock new_root = own.number;
  for (unsigned depth = 0; depth < max_tree_depth; ++depth) {
    MutableNode& node = own.node;
    if (node.is_leaf()) {
      const uint32_t at = node.lower_bound(key);
      if (at < node.size() && node.key(at) == key) {
        if (replaced != nullptr) TRY((*replaced)(node.value(at)));
        node.set_value(at, value);
      } else {
        node.insert(at, key, value);
      }
      return new_root;
    }
    uint32_t at = node.child_for(key);
    if (key < node.key(at)) node.set_key(at, key);
    if (TRY(is_full_for(node.child(at), key))) {
      TRY(make_room(node, at, key));
      at = node.child_for(key);
    }
    own = TRY(shadow_child(node, at));
  }
  return tree_too_deep(root);
}

Result<MetadataBlock> Btree::own_path(MetadataBlock root, uint64_t key) {
  Own own = TRY(shadow(root));
  const MetadataBlock new_root = own.number;
  for (unsigned depth = 0; depth < max_tree_depth; ++depth) {
    if (own.node.is_leaf()) return new_root;
    own = TRY(shadow_child(own.node, own.node.child_for(key)));
  }
  return tree_too_deep(root);
}

// Brings a child that has become too small back to size: with the neighbour's entries into one, or half of
// them each.
Result<void> Btree::mend(MutableNode& parent, uint32_t at) {
  Own child = TRY(shadow_child(parent, at));
  if (child.node.size() >= least(child.node)) return {};
  if (child.node.size() == 0) {
    TRY(store_.release(child.number));
    parent.erase(at, at + 1);
    return {};
  }
  if (parent.size() == 1) return {};
  const uint32_t left_at = at > 0 ? at - 1 : at;
  Own left = TRY(shadow_child(parent, left_at));
  Own right = TRY(shadow_child(parent, left_at + 1));
  const uint32_t total = left.node.size() + right.node.size();
  if (total <= left.node.capacity()) {
    left.node.move_from_right(right.node, right.node.size());
    TRY(store_.release(right.number));
    parent.erase(left_at + 1, left_at + 2);
    return {};
  }
  const uint32_t half = total / 2;
  if (left.node.size() < half)
    left.node.move_from_right(right.node, half - left.node.size());
  else
    left.node.move_to_right(right.node, left.node.size() - half);
  parent.set_key(left_at + 1, right.node.key(0));
  return {};
}

// Erases what lies in the leaf or below the first child concerned; true if more may be in the range
// elsewhere.
Result<bool> Btree::erase_below(Own& own, Range range, Erased each) {
  MutableNode& node = own.node;
  if (node.is_leaf()) {
    const uint32_t begin = node.lower_bound(range.from), end = node.lower_bound(range.to);
    const bool to_the_end = end == node.size();
    if (begin < end) {
      TRY(each(node, begin, end));
      node.erase(begin, end);
    }
    return to_the_end;
  }
  const uint32_t at = node.child_for(range.from);
  const bool has_next = at + 1 < node.size();
  const uint64_t next = has_next ? node.key(at + 1) : 0;
  Own child = TRY(shadow_child(node, at));
  const bool more = TRY(erase_below(child, range, each));
  TRY(mend(node, at));
  return more && (!has_next || next < range.to);
}

// While the root is an inner node of one child, that is the root. One without any becomes an empty leaf.
Result<MetadataBlock> Btree::lower_root(Own root) {
  while (!root.node.is_leaf() && root.node.size() <= 1) {
    const bool empty = root.node.size() == 0;
    Own below = empty ? TRY(create_node(true)) : TRY(shadow_child(root.node, 0));
    TRY(store_.release(root.number));
    root = below;
  }
  return root.number;
}

Result<MetadataBlock> Btree::erase(MetadataBlock root, uint64_t from, uint64_t to, Erased each) {
  // Each round erases from one leaf. A node between two rounds has its entries changed, so the range is
  // looked for again: the first key left in it says where.
  while (from < to) {
    std::optional<uint64_t> first;
    TRY(walk(root, from, to, [&](NodeView leaf, uint32_t begin, uint32_t) -> Result<bool> {
      first = leaf.key(begin);
      return false;
    }));
    if (!first) return root;
    TRY(store_.balance());
    Own own = TRY(shadow(root));
    const bool more = TRY(erase_below(own, {*first, to}, each));
    root = TRY(lower_root(own));
    if (!more) return root;
    from = *first;
  }
  return root;
}

Result<void> Btree::release(MetadataBlock root) {
  struct Step {
    BlockRef block;
    uint32_t next = 0;
  };
  std::vector<Step> path;
  MetadataBlock number = root;
  for (;;) {
    if (path.size() == max_tree_depth) return tree_too_deep(root);
    BlockRef block;
    if (store_.counts().count(number) == 1) block = TRY(store_.read_node(number, value_size_));
    TRY(store_.release(number));
    if (block && block.node().is_leaf() && leaves_ != nullptr) TRY(leaves_->release(block.node()));
    TRY(store_.balance());
    if (block && !block.node().is_leaf()) path.push_back({std::move(block), 0});
    while (!path.empty() && path.back().next == path.back().block.node().size()) path.pop_back();
    if (path.empty()) return {};
    number = path.back().block.node().child(path.back().next++);
  }
}

}  // namespace karst::thin
