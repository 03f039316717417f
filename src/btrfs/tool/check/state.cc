#include "btrfs/tool/check/state.h"

#include "btrfs/format/extent.h"
#include "btrfs/format/object_ids.h"

namespace karst::btrfs::check {

bool RootRecord::holds_files() const { return is_subvolume(id) || id == id::data_reloc_tree; }

uint32_t RootRecord::first_kept_slot(const TreeBlock& node) const {
  if (!drop_progress || node.level() < drop_level) return 0;
  return node.level() == drop_level ? node.lower_bound(*drop_progress) : node.child_slot(*drop_progress);
}

Result<void> State::add_root(RootRecord record) {
  // A growing vector has twice what it holds, and what it is copied from.
  constexpr size_t bytes_each = 3 * sizeof(RootRecord) + 48;
  TRY(allowance.take(bytes_each, "roots"));
  root_index[record.id] = roots.size();
  roots.push_back(std::move(record));
  return {};
}

const RootRecord* State::root(uint64_t id) const {
  auto found = root_index.find(id);
  return found == root_index.end() ? nullptr : &roots[found->second];
}

uint64_t State::hash_key(const Key& first) const {
  return key.hash({FactKind{}, first.objectid, {static_cast<uint64_t>(first.type), first.offset, 0}}).a;
}

void State::block_seen(const TreeBlock& block) {
  table.update(block.bytenr(), [&](BlockFacts& facts) {
    facts.generation = block.generation();
    facts.owner = block.owner();
    facts.level = block.level();
    facts.first_key = block.nritems() > 0 ? hash_key(block.key(0)) : 0;
    facts.relocated = (block.header().flags & header_flag_reloc) != 0;
    facts.good = true;
  });
  if (block.header().flags >> header_backref_rev_shift < header_mixed_backref_rev)
    report.add(finding::extent_backref,
               fmt::format("bad block {}: back references of before mixed ones", block.bytenr()),
               {{"bytenr", block.bytenr()}});
  auto count = [](std::atomic<uint64_t>& total, uint64_t amount) {
    total.fetch_add(amount, std::memory_order_relaxed);
  };
  progress.add(block.nodesize(), 1);
  uint64_t owner = block.owner();
  count(statistics.tree_bytes, block.nodesize());
  if (owner == id::extent_tree) count(statistics.extent_tree_bytes, block.nodesize());
  if (is_fs_tree(owner) || owner == id::data_reloc_tree) count(statistics.fs_tree_bytes, block.nodesize());
  if (!block.is_leaf()) {
    count(statistics.wasted_bytes, (max_key_ptrs(block.nodesize()) - block.nritems()) * sizeof(KeyPtr));
    return;
  }
  uint64_t used = block.nritems() * sizeof(Item), csum_bytes = 0;
  for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
    used += block.item(slot).size;
    if (block.item(slot).key.type == static_cast<uint8_t>(ItemType::extent_csum))
      csum_bytes += block.item(slot).size;
  }
  count(statistics.wasted_bytes, block.nodesize() - sizeof(Header) - used);
  if (csum_bytes) count(statistics.csum_bytes, csum_bytes);
}

}  // namespace karst::btrfs::check
