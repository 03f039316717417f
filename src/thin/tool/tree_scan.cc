#include "thin/tool/tree_scan.h"

#include <algorithm>
#include <atomic>

#include "thin/format/block.h"
#include "thin/format/errors.h"
#include "thin/format/superblock.h"

namespace karst::thin {
namespace {

constexpr unsigned max_depth = 16;

}  // namespace

const char* name_of(BlockRole role) {
  switch (role) {
    case BlockRole::none: return "nothing";
    case BlockRole::superblock: return "superblock";
    case BlockRole::roots_node: return "node of the roots of devices";
    case BlockRole::mapping_node: return "node of mappings";
    case BlockRole::details_node: return "node of the details of devices";
    case BlockRole::data_index_node: return "node of the data space map's index";
    case BlockRole::data_counts_node: return "node of the data space map's counts";
    case BlockRole::metadata_counts_node: return "node of the metadata space map's counts";
    case BlockRole::metadata_index: return "index of the metadata space map";
    case BlockRole::data_bitmap: return "bitmap of the data space map";
    case BlockRole::metadata_bitmap: return "bitmap of the metadata space map";
  }
  return "";
}

// What is read together.
struct TreeScan::Level {
  BlockRole role;
  uint32_t value_size;
  EachLeaf each;
  BlockSet& next;
};

Result<std::unique_ptr<TreeScan>> TreeScan::create(block::Device& device, uint64_t nr_blocks,
                                                   uint64_t nr_data_blocks, WorkerPool& pool,
                                                   Findings& findings) {
  std::unique_ptr<TreeScan> scan(new TreeScan(device, nr_blocks, pool, findings));
  scan->metadata_uses_ = TRY(UseCounts::create(nr_blocks));
  scan->data_uses_ = TRY(UseCounts::create(nr_data_blocks));
  scan->roles_.reset(static_cast<BlockRole*>(std::calloc(nr_blocks, sizeof(BlockRole))));
  scan->summaries_.reset(static_cast<NodeSummary*>(std::calloc(nr_blocks, sizeof(NodeSummary))));
  if (!scan->roles_ || !scan->summaries_)
    return Error::make(err::no_memory, "not enough memory for a table of {} metadata blocks", nr_blocks);
  return scan;
}

uint64_t TreeScan::memory_needed(uint64_t nr_blocks, uint64_t nr_data_blocks) {
  return nr_blocks * (sizeof(NodeSummary) + sizeof(BlockRole) + 1) + nr_data_blocks;
}

bool TreeScan::refer(MetadataBlock block, BlockRole role, const char* from) {
  if (raw(block) >= nr_blocks_) {
    findings_.add(finding::block,
                  fmt::format("{} refers to block {}, which is outside of the metadata device", from, block));
    return false;
  }
  metadata_uses_->add(raw(block));
  BlockRole before = BlockRole::none;
  if (std::atomic_ref(roles_.get()[raw(block)])
          .compare_exchange_strong(before, role, std::memory_order_relaxed))
    return true;
  if (before != role)
    findings_.add(finding::block_role, fmt::format("{} refers to block {} as a {}, but it is a {}", from,
                                                   block, name_of(role), name_of(before)));
  return false;
}

Result<NodeView> TreeScan::verify(MetadataBlock number, Bytes block, uint32_t value_size) const {
  TRY(check_seal(BlockKind::node, number, block));
  const NodeView node(block);
  if (auto checked = check_node(node, {value_size, nr_blocks_}); !checked)
    return std::move(checked).error().at("block", number);
  return node;
}

void TreeScan::visit(const Level& level, MetadataBlock number, Bytes block, const Error* error) {
  NodeSummary& summary = summaries_.get()[raw(number)];
  auto node = error != nullptr ? Result<NodeView>(error->clone()) : verify(number, block, level.value_size);
  if (!node) {
    summary.state = NodeSummary::damaged;
    findings_.add(finding::block,
                  std::move(node).error().while_doing(fmt::format("reading a {}", name_of(level.role))));
    return;
  }
  summary.own_entries = static_cast<uint16_t>(node->size());
  summary.least_entries = static_cast<uint16_t>(node->capacity() / 3);
  if (node->capacity() % 3 != 0)
    findings_.add(finding::node_filling,
                  fmt::format("a {}, block {}, has room for {} entries, which is no multiple of 3",
                              name_of(level.role), number, node->capacity()));
  if (!node->is_leaf()) {
    const std::string from = fmt::format("a {}, block {},", name_of(level.role), number);
    for (uint32_t i = 0; i < node->size(); ++i)
      if (refer(node->child(i), level.role, from.c_str())) level.next.insert(node->child(i));
    return;
  }
  if (node->size() != 0) {
    summary.first_key = node->key(0);
    summary.last_key = node->key(node->size() - 1);
  }
  summary.entries = node->size();
  summary.state = NodeSummary::whole;
  level.each(*node);
}

Result<void> TreeScan::scan(const std::vector<MetadataBlock>& roots, BlockRole role, uint32_t value_size,
                            EachLeaf each) {
  auto wanted = std::make_unique<BlockSet>(nr_blocks_);
  for (const MetadataBlock root : roots)
    if (refer(root, role, "a root")) wanted->insert(root);
  // Each block is read once, so this ends.
  while (!wanted->empty()) {
    auto next = std::make_unique<BlockSet>(nr_blocks_);
    const Level level{role, value_size, each, *next};
    TRY(scan_blocks(device_, *wanted, pool_, [&](MetadataBlock number, Bytes block, const Error* error) {
      visit(level, number, block, error);
    }));
    wanted = std::move(next);
  }
  return {};
}

void TreeScan::count_data_blocks(NodeView leaf) {
  const uint64_t end = data_uses_->blocks();
  uint32_t outside = 0;
  for (uint32_t i = 0; i < leaf.size(); ++i) {
    const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(i));
    if (raw(mapping.block) < end) {
      data_uses_->add(raw(mapping.block));
      continue;
    }
    ++outside;
    findings_.add(
        finding::mapping,
        fmt::format("a mapping of block {} in leaf {} leads to data block {}, outside of the data device",
                    leaf.key(i), leaf.number(), mapping.block));
  }
  if (outside == 0) return;
  NodeSummary& summary = summaries_.get()[raw(leaf.number())];
  summary.entries -= outside;
  summary.state = NodeSummary::damaged;
}

