#include "thin/metadata/pool_trees.h"

namespace karst::thin {

PoolTrees::PoolTrees(block::Device& device, cache::Cache& cache, uint64_t nr_blocks)
    : store(device, cache, nr_blocks) {}

Result<void> PoolTrees::MappedBlocks::retain(NodeView leaf) {
  for (uint32_t i = 0; i < leaf.size(); ++i) TRY(data_.retain(Mapping::unpack(leaf.value_as<le64>(i)).block));
  return {};
}

Result<void> PoolTrees::MappedBlocks::release(NodeView leaf) {
  for (uint32_t i = 0; i < leaf.size(); ++i)
    TRY(data_.release(Mapping::unpack(leaf.value_as<le64>(i)).block));
  return {};
}

Result<void> PoolTrees::DeviceTrees::retain(NodeView leaf) {
  for (uint32_t i = 0; i < leaf.size(); ++i) TRY(store_.counts().retain(leaf.child(i)));
  return {};
}

Result<void> PoolTrees::DeviceTrees::release(NodeView leaf) {
  for (uint32_t i = 0; i < leaf.size(); ++i) TRY(mappings_.release(leaf.child(i)));
  return {};
}

}  // namespace karst::thin
