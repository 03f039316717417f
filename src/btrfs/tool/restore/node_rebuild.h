// Inner nodes that are lost, made again from the blocks they led to.
//
// A node says only where its children are and how their keys begin; the children say both themselves. So for
// each lost node a scan collects the blocks of the level below whose keys lie in the node's range, that
// belong to the tree (or to one it may share blocks with) and are not newer than the node. What the extent
// tree does not have as allocated is not taken: it was freed. Blocks that the extent tree vouches for
// (extent_witness.h) win over others they overlap, then newer ones; the keys of those it does not vouch for
// are doubtful, since what was in the node may have been a newer block that is lost too.
// Between children whose leaves do not follow each other closely another may be lost with the node; those
// gaps are noted when the node is used (tree/damage.h).
//
// Not thread-safe. Memory: at most `nodes_max` lost nodes, others stay lost; and `children_max` first keys
// found below them, others leave gaps.
#pragma once
#include <map>
#include <unordered_set>
#include <vector>

#include "btrfs/tool/restore/extent_witness.h"
#include "btrfs/tree/damage.h"
#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

class NodeRebuild {
 public:
  static constexpr size_t nodes_max = 4096, children_max = 1 << 19;

  // `listed`: all subvolumes that exist.
  NodeRebuild(BlockReader& reader, const std::map<uint64_t, Root>& listed)
      : reader_(reader), listed_(listed) {}

  // Looks for lost nodes of this tree, the root first. Reads its inner nodes.
  void look_at(uint64_t tree, const Root& root);
  bool any_lost() const { return !nodes_.empty(); }

  // A block that a scan has found.
  void add(const TreeBlock& block);

  // Gives `damage` a substitute for each node of which a child was found.
  void make(ExtentWitness& extents, Damage& damage);
  // Whether one was made for the block at this address.
  bool has_made(uint64_t bytenr) const { return made_.contains(bytenr); }

 private:
  struct Child {
    uint64_t bytenr, generation;
    Key last;  // of a leaf; of a node the key of its last child
    bool is_certain = false;
  };
  struct Lost {
    uint64_t tree;
    BlockPointer pointer;
    Key first, last;
    std::map<Key, Child> children;  // by first key
  };
  void visit(const BlockPointer& pointer, const Key& first, const Key& last);
  bool may_share(uint64_t tree, uint64_t owner) const;
  static std::map<Key, Child> choose(const Lost& node, ExtentWitness& extents);
  Key last_key_below(const Lost& node, const Child& child) const;
  Damage::Substitute build(const Lost& node, const std::map<Key, Child>& children) const;

  BlockReader& reader_;
  const std::map<uint64_t, Root>& listed_;
  std::vector<Lost> nodes_;
  size_t child_count_ = 0;                       // of all of them
  std::unordered_set<uint64_t> visited_, made_;  // addresses
};

}  // namespace karst::btrfs
