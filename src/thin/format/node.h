// B-tree nodes: a header, the room for all keys, then the room for all values.
//
// In an inner node values are the block numbers of children, and the key of each is not greater than any key
// below it (but at the left edge of the tree may be greater than a key that was looked for). In a leaf they
// are what the tree maps to. max_entries is a multiple of three; nodes other than the root are at least a
// third full. Source: Linux drivers/md/persistent-data/dm-btree-internal.h, dm-btree-spine.c (node_check).
#pragma once
#include <cstdint>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/endian.h"
#include "core/result.h"
#include "thin/format/ids.h"

namespace karst::thin {

struct NodeHeader {
  le32 csum;
  le32 flags;
  le64 blocknr;
  le32 nr_entries;
  le32 max_entries;
  le32 value_size;
  le32 padding;
};
static_assert(sizeof(NodeHeader) == 32 && alignof(NodeHeader) == 1);

constexpr uint32_t inner_node_flag = 1u << 0;
constexpr uint32_t leaf_node_flag = 1u << 1;

// The entries that fit into a node with values of this size, as the kernel counts: 252 of 8 bytes.
constexpr uint32_t node_capacity(uint32_t value_size) {
  const uint32_t most = (metadata_block_size - sizeof(NodeHeader)) / (sizeof(le64) + value_size);
  return most - most % 3;
}
static_assert(node_capacity(8) == 252 && node_capacity(4) == 336 && node_capacity(24) == 126);

// A view of a node that check_node() has passed. Borrowed.
class NodeView {
 public:
  NodeView() = default;
  explicit NodeView(Bytes block) : bytes_(block) {}

  Bytes bytes() const { return bytes_; }
  const NodeHeader& header() const { return *reinterpret_cast<const NodeHeader*>(bytes_.data()); }
  MetadataBlock number() const { return MetadataBlock{header().blocknr.value()}; }
  bool is_leaf() const { return (header().flags & leaf_node_flag) != 0; }
  uint32_t size() const { return header().nr_entries; }
  uint32_t capacity() const { return header().max_entries; }
  uint32_t value_size() const { return header().value_size; }

  uint64_t key(uint32_t at) const { return keys()[at]; }
  Bytes value(uint32_t at) const {
    return bytes_.subspan(values_at() + size_t{at} * value_size(), value_size());
  }
  template <Overlay V>
  const V& value_as(uint32_t at) const {
    return *reinterpret_cast<const V*>(bytes_.data() + values_at() + size_t{at} * sizeof(V));
  }
  MetadataBlock child(uint32_t at) const { return MetadataBlock{value_as<le64>(at).value()}; }

  // The first entry whose key is not less than `key`; size() if there is none.
  uint32_t lower_bound(uint64_t key) const;
  // The last entry whose key is not greater than `key`; nothing below the first: UINT32_MAX.
  uint32_t last_at_most(uint64_t key) const { return upper_bound(key) - 1; }
  // The child that has the key if the tree does: the first also for keys below it.
  uint32_t child_for(uint64_t key) const {
    const uint32_t after = upper_bound(key);
    return after == 0 ? 0 : after - 1;
  }

 protected:
  const le64* keys() const { return reinterpret_cast<const le64*>(bytes_.data() + sizeof(NodeHeader)); }
  size_t values_at() const { return sizeof(NodeHeader) + size_t{capacity()} * sizeof(le64); }
  uint32_t upper_bound(uint64_t key) const;

 private:
  Bytes bytes_;
};

// One that may be changed: its entries stay in order, its bytes past the last entry mean nothing.
class MutableNode : public NodeView {
 public:
  MutableNode() = default;
  explicit MutableNode(MutableBytes block) : NodeView(block), bytes_(block) {}

  // Makes an empty node of the block. Every byte is set.
  static MutableNode format(MutableBytes block, bool leaf, uint32_t value_size);

  void set_key(uint32_t at, uint64_t key) { mutable_keys()[at] = key; }
  void set_value(uint32_t at, Bytes value);
  void set_child(uint32_t at, MetadataBlock child);
  void insert(uint32_t at, uint64_t key, Bytes value);
  void insert_child(uint32_t at, uint64_t key, MetadataBlock child);
  void erase(uint32_t begin, uint32_t end);
  // Moves the last `count` entries to the front of `right`, or the first of `right` to the end of this.
  void move_to_right(MutableNode& right, uint32_t count);
  void move_from_right(MutableNode& right, uint32_t count);

 private:
  NodeHeader& mutable_header() { return *reinterpret_cast<NodeHeader*>(bytes_.data()); }
  le64* mutable_keys() { return reinterpret_cast<le64*>(bytes_.data() + sizeof(NodeHeader)); }
  std::byte* value_at(uint32_t at) { return bytes_.data() + values_at() + size_t{at} * value_size(); }
  void set_size(uint32_t size) { mutable_header().nr_entries = size; }
  void open_gap(uint32_t at, uint32_t count);
  void copy_from(const MutableNode& other, uint32_t from, uint32_t to, uint32_t count);

  MutableBytes bytes_;
};

// What a referrer knows of a node.
struct NodeExpectation {
  uint32_t value_size = 0;  // of the tree's leaves
  uint64_t nr_blocks = 0;   // of the metadata device: children lie below
};

// Structure of a node whose seal is right: kind, counts, sizes, the order of keys, children inside the
// device.
Result<void> check_node(NodeView node, const NodeExpectation& expected);

}  // namespace karst::thin
