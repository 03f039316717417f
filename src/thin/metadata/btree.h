// B-trees of metadata blocks, changed by copying the path from the root.
//
// A tree is the number of its root; an operation that changes it gives the new root, and the old one is to be
// forgotten. A node with several referrers (of snapshots) is shared: its copy's children, or what a leaf's
// values stand for, have one referrer more, which Leaves is told.
//
// Inserting fills a neighbour before it splits, so that ascending keys leave full nodes; erasing keeps every
// node but the root a third full, which thin_check asks for.
//
// Locks as for BlockStore. A failed operation leaves the transaction unusable: its owner aborts it.
#pragma once
#include <cstdint>
#include <optional>

#include "core/function_ref.h"
#include "thin/metadata/block_store.h"

namespace karst::thin {

class Btree {
 public:
  // What a leaf's values stand for.
  class Leaves {
   public:
    virtual ~Leaves() = default;
    // All values of the leaf have one referrer more; or one less.
    virtual Result<void> retain(NodeView leaf) = 0;
    virtual Result<void> release(NodeView leaf) = 0;
  };

  Btree(BlockStore& store, uint32_t value_size, Leaves* leaves = nullptr)
      : store_(store), value_size_(value_size), leaves_(leaves) {}

  Result<MetadataBlock> create();

  // The value, valid for the reference's life.
  struct Found {
    BlockRef leaf;
    uint32_t at = 0;
    uint64_t key() const { return leaf.node().key(at); }
    template <Overlay V>
    V value() const {
      return leaf.node().value_as<V>(at);
    }
  };
  Result<std::optional<Found>> find(MetadataBlock root, uint64_t key) const;
  Result<std::optional<Found>> last(MetadataBlock root) const;

  // Calls each(leaf, begin, end) with the entries whose keys are in [from, to), leaf by leaf, until it
  // returns false.
  using Visit = FunctionRef<Result<bool>(NodeView leaf, uint32_t begin, uint32_t end)>;
  Result<void> walk(MetadataBlock root, uint64_t from, uint64_t to, Visit each) const;

  // Sets the key's value. `replaced`, if given, tells the value before; Leaves is not told of it.
  Result<MetadataBlock> insert(MetadataBlock root, uint64_t key, Bytes value,
                               FunctionRef<Result<void>(Bytes old)>* replaced = nullptr);
  template <Overlay V>
  Result<MetadataBlock> insert(MetadataBlock root, uint64_t key, const V& value) {
    return insert(root, key, bytes_of(value));
  }

  // Takes the entries with keys in [from, to) out; each(leaf, begin, end) sees them before. Leaves is not
  // told.
  using Erased = FunctionRef<Result<void>(NodeView leaf, uint32_t begin, uint32_t end)>;
  Result<MetadataBlock> erase(MetadataBlock root, uint64_t from, uint64_t to, Erased each);

  // Takes one key out, if it is there.
  Result<MetadataBlock> erase(MetadataBlock root, uint64_t key) {
    return erase(root, key, key + 1, [](NodeView, uint32_t, uint32_t) -> Result<void> { return {}; });
  }

  // One referrer less for the tree; what has none left is freed, and Leaves told.
  Result<void> release(MetadataBlock root);

  // Copies the path to the key, so that what is there may be changed in place later in this transaction.
  Result<MetadataBlock> own_path(MetadataBlock root, uint64_t key);

 private:
  struct Own {
    MetadataBlock number{};
    MutableNode node;
  };
  Result<Own> shadow(MetadataBlock number);
  Result<Own> shadow_child(MutableNode& parent, uint32_t at);
  Result<Own> create_node(bool leaf);
  Result<bool> is_full_for(MetadataBlock number, uint64_t key) const;
  Result<Own> grow_root(Own root);
  Result<void> make_room(MutableNode& parent, uint32_t at, uint64_t key);
  Result<void> split(MutableNode& parent, uint32_t at, Own& full, uint64_t key);

  struct Range {
    uint64_t from, to;
  };
  Result<bool> erase_below(Own& own, Range range, Erased each);
  Result<void> mend(MutableNode& parent, uint32_t at);
  Result<MetadataBlock> lower_root(Own root);

  BlockStore& store_;
  const uint32_t value_size_;
  Leaves* const leaves_;
};

}  // namespace karst::thin
