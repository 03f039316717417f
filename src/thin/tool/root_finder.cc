#include "thin/tool/root_finder.h"

#include <algorithm>
#include <tuple>

#include "core/mutex.h"
#include "thin/format/block.h"
#include "thin/format/node.h"
#include "thin/format/superblock.h"

namespace karst::thin {
namespace {

constexpr LockClass found_lock{"thin.root-finder"};
constexpr unsigned max_depth = 16;

uint64_t hash_of(uint64_t id) {
  uint64_t hash = (id + 1) * 0x9e3779b97f4a7c15ull;
  hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9ull;
  return hash ^ hash >> 32;
}

bool is_node(Bytes block, MetadataBlock number, uint32_t value_size, uint64_t nr_blocks) {
  return check_seal(BlockKind::node, number, block) && check_node(NodeView(block), {value_size, nr_blocks});
}

}  // namespace

Result<void> RootFinder::find_nodes() {
  BlockSet all(nr_blocks_);
  for (uint64_t block = 1; block < nr_blocks_; ++block) all.insert(MetadataBlock{block});
  Mutex mutex{found_lock};
  TRY(scan_blocks(device_, all, pool_, [&](MetadataBlock number, Bytes block, const Error* error) {
    if (error != nullptr || !has_seal(BlockKind::node, block)) return;
    const bool mapping = is_node(block, number, sizeof(le64), nr_blocks_);
    if (!mapping && !is_node(block, number, sizeof(DeviceDetails), nr_blocks_)) return;
    MutexLock lock(mutex);
    // An inner node may be of either tree.
    if (mapping) nodes_.push_back(static_cast<uint32_t>(raw(number)));
    if (!mapping || !NodeView(block).is_leaf()) details_.push_back(static_cast<uint32_t>(raw(number)));
  }));
  std::ranges::sort(nodes_);
  std::ranges::sort(details_);
  return {};
}

void RootFinder::add_times(const Subtree& from, Subtree& sum) {
  if (from.time > sum.time) {
    sum.time = from.time;
    sum.at_that_time = 0;
  }
  if (from.time == sum.time) sum.at_that_time += from.at_that_time;
  sum.mappings += from.mappings;
  sum.last_data_block = std::max(sum.last_data_block, from.last_data_block);
}

bool RootFinder::add_child(const Subtree& child, Subtree& sum) {
  if (!child.valid) return false;
  if (child.first_key > child.last_key) return true;  // empty
  const bool first = sum.first_key > sum.last_key;
  if (!first && child.first_key <= sum.last_key) return false;
  if (first) sum.first_key = child.first_key;
  sum.last_key = child.last_key;
  sum.devices += child.devices;
  sum.ids += child.ids;
  sum.transaction_id = std::max(sum.transaction_id, child.transaction_id);
  add_times(child, sum);
  return true;
}

bool RootFinder::add_entry(Tree tree, NodeView leaf, uint32_t at, Subtree& sum, unsigned depth) {
  const uint64_t key = leaf.key(at);
  if (tree != Tree::mappings) {
    if (key > max_device_id) return false;
    ++sum.devices;
    sum.ids += hash_of(key);
  }
  switch (tree) {
    case Tree::mappings: {
      const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(at));
      add_times(
          {.mappings = 1, .time = mapping.time, .at_that_time = 1, .last_data_block = raw(mapping.block)},
          sum);
      return true;
    }
    case Tree::roots: {
      const Subtree mappings = look_at(Tree::mappings, leaf.child(at), depth + 1);
      if (mappings.valid) add_times(mappings, sum);
      return mappings.valid;
    }
    case Tree::details: {
      const auto& details = leaf.value_as<DeviceDetails>(at);
      sum.mappings += details.mapped_blocks;
      sum.time = std::max({sum.time, details.creation_time.value(), details.snapshotted_time.value()});
      sum.transaction_id = std::max(sum.transaction_id, details.transaction_id.value());
      return true;
    }
  }
  return false;
}

