#include "btrfs/format/check_block.h"
#include "btrfs/format/check_item.h"
#include "btrfs/format/item_table.h"

namespace karst::btrfs {
namespace err {
const ErrorKind leaf_structure{"leaf-structure", &karst::err::corrupt, EUCLEAN};
const ErrorKind leaf_key_order{"leaf-key-order", &leaf_structure, EUCLEAN};
const ErrorKind leaf_item_bounds{"leaf-item-bounds", &leaf_structure, EUCLEAN};
}  // namespace err

namespace {

// Trees whose root always holds something; a leaf without items can only be the root. Blocks of relocation
// trees have the owner of the subvolume that is relocated.
Result<void> check_empty_leaf(const TreeBlock& leaf) {
  if (leaf.header().flags & header_flag_reloc) return {};
  uint64_t owner = leaf.owner();
  if (owner == 0) return Error(err::block_owner, "tree block without a tree").expected("a tree", 0);
  constexpr uint64_t never_empty[] = {id::root_tree, id::extent_tree, id::chunk_tree,
                                      id::dev_tree,  id::fs_tree,     id::data_reloc_tree};
  if (std::find(std::begin(never_empty), std::end(never_empty), owner) != std::end(never_empty))
    return Error(err::block_empty, "tree must not be empty").expected("at least one item", "none");
  return {};
}

[[gnu::cold]] Error out_of_bounds(const TreeBlock& leaf, uint32_t slot, uint64_t expected_end) {
  const Item& item = leaf.item(slot);
  return Error(err::leaf_item_bounds, "item not where it belongs in the leaf")
      .expected(fmt::format("end at {}, data after the items", expected_end),
                fmt::format("offset {}, size {}", item.offset.value(), item.size.value()))
      .at("slot", slot)
      .at("key", item.key.key());
}

}  // namespace

Result<void> check_leaf(const TreeBlock& leaf, const Geometry& geometry) {
  return check_leaf(leaf, geometry, [](uint32_t, Error reason) -> Result<void> { return reason; });
}

Result<void> check_leaf(const TreeBlock& leaf, const Geometry& geometry,
                        FunctionRef<Result<void>(uint32_t slot, Error reason)> invalid) {
  uint32_t count = leaf.header().nritems, most = max_leaf_items(leaf.nodesize());
  if (count > most) [[unlikely]]
    return Error(err::block_nritems, "invalid number of items")
        .expected(fmt::format("at most {}", most), count);
  if (count == 0) return check_empty_leaf(leaf);

  // Item data grows from the end of the leaf towards its head, without gaps.
  const std::byte* base = leaf.bytes().data() + sizeof(Header);
  uint64_t lowest = uint64_t{count} * sizeof(Item);
  uint64_t end = leaf.nodesize() - sizeof(Header);
  LeafCheck state;
  Key previous;
  for (uint32_t slot = 0; slot < count; ++slot) {
    const Item& item = leaf.item(slot);
    Key key = item.key.key();
    if (previous >= key) [[unlikely]]  // no key is zero
      return Error(err::leaf_key_order, "keys out of order")
          .expected(fmt::format("above {}", previous), key)
          .at("slot", slot)
          .at("key", key);
    uint64_t offset = item.offset, size = item.size;
    if (offset < lowest || offset + size != end) [[unlikely]]
      return out_of_bounds(leaf, slot, end);
    end = offset;
    previous = key;
    CheckFunction* check = item_row(key.type).check;
    if (!check) continue;
    auto checked = check({leaf, geometry, slot, key, {base + offset, size}}, state);
    if (!checked) [[unlikely]]
      TRY(invalid(slot, std::move(checked).error()));
  }
  return {};
}

}  // namespace karst::btrfs
