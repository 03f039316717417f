// Blocks that may be the roots of trees: of each tree and generation those of the highest level that were
// found.
//
// A commit writes each tree's root and the path down to what changed with one generation; so the highest
// block of a generation was the root of that commit, unless the root itself is lost. Blocks that are free
// today but not overwritten are found too: they are how the file system was some commits ago.
#pragma once
#include <map>
#include <optional>
#include <vector>

#include "btrfs/tool/restore/block_scan.h"
#include "btrfs/tree/block_reader.h"

namespace karst::btrfs {

struct RootCandidate {
  uint64_t tree = 0;
  uint64_t bytenr = 0;
  uint64_t generation = 0;
  uint8_t level = 0;

  BlockPointer pointer() const { return {Logical(bytenr), generation, level, tree, {}}; }
};

// Not thread-safe. Memory: at most `generations_max` generations of each of at most `trees_max` trees.
class RootCandidates {
 public:
  static constexpr size_t generations_max = 256, trees_max = 1 << 16, blocks_max = 64;

  // Only of this tree; of all if not given.
  explicit RootCandidates(std::optional<uint64_t> tree = std::nullopt) : only_(tree) {}

  void add(const TreeBlock& block);
  // Of one tree: newest generation first, and there the highest addresses first.
  std::vector<RootCandidate> of(uint64_t tree) const;
  std::vector<uint64_t> trees() const;

 private:
  struct Generation {
    uint8_t level = 0;
    std::vector<uint64_t> blocks;  // of that level, by address
  };
  const std::optional<uint64_t> only_;
  std::map<uint64_t, std::map<uint64_t, Generation>> trees_;
};

}  // namespace karst::btrfs
