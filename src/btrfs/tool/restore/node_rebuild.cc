#include "btrfs/tool/restore/node_rebuild.h"

#include <algorithm>
#include <cstring>

namespace karst::btrfs {

void NodeRebuild::look_at(uint64_t tree, const Root& root) {
  visit({Logical(root.item.bytenr.value()), root.item.generation, root.item.level, tree, {}}, Key::min(),
        Key::max());
}

void NodeRebuild::visit(const BlockPointer& pointer, const Key& first, const Key& last) {
  // Snapshots share most of their nodes.
  if (pointer.level == 0 || pointer.level >= max_level || !visited_.insert(raw(pointer.address)).second)
    return;
  auto node = reader_.read(pointer);
  if (!node) {
    if (nodes_.size() < nodes_max) nodes_.push_back({pointer.root, pointer, first, last, {}});
    return;
  }
  const TreeBlock& view = **node;
  for (uint32_t slot = 0; pointer.level > 1 && slot < view.nritems(); ++slot) {
    const KeyPtr& child = view.key_ptr(slot);
    const Key from = view.key(slot);
    const Key to = slot + 1 < view.nritems() ? std::min(view.key(slot + 1).predecessor(), last) : last;
    if (from > to) continue;
    visit({Logical(child.blockptr.value()), child.generation, static_cast<uint8_t>(pointer.level - 1),
           pointer.root, from},
          from, to);
  }
}

// Whether a tree may hold blocks with this owner: its own, of those it is a snapshot of, of deleted ones.
bool NodeRebuild::may_share(uint64_t tree, uint64_t owner) const {
  if (owner == tree) return true;
  if (!is_fs_tree(tree) || !is_fs_tree(owner)) return false;
  auto at = listed_.find(owner);
  if (at == listed_.end() || at->second.item.refs == 0) return true;
  const Uuid& owner_uuid = at->second.item.uuid;
  auto child = listed_.find(tree);
  for (size_t steps = 0; child != listed_.end() && steps < listed_.size(); ++steps) {
    const Uuid parent = child->second.item.parent_uuid;
    if (parent.is_null()) return false;
    if (parent == owner_uuid) return true;
    child = std::find_if(listed_.begin(), listed_.end(),
                         [&](const auto& entry) { return entry.second.item.uuid == parent; });
  }
  return false;
}

void NodeRebuild::add(const TreeBlock& block) {
  if (block.nritems() == 0) return;
  const Key first = block.key(0), last = block.key(block.nritems() - 1);
  for (Lost& node : nodes_) {
    if (block.level() + 1 != node.pointer.level || block.generation() > node.pointer.generation) continue;
    if (first < node.first || first > node.last || !may_share(node.tree, block.owner())) continue;
    if (block.is_leaf() ? !find_invalid_items(block, reader_.geometry())
                        : !check_block_structure(block, reader_.geometry()))
      return;
    auto at = node.children.find(first);
    if (at == node.children.end()) {
      if (child_count_ == children_max) continue;
      ++child_count_;
      node.children.emplace(first, Child{block.bytenr(), block.generation(), last, false});
    } else if (at->second.generation < block.generation()) {
      at->second = {block.bytenr(), block.generation(), last, false};
    }
  }
}

// Those that do not contradict each other: first the certain ones, of each kind the newest first.
std::map<Key, NodeRebuild::Child> NodeRebuild::choose(const Lost& node, ExtentWitness& extents) {
  std::vector<std::pair<Key, Child>> by_age(node.children.begin(), node.children.end());
  std::stable_sort(by_age.begin(), by_age.end(),
                   [](const auto& a, const auto& b) { return a.second.generation > b.second.generation; });
  std::map<Key, Child> chosen;
  auto overlaps = [&](const Key& first, const Key& last) {
    auto after = chosen.upper_bound(first);
    return (after != chosen.end() && after->first <= last) ||
           (after != chosen.begin() && std::prev(after)->second.last >= first);
  };
  std::vector<std::pair<Key, Child>> uncertain;
  for (auto& [first, child] : by_age) {
    if (overlaps(first, child.last)) continue;
    const auto standing =
        extents.ask({child.bytenr, child.generation, static_cast<uint8_t>(node.pointer.level - 1), node.tree,
                     raw(node.pointer.address)});
    child.is_certain = standing == ExtentWitness::Standing::referenced;
    if (child.is_certain)
      chosen.emplace(first, child);
    else if (standing == ExtentWitness::Standing::unknown)
      uncertain.emplace_back(first, child);
  }
  for (const auto& [first, child] : uncertain)
    if (!overlaps(first, child.last)) chosen.emplace(first, child);
  return chosen;
}

// The last key in the leaves of a child, as far as they can be read.
Key NodeRebuild::last_key_below(const Lost& node, const Child& child) const {
  BlockPointer pointer{Logical(child.bytenr), child.generation, node.pointer.level, node.tree, {}};
  Key last = child.last;
  while (--pointer.level > 0) {
    auto block = reader_.read(pointer);
    if (!block || (*block)->nritems() == 0) return last;
    const KeyPtr& below = (*block)->key_ptr((*block)->nritems() - 1);
    pointer.address = Logical(below.blockptr.value());
    pointer.generation = below.generation;
    last = below.key.key();
  }
  auto leaf = reader_.read(pointer);
  return leaf && (*leaf)->nritems() > 0 ? (*leaf)->key((*leaf)->nritems() - 1) : last;
}

Damage::Substitute NodeRebuild::build(const Lost& node, const std::map<Key, Child>& children) const {
  Damage::Substitute made;
  made.node.resize(sizeof(Header) + children.size() * sizeof(KeyPtr));
  Header header{};
  header.fsid = reader_.geometry().metadata_uuid;
  header.bytenr = raw(node.pointer.address);
  header.flags = header_flag_written;
  header.generation = node.pointer.generation;
  header.owner = node.tree;
  header.nritems = static_cast<uint32_t>(children.size());
  header.level = node.pointer.level;
  std::memcpy(made.node.data(), &header, sizeof header);
  size_t at = sizeof header;
  Key known = node.first;  // all before is there
  for (const auto& [first, child] : children) {
    const KeyPtr pointer{DiskKey::from(first), le64(child.bytenr), le64(child.generation)};
    std::memcpy(made.node.data() + at, &pointer, sizeof pointer);
    at += sizeof pointer;
    if (first > known) made.gaps.emplace_back(known, first.predecessor());
    const Key last = last_key_below(node, child);
    if (!child.is_certain) made.doubts.emplace_back(first, last);
    known = last.successor();
  }
  if (known <= node.last) made.gaps.emplace_back(known, node.last);
  return made;
}

void NodeRebuild::make(ExtentWitness& extents, Damage& damage) {
  for (const Lost& node : nodes_) {
    auto children = choose(node, extents);
    if (children.empty()) continue;
    made_.insert(raw(node.pointer.address));
    damage.set_substitute(raw(node.pointer.address), build(node, children));
  }
}

}  // namespace karst::btrfs
