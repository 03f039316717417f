#include "thin/metadata/tree_walk.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

struct Step {
  BlockRef block;
  KeyRange range;
  uint32_t next = 0;
};

std::optional<KeyRange> intersection(KeyRange a, KeyRange b) {
  const KeyRange both{std::max(a.first, b.first), std::min(a.last, b.last)};
  if (both.first > both.last) return std::nullopt;
  return both;
}

// What an entry of an inner node stands for, within the node's own range; nothing if that is empty.
std::optional<KeyRange> range_of(const Step& step, uint32_t at) {
  const NodeView node = step.block.node();
  KeyRange range{node.key(at), step.range.last};
  if (at + 1 < node.size()) range.last = std::min(range.last, node.key(at + 1) - 1);
  return intersection(range, step.range);
}

Result<void> check_range(NodeView node, KeyRange range) {
  if (node.size() == 0 || (node.key(0) >= range.first && node.key(node.size() - 1) <= range.last)) return {};
  return Error(err::node_order, "node has keys that its parent has elsewhere")
      .at("block", node.number())
      .expected(fmt::format("{} to {}", range.first, range.last),
                fmt::format("{} to {}", node.key(0), node.key(node.size() - 1)));
}

}  // namespace

Error tree_too_deep(MetadataBlock at) {
  return Error(err::node_bounds, "tree deeper than any can be: its nodes go round in a circle")
      .at("block", at);
}

Result<void> TreeWalk::walk(MetadataBlock root, KeyRange wanted, Visit each, Damaged damaged) const {
  std::vector<Step> path;
  MetadataBlock number = root;
  KeyRange range;
  for (;;) {
    auto block = store_.read_node(number, value_size_);
    if (block && path.size() == max_tree_depth) block = tree_too_deep(number);
    if (!block) {
      TRY(damaged(range, std::move(block).error()));
    } else {
      const NodeView node = block->node();
      if (auto fits = check_range(node, range); !fits) TRY(damaged(range, std::move(fits).error()));
      if (!node.is_leaf()) {
        path.push_back({std::move(*block), range, node.child_for(wanted.first)});
      } else if (const auto here = intersection(range, wanted)) {
        const uint32_t begin = node.lower_bound(here->first), end = node.last_at_most(here->last) + 1;
        if (begin < end && !TRY(each(node, begin, end))) return {};
      }
    }
    // To the next child that has something of what is wanted.
    for (bool found = false; !found;) {
      if (path.empty()) return {};
      Step& step = path.back();
      if (step.next == step.block.node().size() || step.block.node().key(step.next) > wanted.last) {
        path.pop_back();
        continue;
      }
      const uint32_t at = step.next++;
      const auto below = range_of(step, at);
      if (!below || !intersection(*below, wanted)) continue;
      number = step.block.node().child(at);
      range = *below;
      found = true;
    }
  }
}

Result<void> TreeWalk::walk(MetadataBlock root, KeyRange wanted, Visit each) const {
  return walk(root, wanted, each, [](KeyRange, Error error) -> Result<void> { return error; });
}

}  // namespace karst::thin
