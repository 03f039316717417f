// A tree: its id and root, and the cursor that walks its items.
//
// An ItemOverlay lays items over the blocks of a tree, in memory only: it is how a log tree is replayed when
// the file system is opened for reading. A Tree is a small value; what it refers to belongs to the
// Filesystem.
#pragma once
#include <map>
#include <optional>
#include <vector>

#include "btrfs/tree/block_cursor.h"

namespace karst::btrfs {

// Key to item; an empty optional hides the item of the blocks below. Immutable once installed.
using ItemOverlay = std::map<Key, std::optional<std::vector<std::byte>>>;

struct Tree {
  BlockReader* blocks = nullptr;
  uint64_t id = 0;
  BlockPointer root;
  const ItemOverlay* overlay = nullptr;
  Damage* damage = nullptr;  // what cannot be read is passed over and noted here
};

// Walks the items of a tree in key order. Not thread-safe; make one per thread.
class Cursor {
 public:
  Cursor() = default;
  explicit Cursor(const Tree& tree) : base_(*tree.blocks, tree.root, tree.damage), overlay_(tree.overlay) {}

  void set_readahead(bool on) { base_.set_readahead(on); }

  // The first item whose key is not less than `key`; false at the end of the tree.
  Result<bool> seek(const Key& key);
  // The last item whose key is not greater than `key`; false if there is none.
  Result<bool> seek_back(const Key& key);
  // The item with exactly this key; false if there is none.
  Result<bool> find(const Key& key);
  Result<bool> next();
  // Goes to the next item if it is still of this object and type; false otherwise.
  Result<bool> next_of(uint64_t objectid, ItemType type);

  bool valid() const { return valid_; }
  // While valid. The data lives until the cursor moves.
  const Key& key() const { return from_overlay_ ? layer_->first : base_.key(); }
  Bytes data() const { return from_overlay_ ? Bytes(*layer_->second) : base_.data(); }
  // Whether anything of these keys was lost: then that a cursor found nothing there means nothing.
  bool is_lost(const Key& first, const Key& last) const { return base_.is_lost(first, last); }
  // Whether anything of these keys may be of an older state.
  bool is_doubtful(const Key& first, const Key& last) const { return base_.is_doubtful(first, last); }
  // The item as a struct, or nullptr if it is too short.
  template <Overlay T>
  const T* as() const {
    return overlay<T>(data());
  }

 private:
  Result<bool> merge();

  BlockCursor base_;
  const ItemOverlay* overlay_ = nullptr;
  ItemOverlay::const_iterator layer_;
  bool valid_ = false;
  bool from_overlay_ = false;
};

}  // namespace karst::btrfs
