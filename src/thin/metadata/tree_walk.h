// Reads a b-tree of metadata that nobody vouches for, in the order of its keys.
//
// What lies below an entry of an inner node has keys from the entry's to before the next one's. A node is
// followed only as far as its keys are in the range that its parent gives it; so a walk comes to its end
// however nodes point to each other, and keys always ascend. Damage (a block that cannot be read or verified,
// keys that are out of the range) goes to a callback, which either ends the walk with an error or lets it go
// on behind the damage.
//
// Thread-safe as far as reading through the store is.
#pragma once
#include <cstdint>

#include "core/function_ref.h"
#include "thin/metadata/block_store.h"

namespace karst::thin {

// No tree is deeper: each level has at least 42 times the entries of the one above.
inline constexpr unsigned max_tree_depth = 16;
Error tree_too_deep(MetadataBlock at);

// Both ends included, so that it can be all keys.
struct KeyRange {
  uint64_t first = 0, last = ~uint64_t{0};

  bool operator==(const KeyRange&) const = default;
};

class TreeWalk {
 public:
  // Entries [begin, end) of a leaf, which is borrowed; false ends the walk.
  using Visit = FunctionRef<Result<bool>(NodeView leaf, uint32_t begin, uint32_t end)>;
  // What was expected in the range is lost.
  using Damaged = FunctionRef<Result<void>(KeyRange lost, Error error)>;

  TreeWalk(BlockStore& store, uint32_t value_size) : store_(store), value_size_(value_size) {}

  Result<void> walk(MetadataBlock root, KeyRange wanted, Visit each, Damaged damaged) const;
  // The first damage is the error.
  Result<void> walk(MetadataBlock root, KeyRange wanted, Visit each) const;

 private:
  BlockStore& store_;
  const uint32_t value_size_;
};

}  // namespace karst::thin
