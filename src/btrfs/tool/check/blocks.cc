#include "btrfs/tool/check/blocks.h"

#include <vector>

#include "btrfs/format/object_ids.h"

namespace karst::btrfs::check {
namespace {

// Walks down from the root of the owner to where the block should be.
bool is_below_owner(State& state, uint64_t bytenr, const BlockFacts& facts) {
  const RootRecord* root = state.root(facts.owner);
  if (!root) return false;
  if (raw(root->block.address) == bytenr) return true;
  auto block = state.blocks().read({Logical(bytenr), facts.generation, facts.level, id::tree_reloc, {}});
  if (!block || (*block)->nritems() == 0) return false;
  const Key key = (*block)->key(0);
  BlockPointer pointer = root->block;
  while (pointer.level > facts.level) {
    auto node = state.blocks().read(pointer);
    if (!node) return true;  // not known
    const KeyPtr& child = (*node)->key_ptr((*node)->child_slot(key));
    if (child.blockptr == bytenr) return true;
    pointer = {Logical(child.blockptr.value()), child.generation, static_cast<uint8_t>(pointer.level - 1),
               pointer.root, child.key.key()};
  }
  return false;
}

// Metadata is in a chunk of metadata, the chunk tree in a system chunk. That the extent lies in one of the
// two is known from the extent tree's pass.
bool is_misplaced(const State& state, uint64_t bytenr, const BlockFacts& facts) {
  constexpr uint64_t both = block_group::system | block_group::metadata;
  auto chunk = state.fs.volume().chunks().find(bytenr);
  uint64_t wanted = facts.owner == id::chunk_tree ? block_group::system : block_group::metadata;
  return chunk && ((*chunk)->type & both) && !((*chunk)->type & wanted);
}

// A block becomes a parent when its owner lets go of it while others still use it, so none is younger than
// the owner's last snapshot; relocation makes its blocks parents at once. Source: Linux fs/btrfs/ctree.c,
// update_ref_for_cow().
bool is_bad_parent(const State& state, const BlockFacts& facts) {
  if (!state.extents_known) return false;
  if (facts.relocated) return !facts.full_backref;
  const RootRecord* owner = state.root(facts.owner);
  return facts.full_backref && owner && facts.generation > owner->last_snapshot;
}

void check_block(State& state, uint64_t bytenr, const BlockFacts& facts) {
  uint32_t size = state.geometry().nodesize;
  auto report = [&](const FindingKind& kind, std::string text) {
    state.report.add(kind, std::move(text), {{"bytenr", bytenr}});
  };
  if (is_misplaced(state, bytenr, facts))
    report(finding::extent_type,
           fmt::format("bad extent [{}, {}), type mismatch with chunk", bytenr, bytenr + size));
  if (is_bad_parent(state, facts))
    report(finding::extent_backref, fmt::format("bad full backref, on [{}]", bytenr));
  if (!facts.full_backref && facts.referrer != facts.owner && !is_below_owner(state, bytenr, facts))
    report(finding::extent_backref, fmt::format("owner ref check failed [{} {}]", bytenr, size));
}

}  // namespace

Result<void> check_blocks(State& state) {
  TaskGroup group(state.pool);
  for (size_t shard = 0; shard < BlockTable::shard_count; ++shard)
    group.run([&state, shard]() -> Result<void> {
      // Few need a second look, which may read; the table is locked now.
      std::vector<std::pair<uint64_t, BlockFacts>> doubtful;
      state.table.for_each(shard, [&](uint64_t bytenr, const BlockFacts& facts) {
        if (!facts.good || facts.owner == id::tree_log) return;
        bool plain = facts.full_backref || facts.referrer == facts.owner;
        if (!plain || is_misplaced(state, bytenr, facts) || is_bad_parent(state, facts))
          doubtful.emplace_back(bytenr, facts);
      });
      for (const auto& [bytenr, facts] : doubtful) check_block(state, bytenr, facts);
      return {};
    });
  return group.wait();
}

}  // namespace karst::btrfs::check
