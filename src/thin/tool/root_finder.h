// Looks for the roots of a pool's trees among all blocks, where the superblock does not lead to them.
//
// Blocks that are free today but not overwritten still have their seals, so there are roots of earlier
// transactions too. What is wanted is the newest pair of a tree of roots and a tree of details that have the
// same devices, best with the same number of mappings. The age of a tree of roots is the time of the newest
// mapping below it.
//
// Memory: about 60 bytes for each node on the device.
#pragma once
#include <optional>
#include <unordered_map>

#include "thin/format/node.h"
#include "thin/tool/block_scan.h"

namespace karst::thin {

struct FoundRoots {
  MetadataBlock mapping_root{};
  std::optional<MetadataBlock> details_root;  // none has the same devices
  // What a superblock would say at least.
  uint32_t time = 0;
  uint64_t transaction_id = 0;
  uint64_t nr_data_blocks = 0;
};

class RootFinder {
 public:
  RootFinder(block::Device& device, uint64_t nr_blocks, WorkerPool& pool)
      : device_(device), nr_blocks_(nr_blocks), pool_(pool) {}

  // Nothing if there is no tree of roots.
  Result<std::optional<FoundRoots>> find();

 private:
  enum class Tree : uint8_t { mappings, roots, details };
  // Of a tree below a node. Of mappings the ids are those of blocks, and not summed up.
  struct Subtree {
    bool valid = false;
    uint64_t first_key = 0, last_key = 0;
    uint64_t devices = 0, ids = 0;  // how many, and a sum of a hash of each
    uint64_t mappings = 0;          // or, of details, how many they say
    uint32_t time = 0;              // the newest,
    uint64_t at_that_time = 0;      // and how many mappings are of it
    uint64_t last_data_block = 0;
    uint64_t transaction_id = 0;
  };
  using Subtrees = std::unordered_map<uint64_t, Subtree>;

  Result<void> find_nodes();
  Subtree look_at(Tree tree, MetadataBlock number, unsigned depth);
  Subtree look_inside(Tree tree, NodeView node, unsigned depth);
  bool add_entry(Tree tree, NodeView leaf, uint32_t at, Subtree& sum, unsigned depth);
  static bool add_child(const Subtree& child, Subtree& sum);
  static void add_times(const Subtree& from, Subtree& sum);

  block::Device& device_;
  const uint64_t nr_blocks_;
  WorkerPool& pool_;
  std::vector<uint32_t> nodes_, details_;  // sealed nodes with values of 8 bytes; leaves of details
  Subtrees known_[3];
};

}  // namespace karst::thin
