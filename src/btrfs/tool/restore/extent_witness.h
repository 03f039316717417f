// What the extent tree of a damaged image says of tree blocks that were found without a tree.
//
// It knows which blocks are in use and who refers to them, in one of two ways: by the tree (TREE_BLOCK_REF),
// or by the address of the node above (SHARED_BLOCK_REF). A tree has one block of a level for a key; so what
// a tree refers to, with keys that a lost node of it had, was in that node.
//
// Not thread-safe.
#pragma once
#include <optional>

#include "btrfs/tree/tree.h"

namespace karst::btrfs {

class ExtentWitness {
 public:
  // `root_tree`: which has the extent tree. Looks for it with the first question.
  ExtentWitness(BlockReader& reader, const BlockPointer& root_tree)
      : reader_(reader), root_tree_(root_tree) {}

  struct Question {
    uint64_t bytenr, generation;  // of the block, as it has them
    uint8_t level;
    uint64_t tree, parent;  // where it may have belonged; the node's address
  };
  enum class Standing : uint8_t {
    free,        // it is not in use
    unknown,     // nobody knows whether it is, or by whom
    referenced,  // that tree or that node refers to it
  };
  Standing ask(const Question& block);

 private:
  void open();
  Standing ask_item(const Question& block, const Key& key);
  bool has_keyed_reference(const Question& block);

  BlockReader& reader_;
  const BlockPointer root_tree_;
  bool opened_ = false;
  Damage damage_;
  std::optional<Cursor> extents_;  // if the tree was found
};

}  // namespace karst::btrfs
