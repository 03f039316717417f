#include "thin/format/node.h"

#include <algorithm>
#include <cstring>

#include "thin/format/errors.h"

namespace karst::thin {

uint32_t NodeView::lower_bound(uint64_t key) const {
  uint32_t low = 0, high = size();
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (keys()[middle] < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint32_t NodeView::upper_bound(uint64_t key) const {
  uint32_t low = 0, high = size();
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (keys()[middle] <= key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

MutableNode MutableNode::format(MutableBytes block, bool leaf, uint32_t value_size) {
  std::ranges::fill(block, std::byte{0});
  MutableNode node(block);
  NodeHeader& header = node.mutable_header();
  header.flags = leaf ? leaf_node_flag : inner_node_flag;
  header.max_entries = node_capacity(value_size);
  header.value_size = value_size;
  return node;
}

void MutableNode::set_value(uint32_t at, Bytes value) {
  std::memcpy(value_at(at), value.data(), value_size());
}

void MutableNode::set_child(uint32_t at, MetadataBlock child) {
  const le64 value = raw(child);
  set_value(at, bytes_of(value));
}

void MutableNode::open_gap(uint32_t at, uint32_t count) {
  VERIFY(at <= size() && count <= capacity() - size());
  const size_t after = size() - at;
  std::memmove(mutable_keys() + at + count, mutable_keys() + at, after * sizeof(le64));
  std::memmove(value_at(at + count), value_at(at), after * value_size());
  set_size(size() + count);
}

void MutableNode::insert(uint32_t at, uint64_t key, Bytes value) {
  open_gap(at, 1);
  set_key(at, key);
  set_value(at, value);
}

void MutableNode::insert_child(uint32_t at, uint64_t key, MetadataBlock child) {
  const le64 value = raw(child);
  insert(at, key, bytes_of(value));
}

void MutableNode::erase(uint32_t begin, uint32_t end) {
  VERIFY(begin <= end && end <= size());
  const size_t after = size() - end;
  std::memmove(mutable_keys() + begin, mutable_keys() + end, after * sizeof(le64));
  std::memmove(value_at(begin), value_at(end), after * value_size());
  set_size(size() - (end - begin));
}

void MutableNode::copy_from(const MutableNode& other, uint32_t from, uint32_t to, uint32_t count) {
  std::memcpy(mutable_keys() + to, other.keys() + from, count * sizeof(le64));
  std::memcpy(value_at(to), other.bytes_.data() + other.values_at() + size_t{from} * value_size(),
              size_t{count} * value_size());
}

void MutableNode::move_to_right(MutableNode& right, uint32_t count) {
  right.open_gap(0, count);
  right.copy_from(*this, size() - count, 0, count);
  set_size(size() - count);
}

void MutableNode::move_from_right(MutableNode& right, uint32_t count) {
  const uint32_t end = size();
  open_gap(end, count);
  copy_from(right, 0, end, count);
  right.erase(0, count);
}

Result<void> check_node(NodeView node, const NodeExpectation& expected) {
  const NodeHeader& header = node.header();
  const bool inner = (header.flags & inner_node_flag) != 0;
  if (inner == node.is_leaf())
    return Error::make(err::node_kind, "node is neither inner node nor leaf (flags {:#x})",
                       header.flags.value());
  const uint32_t value_size = inner ? sizeof(le64) : expected.value_size;
  if (header.value_size != value_size)
    return Error(err::node_entries, "node has values of another size")
        .expected(value_size, header.value_size);
  if (const uint64_t bytes = uint64_t{header.max_entries} * (sizeof(le64) + value_size);
      bytes > metadata_block_size - sizeof(NodeHeader))
    return Error(err::node_entries, "node has more room for entries than a block")
        .expected(fmt::format("at most {}", metadata_block_size - sizeof(NodeHeader)), bytes);
  if (header.nr_entries > header.max_entries)
    return Error(err::node_entries, "node has more entries than room")
        .expected(fmt::format("at most {}", header.max_entries.value()), header.nr_entries.value());
  if (inner && node.size() == 0) return Error(err::node_entries, "inner node without entries");
  for (uint32_t i = 1; i < node.size(); ++i)
    if (node.key(i - 1) >= node.key(i))
      return Error::make(err::node_order, "keys of a node are out of order: entry {} has {}, entry {} has {}",
                         i - 1, node.key(i - 1), i, node.key(i));
  if (inner)
    for (uint32_t i = 0; i < node.size(); ++i)
      if (raw(node.child(i)) == 0 || raw(node.child(i)) >= expected.nr_blocks)
        return Error(err::node_bounds, "node has a child outside of the metadata device")
            .expected(fmt::format("1 to {}", expected.nr_blocks - 1), node.child(i));
  return {};
}

}  // namespace karst::thin
