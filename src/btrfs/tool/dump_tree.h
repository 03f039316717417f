// Walking the blocks of all trees in the order of `btrfs inspect-internal dump-tree` (btrfs-progs v6.19):
// root tree, chunk tree, log root tree; then every tree that has a root item, in the order of those, the log
// trees last. Printing what comes is the caller's business.
//
// Made for damaged file systems (BT-025). It needs the superblock and the system chunks, nothing else: what
// cannot be read of the chunk tree, the root tree or any other is reported and the rest goes on. A block
// whose checksum and place are right is given even if its structure is not. What is given is bounded by what
// the file system holds: keys of a node must ascend within the range that its parent has for it, so no loop
// of blocks is walked twice.
#pragma once
#include <optional>
#include <set>
#include <unordered_set>
#include <vector>

#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

struct DumpSelection {
  std::optional<uint64_t> tree;  // only this tree
  bool extents = false;          // only leaves of the extent and device trees
  bool devices = false;          // only the root, chunk and device trees
  bool uuids = false;            // only the UUID tree
  bool roots_only = false;       // of each tree only that it is there
  std::set<uint64_t> blocks;     // only these blocks; no trees
  bool follow = false;           // with `blocks`: and what is below them
  bool depth_first = false;      // otherwise level by level
};

struct DumpedTree {
  const char* name;        // "root", "extent", "free space", "file" …
  std::optional<Key> key;  // of its root item; the first three trees have none
  uint64_t bytenr = 0;     // of its root block
  uint8_t level = 0;
};

// Takes what is dumped, in order. An error of tree() or block() ends the dump.
class DumpReceiver {
 public:
  virtual ~DumpReceiver() = default;
  virtual Result<void> tree(const DumpedTree& tree) = 0;  // its blocks follow
  virtual Result<void> block(const TreeBlock& block) = 0;
  virtual void problem(const Error& error) = 0;  // a block that is broken, or a tree that is not there
};

// Not thread-safe.
class TreeDump {
 public:
  static Result<std::unique_ptr<TreeDump>> open(std::vector<std::unique_ptr<block::Device>> devices,
                                                const OpenOptions& options, cache::Cache& cache,
                                                const Logger& log, DumpReceiver& receiver);

  // Whether the dump went through the list of all trees: then the stock tool ends with totals.
  Result<bool> run(const DumpSelection& selection);

  const Superblock& super() const { return volume_->super(); }
  const Geometry& geometry() const { return volume_->geometry(); }

 private:
  // A block that was verified, or one of its own whose structure is broken.
  struct Block {
    BlockRef verified;
    std::vector<std::byte> broken;
    TreeBlock view;
  };
  using Visitor = FunctionRef<Result<void>(const TreeBlock&)>;
  using ChildVisitor = FunctionRef<Result<void>(const BlockPointer& child, const Key& end)>;

  TreeDump(std::unique_ptr<Volume> volume, cache::Cache& cache, DumpReceiver& receiver);
  Result<void> load_chunks();
  void problem(uint64_t bytenr, const Error& error);
  std::optional<Block> read(const BlockPointer& pointer);
  std::optional<Block> read_any(uint64_t bytenr);
  Result<void> for_each_child(const TreeBlock& node, uint64_t root, const Key& end, ChildVisitor visit);
  Result<void> walk_level(const TreeBlock& top, uint64_t root, const Key& end, uint8_t level, Visitor visit);
  Result<void> walk_down(const TreeBlock& top, uint64_t root, const Key& end, Visitor visit);
  Result<void> give(const TreeBlock& top, uint64_t root, const DumpSelection& selection);
  Result<void> give_blocks(const DumpSelection& selection);
  Result<void> give_tree(const char* name, const BlockPointer& root, const DumpSelection& selection);
  Result<void> give_listed_trees(const BlockPointer& list, const DumpSelection& selection, bool& found);
  Result<void> give_listed_tree(const Key& key, Bytes item, const DumpSelection& selection);
  Result<bool> give_special_tree(uint64_t id, const DumpSelection& selection);
  std::optional<BlockPointer> find_root(uint64_t id);

  std::unique_ptr<Volume> volume_;
  BlockReader blocks_;
  DumpReceiver& receiver_;
  BlockPointer chunk_root_, root_tree_;
  std::optional<BlockPointer> log_root_;
  std::unordered_set<uint64_t> reported_;  // broken blocks, so that each is told once; bounded
};

// A tree's id from how users write it: a number, or a name as the stock tool has them ("fs", "csum",
// "free-space", "BTRFS_ROOT_TREE_OBJECTID" …); nothing if it is none.
std::optional<uint64_t> tree_id_from_text(std::string_view text);

}  // namespace karst::btrfs
