#include "btrfs/tool/restore/extent_witness.h"

#include "btrfs/format/backref.h"
#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {
namespace {

bool is_from(const InlineReference& reference, const ExtentWitness::Question& block) {
  return (reference.type == ItemType::tree_block_ref && reference.root == block.tree) ||
         (reference.type == ItemType::shared_block_ref && reference.offset == block.parent);
}

// The inline references of an extent item that is a tree block's.
Bytes references_in(Bytes item, ItemType type) {
  const size_t head = sizeof(ExtentItem) + (type == ItemType::extent_item ? sizeof(TreeBlockInfo) : 0);
  return item.subspan(std::min(head, item.size()));
}

}  // namespace

void ExtentWitness::open() {
  opened_ = true;
  Cursor roots(Tree{&reader_, id::root_tree, root_tree_, nullptr, &damage_});
  auto found = roots.seek({id::extent_tree, ItemType::root_item, 0});
  if (!found || !*found || roots.key().objectid != id::extent_tree || roots.key().type != ItemType::root_item)
    return;
  const RootItem root = root_from_item(roots.key(), roots.data()).item;
  const BlockPointer pointer{Logical(root.bytenr.value()), root.generation, root.level, id::extent_tree, {}};
  extents_.emplace(Tree{&reader_, id::extent_tree, pointer, nullptr, &damage_});
}

ExtentWitness::Standing ExtentWitness::ask(const Question& block) {
  if (!opened_) open();
  if (!extents_) return Standing::unknown;
  const Standing skinny = ask_item(block, {block.bytenr, ItemType::metadata_item, block.level});
  if (skinny != Standing::free) return skinny;
  return ask_item(block, {block.bytenr, ItemType::extent_item, reader_.geometry().nodesize});
}

ExtentWitness::Standing ExtentWitness::ask_item(const Question& block, const Key& key) {
  auto found = extents_->find(key);
  if (!found || (!*found && extents_->is_lost(key, key))) return Standing::unknown;
  if (!*found) return Standing::free;
  const auto* extent = extents_->as<ExtentItem>();
  // An address that was given to another block since, whose contents are lost.
  if (extent && !(extent->flags & extent_flag::tree_block)) return Standing::free;
  if (!extent || extent->generation != block.generation) return Standing::unknown;
  for (Bytes rest = references_in(extents_->data(), key.type); !rest.empty();) {
    const auto reference = read_inline_ref(rest);
    if (!reference) return Standing::unknown;
    if (is_from(*reference, block)) return Standing::referenced;
    rest = rest.subspan(reference->size);
  }
  return has_keyed_reference(block) ? Standing::referenced : Standing::unknown;
}

// References that had no room in the extent's item have their own.
bool ExtentWitness::has_keyed_reference(const Question& block) {
  auto by_tree = extents_->find({block.bytenr, ItemType::tree_block_ref, block.tree});
  if (by_tree && *by_tree) return true;
  auto by_parent = extents_->find({block.bytenr, ItemType::shared_block_ref, block.parent});
  return by_parent && *by_parent;
}

}  // namespace karst::btrfs
