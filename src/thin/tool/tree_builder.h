// Builds a b-tree of entries that come in order: leaves are filled one after the other, inner nodes put above
// them in the end. Nothing is written twice.
//
// Leaves of another tree may be shared. Every node but the root has to be a third full: what is too few for a
// leaf takes in the leaf beside it, so that this one is not shared after all.
#pragma once
#include <vector>

#include "thin/format/node.h"
#include "thin/tool/block_writer.h"
#include "thin/tool/use_counts.h"

namespace karst::thin {

class TreeBuilder {
 public:
  struct Leaf {
    uint64_t first_key = 0, last_key = 0;
    MetadataBlock number{};
    uint32_t entries = 0;
    bool shared = false;  // made by another builder
  };
  // What leaves' values stand for, which is counted for each leaf that is written, and not for one that is
  // given up.
  class Values {
   public:
    virtual ~Values() = default;
    virtual void add(NodeView leaf) = 0;
    virtual void remove(NodeView leaf) = 0;
  };

  // All outlive it. `uses` are those of metadata blocks.
  TreeBuilder(BlockWriter& writer, UseCounts& uses, uint32_t value_size, Values* values = nullptr);

  // Keys ascend, over both of these (verified).
  Result<void> add(uint64_t key, Bytes value);
  template <Overlay V>
  Result<void> add(uint64_t key, const V& value) {
    return add(key, bytes_of(value));
  }
  Result<void> share(const Leaf& leaf);

  // Leaves, for others to share; nobody uses them yet.
  Result<std::vector<Leaf>> finish_leaves();
  // The root, which has one user more.
  Result<MetadataBlock> finish();

 private:
  uint32_t capacity() const { return node_capacity(value_size_); }
  uint32_t least() const { return capacity() / 3; }
  Result<void> write_leaf(uint32_t entries);
  Result<void> write_waiting();
  Result<void> take_in(const Leaf& leaf);
  Result<void> take_back_last();
  Result<MetadataBlock> build_above();

  BlockWriter& writer_;
  UseCounts& uses_;
  const uint32_t value_size_;
  Values* const values_;
  std::vector<Leaf> leaves_;
  // Entries that are in no leaf yet: less than two leaves have.
  std::vector<uint64_t> keys_;
  std::vector<std::byte> bytes_;
  std::vector<std::byte> block_;  // the one being made
};

}  // namespace karst::thin