RootFinder::Subtree RootFinder::look_inside(Tree tree, NodeView node, unsigned depth) {
  Subtree sum{.first_key = 1};  // no key yet
  for (uint32_t i = 0; i < node.size(); ++i) {
    const bool fits = node.is_leaf() ? add_entry(tree, node, i, sum, depth)
                                     : add_child(look_at(tree, node.child(i), depth + 1), sum);
    if (!fits) return {};
  }
  if (node.is_leaf() && node.size() != 0) {
    sum.first_key = node.key(0);
    sum.last_key = node.key(node.size() - 1);
  }
  sum.valid = true;
  return sum;
}

// A node is looked at once for each tree; one that is below itself has nothing valid in it.
RootFinder::Subtree RootFinder::look_at(Tree tree, MetadataBlock number, unsigned depth) {
  Subtrees& known = known_[static_cast<size_t>(tree)];
  if (const auto found = known.find(raw(number)); found != known.end()) return found->second;
  if (depth >= 2 * max_depth || raw(number) == 0 || raw(number) >= nr_blocks_) return {};
  known[raw(number)] = {};
  std::vector<std::byte> block(metadata_block_size);
  if (!device_.read(raw(number) * metadata_block_size, block)) return {};
  const uint32_t value_size = tree == Tree::details ? sizeof(DeviceDetails) : sizeof(le64);
  if (!is_node(block, number, value_size, nr_blocks_)) return {};
  return known[raw(number)] = look_inside(tree, NodeView(block), depth);
}

Result<std::optional<FoundRoots>> RootFinder::find() {
  TRY(find_nodes());
  // The newest details of each set of devices, and of those the ones that count as many mappings.
  struct Details {
    MetadataBlock root{};
    Subtree sum;
  };
  const auto age_of = [](const Subtree& sum) { return std::tuple(sum.time, sum.transaction_id); };
  std::unordered_map<uint64_t, std::vector<Details>> details_of;
  for (const uint32_t number : details_) {
    const Subtree sum = look_at(Tree::details, MetadataBlock{number}, 0);
    if (sum.valid) details_of[sum.ids].push_back({MetadataBlock{number}, sum});
  }
  std::optional<FoundRoots> best;
  std::tuple<bool, bool, uint64_t, uint64_t, uint64_t, uint64_t> best_rank{};
  for (const uint32_t number : nodes_) {
    const Subtree roots = look_at(Tree::roots, MetadataBlock{number}, 0);
    if (!roots.valid) continue;
    const Details* details = nullptr;
    bool exact = false;
    if (const auto found = details_of.find(roots.ids); found != details_of.end())
      for (const Details& candidate : found->second) {
        if (candidate.sum.devices != roots.devices) continue;
        const bool matches = candidate.sum.mappings == roots.mappings;
        if (details != nullptr &&
            std::tuple(matches, age_of(candidate.sum)) <= std::tuple(exact, age_of(details->sum)))
          continue;
        details = &candidate;
        exact = matches;
      }
    // An empty leaf is as good a tree of no devices as any: only if there is nothing else.
    const std::tuple rank{roots.devices != 0 && details != nullptr,
                          exact,
                          uint64_t{roots.time},
                          roots.at_that_time,
                          roots.devices,
                          details == nullptr ? 0 : details->sum.transaction_id};
    if (best && rank <= best_rank) continue;
    best_rank = rank;
    best = FoundRoots{.mapping_root = MetadataBlock{number},
                      .time = roots.time,
                      .nr_data_blocks = roots.mappings == 0 ? 0 : roots.last_data_block + 1};
    if (details == nullptr) continue;
    best->details_root = details->root;
    best->time = std::max(roots.time, details->sum.time);
    best->transaction_id = details->sum.transaction_id + 1;
  }
  return best;
}

}  // namespace karst::thin
