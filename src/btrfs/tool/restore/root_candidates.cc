#include "btrfs/tool/restore/root_candidates.h"

#include <algorithm>

namespace karst::btrfs {

void RootCandidates::add(const TreeBlock& block) {
  const uint64_t tree = block.owner();
  if (only_ && tree != *only_) return;
  if (trees_.size() >= trees_max && !trees_.contains(tree)) return;
  auto& generations = trees_[tree];
  Generation& generation = generations[block.generation()];
  if (block.level() > generation.level) generation = {block.level(), {}};
  auto& blocks = generation.blocks;
  auto at = std::lower_bound(blocks.begin(), blocks.end(), block.bytenr());
  const bool known = at != blocks.end() && *at == block.bytenr();
  if (block.level() == generation.level && !known && blocks.size() < blocks_max)
    blocks.insert(at, block.bytenr());
  if (generations.size() > generations_max) generations.erase(generations.begin());
}

std::vector<RootCandidate> RootCandidates::of(uint64_t tree) const {
  std::vector<RootCandidate> list;
  auto found = trees_.find(tree);
  if (found == trees_.end()) return list;
  for (auto generation = found->second.rbegin(); generation != found->second.rend(); ++generation)
    for (auto block = generation->second.blocks.rbegin(); block != generation->second.blocks.rend(); ++block)
      list.push_back({tree, *block, generation->first, generation->second.level});
  return list;
}

std::vector<uint64_t> RootCandidates::trees() const {
  std::vector<uint64_t> list;
  for (const auto& [tree, generations] : trees_) list.push_back(tree);
  return list;
}

}  // namespace karst::btrfs
