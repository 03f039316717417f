// A view of one tree block's bytes: header, items, pointers.
//
// A TreeBlock borrows its bytes. Its accessors are safe on any bytes of at least a header's size: each makes
// one sufficient bounds test and answers with an empty span or a zero key when it fails (BT-012), so that a
// broken block that is merely printed never reads outside itself. Whoever uses a block's contents has had it
// verified first (check.h).
#pragma once
#include <cstdint>

#include "btrfs/format/header.h"
#include "core/bytes.h"

namespace karst::btrfs {

class TreeBlock {
 public:
  TreeBlock() = default;
  explicit TreeBlock(Bytes bytes) : bytes_(bytes) {}

  Bytes bytes() const { return bytes_; }
  const Header& header() const { return *reinterpret_cast<const Header*>(bytes_.data()); }
  uint32_t nodesize() const { return static_cast<uint32_t>(bytes_.size()); }
  uint64_t bytenr() const { return header().bytenr; }
  uint64_t generation() const { return header().generation; }
  uint64_t owner() const { return header().owner; }
  uint8_t level() const { return header().level; }
  bool is_leaf() const { return header().level == 0; }
  // Items or pointers, never more than fit in the block.
  uint32_t nritems() const {
    uint32_t most = is_leaf() ? max_leaf_items(nodesize()) : max_key_ptrs(nodesize());
    uint32_t count = header().nritems;
    return count < most ? count : most;
  }

  const Item& item(uint32_t slot) const {
    return *reinterpret_cast<const Item*>(bytes_.data() + sizeof(Header) + slot * sizeof(Item));
  }
  const KeyPtr& key_ptr(uint32_t slot) const {
    return *reinterpret_cast<const KeyPtr*>(bytes_.data() + sizeof(Header) + slot * sizeof(KeyPtr));
  }
  // The key of an item or pointer; zero past the end.
  Key key(uint32_t slot) const {
    if (slot >= nritems()) return {};
    return is_leaf() ? item(slot).key.key() : key_ptr(slot).key.key();
  }
  // A leaf item's bytes; empty if the item does not lie inside the block.
  Bytes item_data(uint32_t slot) const {
    if (slot >= nritems()) return {};
    uint64_t offset = uint64_t{sizeof(Header)} + item(slot).offset;
    return slice(bytes_, offset, item(slot).size).value_or(Bytes{});
  }
  // The first slot whose key is not less than `key` (nritems() if none).
  uint32_t lower_bound(const Key& key) const;
  // For nodes: the child that may hold `key`, the last slot whose key is not greater, or 0.
  uint32_t child_slot(const Key& key) const;

 private:
  Bytes bytes_;
};

}  // namespace karst::btrfs
