#include "btrfs/tool/dump_tree.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

#include "btrfs/format/check.h"

namespace karst::btrfs {
namespace {

constexpr size_t reported_max = 1 << 16;

// Source of the names: btrfs-progs cmds/inspect-dump-tree.c.
const char* tree_name(uint64_t id) {
  switch (id) {
    case id::root_tree: return "root";
    case id::extent_tree: return "extent";
    case id::chunk_tree: return "chunk";
    case id::dev_tree: return "device";
    case id::fs_tree: return "fs";
    case id::root_tree_dir: return "directory";
    case id::csum_tree: return "checksum";
    case id::quota_tree: return "quota";
    case id::uuid_tree: return "uuid";
    case id::free_space_tree: return "free space";
    case id::block_group_tree: return "block group";
    case id::raid_stripe_tree: return "raid stripe";
    case id::orphan: return "orphan";
    case id::tree_log: return "log";
    case id::tree_log_fixup: return "log fixup";
    case id::tree_reloc: return "reloc";
    case id::data_reloc_tree: return "data reloc";
    case id::extent_csum: return "extent checksum";
    case id::multiple: return "multiple";
    default: return "file";
  }
}

bool is_selected(uint64_t id, const DumpSelection& selection) {
  if (selection.tree && id != *selection.tree) return false;
  if (!selection.extents && !selection.devices && !selection.uuids) return true;
  switch (id) {
    case id::extent_tree: return !selection.devices && !selection.uuids;
    case id::dev_tree: return !selection.uuids;
    case id::uuid_tree: return !selection.extents && !selection.devices;
    case id::root_tree_dir: return true;
    default: return false;
  }
}

BlockPointer pointer_of(const Key& key, Bytes item) {
  Root root = root_from_item(key, item);
  return {Logical(root.item.bytenr.value()), root.item.generation, root.item.level, root.id, {}};
}

bool is_root_item(const TreeBlock& leaf, uint32_t slot) {
  return leaf.key(slot).type == ItemType::root_item && leaf.item_data(slot).size() >= root_item_legacy_size;
}

struct TreeName {
  std::string_view name;
  uint64_t id;
};
constexpr TreeName tree_names[] = {
    {"root", id::root_tree},
    {"extent", id::extent_tree},
    {"chunk", id::chunk_tree},
    {"device", id::dev_tree},
    {"dev", id::dev_tree},
    {"fs", id::fs_tree},
    {"csum", id::csum_tree},
    {"checksum", id::csum_tree},
    {"quota", id::quota_tree},
    {"uuid", id::uuid_tree},
    {"free-space", id::free_space_tree},
    {"tree-log-fixup", id::tree_log_fixup},
    {"tree-log", id::tree_log},
    {"log", id::tree_log},
    {"tree-reloc", id::tree_reloc},
    {"data-reloc", id::data_reloc_tree},
    {"block-group", id::block_group_tree},
    {"raid-stripe", id::raid_stripe_tree},
    {"remap", id::remap_tree},
};

}  // namespace

std::optional<uint64_t> tree_id_from_text(std::string_view text) {
  uint64_t number = 0;
  bool negative = text.starts_with('-');  // "-6" is the log, as in names of keys
  auto [end, failed] = std::from_chars(text.data() + negative, text.data() + text.size(), number);
  if (failed == std::errc{} && end == text.data() + text.size() && number != 0)
    return negative ? 0 - number : number;

  std::string name(text);
  for (char& c : name) c = c == '_' ? '-' : static_cast<char>(tolower(c));
  if (name.starts_with("btrfs-")) name.erase(0, 6);
  if (name.ends_with("-objectid")) name.erase(name.size() - 9);
  if (name.ends_with("-tree")) name.erase(name.size() - 5);
  for (const TreeName& known : tree_names)
    if (name == known.name) return known.id;
  return std::nullopt;
}

TreeDump::TreeDump(std::unique_ptr<Volume> volume, cache::Cache& cache, DumpReceiver& receiver)
    : volume_(std::move(volume)), blocks_(*volume_, cache), receiver_(receiver) {}

Result<std::unique_ptr<TreeDump>> TreeDump::open(std::vector<std::unique_ptr<block::Device>> devices,
                                                 const OpenOptions& options, cache::Cache& cache,
                                                 const Logger& log, DumpReceiver& receiver) {
  auto volume = TRY(Volume::open(std::move(devices), options.volume, log));
  std::unique_ptr<TreeDump> dump(new TreeDump(std::move(volume), cache, receiver));
  const Superblock& super = dump->super();
  dump->chunk_root_ = {Logical(super.chunk_root.value()),
                       super.chunk_root_generation,
                       super.chunk_root_level,
                       id::chunk_tree,
                       {}};
  dump->root_tree_ = {Logical(super.root.value()), super.generation, super.root_level, id::root_tree, {}};
  if (options.backup_root) {
    const RootBackup& backup = super.super_roots[*options.backup_root];
    if (backup.tree_root == 0)
      return Error(karst::err::invalid, "this backup root was never written")
          .at("backup", *options.backup_root);
    dump->chunk_root_ = {Logical(backup.chunk_root.value()),
                         backup.chunk_root_gen,
                         backup.chunk_root_level,
                         id::chunk_tree,
                         {}};
    dump->root_tree_ = {
        Logical(backup.tree_root.value()), backup.tree_root_gen, backup.tree_root_level, id::root_tree, {}};
  } else if (super.log_root != 0) {
    dump->log_root_ = {
        Logical(super.log_root.value()), super.generation + 1, super.log_root_level, id::tree_log, {}};
  }
  TRY(dump->load_chunks());
  return dump;
}

Result<void> TreeDump::load_chunks() {
  auto top = read(chunk_root_);
  if (!top) return {};
  return walk_level(top->view, id::chunk_tree, Key::max(), 0, [&](const TreeBlock& leaf) -> Result<void> {
    for (uint32_t slot = 0; slot < leaf.nritems(); ++slot) {
      if (leaf.key(slot).type != ItemType::chunk_item) continue;
      uint64_t logical = leaf.key(slot).offset;
      auto added = check_chunk_item(leaf.item_data(slot), logical, geometry());
      if (added) added = volume_->chunks_to_fill().add(logical, leaf.item_data(slot));
      if (!added) problem(leaf.bytenr(), added.error());
    }
    return {};
  });
}

void TreeDump::problem(uint64_t bytenr, const Error& error) {
  if (reported_.contains(bytenr)) return;
  if (reported_.size() < reported_max) reported_.insert(bytenr);
  receiver_.problem(error);
}

// The block a pointer means. One that is broken inside is reported and given all the same; one that is not
// what the pointer means is only reported.
std::optional<TreeDump::Block> TreeDump::read(const BlockPointer& pointer) {
  Block block;
  auto verified = blocks_.read(pointer);
  if (verified) {
    block.verified = std::move(*verified);
    block.view = *block.verified;
    return block;
  }
  problem(raw(pointer.address), verified.error());
  block.broken.resize(geometry().nodesize);
  auto usable = volume_->read_verified(pointer.address, block.broken, [&]() -> Result<void> {
    TRY(check_block_checksum(block.broken, geometry()));
    return check_block_identity(TreeBlock(block.broken), geometry(), pointer.expectation());
  });
  if (!usable) return std::nullopt;
  block.view = TreeBlock(block.broken);
  return block;
}

// The block at an address of which nothing else is known. Anything that says to be that block will do.
std::optional<TreeDump::Block> TreeDump::read_any(uint64_t bytenr) {
  Block block;
  block.broken.resize(geometry().nodesize);
  block.view = TreeBlock(block.broken);
  BlockExpectation expected{Logical(bytenr), {}, {}, {}, {}};
  if (bytenr % geometry().sectorsize != 0) {
    problem(bytenr, Error(err::block_bytenr, "tree block address is not a multiple of the sector size")
                        .at("block", bytenr));
    return std::nullopt;
  }
  auto verified = volume_->read_verified(Logical(bytenr), block.broken,
                                         [&] { return verify_block(block.broken, geometry(), expected); });
  if (verified) return block;
  problem(bytenr, verified.error());
  auto usable = volume_->read_verified(
      Logical(bytenr), block.broken, [&] { return check_block_identity(block.view, geometry(), expected); });
  if (!usable || block.view.level() >= max_level) return std::nullopt;
  return block;
}

// The children of a node whose keys lie where they should: ascending, and before `end`, the key that ends the
// node's own range.
Result<void> TreeDump::for_each_child(const TreeBlock& node, uint64_t root, const Key& end,
                                      ChildVisitor visit) {
  for (uint32_t slot = 0; slot < node.nritems(); ++slot) {
    const KeyPtr& pointer = node.key_ptr(slot);
    Key key = pointer.key.key();
    Key next = slot + 1 < node.nritems() ? node.key(slot + 1) : end;
    if (key >= next || next > end) {
      problem(pointer.blockptr, Error(err::node_key_order, "a child whose key is out of order is left out")
                                    .at("block", node.bytenr())
                                    .at("slot", slot)
                                    .at("child", pointer.blockptr));
      continue;
    }
    TRY(visit({Logical(pointer.blockptr.value()), pointer.generation, static_cast<uint8_t>(node.level() - 1),
               root, key},
              next));
  }
  return {};
}

// Visits the blocks of `level` below (or the top itself) in key order.
Result<void> TreeDump::walk_level(const TreeBlock& top, uint64_t root, const Key& end, uint8_t level,
                                  Visitor visit) {
  if (top.level() == level) return visit(top);
  return for_each_child(top, root, end, [&](const BlockPointer& child, const Key& child_end) -> Result<void> {
    auto block = read(child);
    if (!block) return {};
    return walk_level(block->view, root, child_end, level, visit);
  });
}

// Visits all blocks below, parents before children, in key order.
Result<void> TreeDump::walk_down(const TreeBlock& top, uint64_t root, const Key& end, Visitor visit) {
  TRY(visit(top));
  if (top.is_leaf()) return {};
  return for_each_child(top, root, end, [&](const BlockPointer& child, const Key& child_end) -> Result<void> {
    auto block = read(child);
    if (!block) return {};
    return walk_down(block->view, root, child_end, visit);
  });
}

Result<void> TreeDump::give(const TreeBlock& top, uint64_t root, const DumpSelection& selection) {
  auto block = [&](const TreeBlock& visited) { return receiver_.block(visited); };
  if (selection.depth_first) return walk_down(top, root, Key::max(), block);
  for (int level = top.level(); level >= 0; --level)
    TRY(walk_level(top, root, Key::max(), static_cast<uint8_t>(level), block));
  return {};
}

Result<void> TreeDump::give_blocks(const DumpSelection& selection) {
  for (uint64_t bytenr : selection.blocks) {
    auto block = read_any(bytenr);
    if (!block) continue;
    TRY(selection.follow ? give(block->view, block->view.owner(), selection) : receiver_.block(block->view));
  }
  return {};
}

Result<void> TreeDump::give_tree(const char* name, const BlockPointer& root, const DumpSelection& selection) {
  auto top = read(root);
  if (!top) return {};
  TRY(receiver_.tree({name, {}, raw(root.address), root.level}));
  return selection.roots_only ? Result<void>() : give(top->view, root.root, selection);
}

Result<void> TreeDump::give_listed_tree(const Key& key, Bytes item, const DumpSelection& selection) {
  BlockPointer root = pointer_of(key, item);
  auto top = read(root);
  if (!top) return {};
  TRY(receiver_.tree({tree_name(key.objectid), key, raw(root.address), root.level}));
  if (selection.extents)
    return walk_level(top->view, root.root, Key::max(), 0,
                      [&](const TreeBlock& leaf) { return receiver_.block(leaf); });
  return selection.roots_only ? Result<void>() : give(top->view, root.root, selection);
}

// The trees whose root items are in `list`: the root tree, or the log root tree.
Result<void> TreeDump::give_listed_trees(const BlockPointer& list, const DumpSelection& selection,
                                         bool& found) {
  auto top = read(list);
  if (!top) return {};
  return walk_level(top->view, list.root, Key::max(), 0, [&](const TreeBlock& leaf) -> Result<void> {
    for (uint32_t slot = 0; slot < leaf.nritems(); ++slot) {
      if (!is_root_item(leaf, slot) || !is_selected(leaf.key(slot).objectid, selection)) continue;
      found = true;
      TRY(give_listed_tree(leaf.key(slot), leaf.item_data(slot), selection));
    }
    return {};
  });
}

std::optional<BlockPointer> TreeDump::find_root(uint64_t id) {
  std::optional<BlockPointer> found;
  auto top = read(root_tree_);
  if (!top) return found;
  auto walked =
      walk_level(top->view, id::root_tree, Key::max(), 0, [&](const TreeBlock& leaf) -> Result<void> {
        for (uint32_t slot = leaf.lower_bound({id, ItemType::root_item, 0}); slot < leaf.nritems(); ++slot)
          if (is_root_item(leaf, slot) && leaf.key(slot).objectid == id)
            found = pointer_of(leaf.key(slot), leaf.item_data(slot));
        return {};
      });
  return walked ? found : std::nullopt;
}

// Trees that the stock tool gives under a short heading, and nothing after them. False: `id` is none of them.
Result<bool> TreeDump::give_special_tree(uint64_t id, const DumpSelection& selection) {
  std::optional<BlockPointer> root;
  switch (id) {
    case id::root_tree: root = root_tree_; break;
    case id::chunk_tree: root = chunk_root_; break;
    case id::block_group_tree: root = find_root(id); break;
    case id::tree_log: root = log_root_; break;
    default: return false;
  }
  DumpSelection whole = selection;
  whole.roots_only = false;
  const char* name = id == id::tree_log ? "log root" : tree_name(id);
  if (root)
    TRY(give_tree(name, *root, whole));
  else
    receiver_.problem(Error(err::no_tree, "no such tree").at("tree", root_name(id)));
  return true;
}

Result<bool> TreeDump::run(const DumpSelection& selection) {
  if (!selection.blocks.empty()) {
    TRY(give_blocks(selection));
    return false;
  }
  if (selection.tree && TRY(give_special_tree(*selection.tree, selection))) return false;
  if (!selection.extents && !selection.uuids && !selection.tree) {
    TRY(give_tree("root", root_tree_, selection));
    TRY(give_tree("chunk", chunk_root_, selection));
    if (log_root_) TRY(give_tree("log root", *log_root_, selection));
  }
  bool found = false;
  TRY(give_listed_trees(root_tree_, selection, found));
  if (log_root_) TRY(give_listed_trees(*log_root_, selection, found));
  if (selection.tree && !found)
    receiver_.problem(Error(err::no_tree, "no such tree").at("tree", root_name(*selection.tree)));
  return !selection.extents && !selection.devices && !selection.uuids;
}

}  // namespace karst::btrfs