Result<void> TreeScan::scan_mappings(const std::vector<MetadataBlock>& roots) {
  return scan(roots, BlockRole::mapping_node, sizeof(le64), [&](NodeView leaf) { count_data_blocks(leaf); });
}

Result<NodeSummary> TreeScan::summarize(MetadataBlock root, BlockRole role, uint32_t value_size) {
  if (raw(root) >= nr_blocks_) return NodeSummary{.state = NodeSummary::damaged};
  TRY(summarize_below(root, role, value_size, 0));
  return summaries_.get()[raw(root)];
}

// Of a node that has no summary yet: it is an inner node, read again, or one that was not read at all.
Result<void> TreeScan::summarize_below(MetadataBlock number, BlockRole role, uint32_t value_size,
                                       unsigned depth) {
  NodeSummary& summary = summaries_.get()[raw(number)];
  if (this->role(number) != role) return {};  // which has been said
  if (summary.state == NodeSummary::in_progress ||
      (summary.state == NodeSummary::unknown && depth == max_depth)) {
    findings_.add(finding::node_range, fmt::format("a {}, block {}, is below itself", name_of(role), number));
    summary.state = NodeSummary::damaged;
    return {};
  }
  if (summary.state != NodeSummary::unknown) return {};
  summary.state = NodeSummary::in_progress;
  std::vector<std::byte> block(metadata_block_size);
  TRY(device_.read(raw(number) * metadata_block_size, block));
  const NodeView node = TRY(verify(number, block, value_size));
  NodeSummary sum{.own_entries = summary.own_entries,
                  .least_entries = summary.least_entries,
                  .state = NodeSummary::whole};
  for (uint32_t i = 0; i < node.size(); ++i) {
    const MetadataBlock child = node.child(i);
    TRY(summarize_below(child, role, value_size, depth + 1));
    if (this->role(child) != role)
      sum.state = NodeSummary::damaged;
    else
      add_child(node, i, sum);
  }
  summary = sum;
  return {};
}

void TreeScan::add_child(NodeView node, uint32_t at, NodeSummary& sum) {
  const MetadataBlock child = node.child(at);
  const NodeSummary& below = summaries_.get()[raw(child)];
  if (below.state != NodeSummary::whole) sum.state = NodeSummary::damaged;
  if (below.state == NodeSummary::whole && below.own_entries < below.least_entries)
    findings_.add(finding::node_filling,
                  fmt::format("block {} has only {} entries, and is not the root of its tree", child,
                              below.own_entries));
  if (below.entries == 0) return;
  const bool last = at + 1 == node.size();
  if (below.first_key < node.key(at) || (!last && below.last_key >= node.key(at + 1))) {
    findings_.add(finding::node_range,
                  fmt::format("block {} has keys from {} to {}, where block {} has those {}", child,
                              below.first_key, below.last_key, node.number(),
                              last ? fmt::format("from {}", node.key(at))
                                   : fmt::format("from {} to {}", node.key(at), node.key(at + 1) - 1)));
    sum.state = NodeSummary::damaged;
  }
  if (sum.entries == 0) sum.first_key = below.first_key;
  sum.last_key = below.last_key;
  sum.entries += below.entries;
}

}  // namespace karst::thin
