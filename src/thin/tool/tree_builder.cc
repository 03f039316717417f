#include "thin/tool/tree_builder.h"

#include "core/assert.h"

namespace karst::thin {
namespace {

// How many of `left` entries the next node has: as many as fit while more than two nodes' are left, then
// half.
uint32_t next_share(size_t left, uint32_t capacity) {
  if (left <= capacity) return static_cast<uint32_t>(left);
  return left >= size_t{2} * capacity ? capacity : static_cast<uint32_t>(left / 2);
}

}  // namespace

TreeBuilder::TreeBuilder(BlockWriter& writer, UseCounts& uses, uint32_t value_size, Values* values)
    : writer_(writer), uses_(uses), value_size_(value_size), values_(values), block_(metadata_block_size) {}

Result<void> TreeBuilder::add(uint64_t key, Bytes value) {
  VERIFY(value.size() == value_size_);
  VERIFY(keys_.empty() ? leaves_.empty() || leaves_.back().last_key < key : keys_.back() < key);
  if (keys_.size() == size_t{2} * capacity()) TRY(write_leaf(capacity()));
  keys_.push_back(key);
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  return {};
}

// The first of the waiting entries.
Result<void> TreeBuilder::write_leaf(uint32_t entries) {
  MutableNode node = MutableNode::format(block_, true, value_size_);
  for (uint32_t i = 0; i < entries; ++i)
    node.insert(i, keys_[i], Bytes(bytes_).subspan(size_t{i} * value_size_, value_size_));
  const MetadataBlock number = TRY(writer_.append(BlockKind::node, block_));
  if (values_ != nullptr) values_->add(node);
  leaves_.push_back(
      {entries == 0 ? 0 : keys_.front(), entries == 0 ? 0 : keys_[entries - 1], number, entries});
  keys_.erase(keys_.begin(), keys_.begin() + entries);
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(size_t{entries} * value_size_));
  return {};
}

Result<void> TreeBuilder::write_waiting() {
  while (!keys_.empty()) TRY(write_leaf(next_share(keys_.size(), capacity())));
  return {};
}

Result<void> TreeBuilder::take_in(const Leaf& leaf) {
  std::vector<std::byte> block(metadata_block_size);
  TRY(writer_.read(leaf.number, block));
  const NodeView node(block);
  for (uint32_t i = 0; i < node.size(); ++i) TRY(add(node.key(i), node.value(i)));
  return {};
}

Result<void> TreeBuilder::share(const Leaf& leaf) {
  if (leaf.entries < least() || (!keys_.empty() && keys_.size() < least())) return take_in(leaf);
  TRY(write_waiting());
  VERIFY(leaves_.empty() || leaves_.back().last_key < leaf.first_key);
  leaves_.push_back(leaf);
  leaves_.back().shared = true;
  return {};
}

// Makes the last leaf's entries waiting ones again, before those that wait.
Result<void> TreeBuilder::take_back_last() {
  const Leaf last = leaves_.back();
  leaves_.pop_back();
  std::vector<uint64_t> keys;
  std::vector<std::byte> bytes;
  keys.swap(keys_);
  bytes.swap(bytes_);
  TRY(take_in(last));
  if (!last.shared && values_ != nullptr) {
    std::vector<std::byte> block(metadata_block_size);
    TRY(writer_.read(last.number, block));
    values_->remove(NodeView(block));
  }
  keys_.insert(keys_.end(), keys.begin(), keys.end());
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return {};
}

Result<std::vector<TreeBuilder::Leaf>> TreeBuilder::finish_leaves() {
  if (!keys_.empty() && keys_.size() < least() && !leaves_.empty()) TRY(take_back_last());
  TRY(write_waiting());
  return std::move(leaves_);
}

Result<MetadataBlock> TreeBuilder::finish() {
  leaves_ = TRY(finish_leaves());
  if (leaves_.empty()) TRY(write_leaf(0));
  return build_above();
}

Result<MetadataBlock> TreeBuilder::build_above() {
  constexpr uint32_t inner_capacity = node_capacity(sizeof(le64));
  while (leaves_.size() > 1) {
    std::vector<Leaf> above;
    for (size_t done = 0; done < leaves_.size();) {
      const uint32_t share = next_share(leaves_.size() - done, inner_capacity);
      MutableNode node = MutableNode::format(block_, false, sizeof(le64));
      for (uint32_t i = 0; i < share; ++i, ++done) {
        node.insert_child(i, leaves_[done].first_key, leaves_[done].number);
        uses_.add(raw(leaves_[done].number));
      }
      above.push_back({node.key(0), 0, TRY(writer_.append(BlockKind::node, block_)), share});
    }
    leaves_ = std::move(above);
  }
  const MetadataBlock root = leaves_.front().number;
  uses_.add(raw(root));
  return root;
}

}  // namespace karst::thin
