#include "btrfs/extent/extent_items.h"

#include <algorithm>

#include "btrfs/format/backref.h"
#include "btrfs/format/header.h"

namespace karst::btrfs {
namespace {

template <Overlay T>
void put(std::string& out, const T& value) {
  out += as_text(bytes_of(value));
}

// What Linux takes as the largest item with references in it: BTRFS_MAX_EXTENT_ITEM_SIZE.
size_t inline_limit(uint32_t nodesize) { return (nodesize - sizeof(Header)) / 16 - sizeof(Item); }

}  // namespace

uint64_t hash_of(const DataReference& reference) {
  return extent_data_ref_hash(reference.root, reference.inode, reference.offset);
}

Result<void> data_extent_items(const DataExtent& extent, DataReferences references, uint32_t nodesize,
                               ItemSink sink) {
  constexpr size_t reference_size = 1 + sizeof(ExtentDataRef);
  const size_t room = inline_limit(nodesize) - sizeof(ExtentItem) - 1;
  std::vector<ExtentDataRef> in_item;
  bool given = false;
  auto give_extent = [&]() -> Result<void> {
    if (std::exchange(given, true)) return {};
    std::string item;
    put(item, ExtentItem{extent.refs, extent.generation, extent_flag::data});
    for (auto reference = in_item.rbegin(); reference != in_item.rend(); ++reference) {
      item += static_cast<char>(ItemType::extent_data_ref);
      put(item, *reference);
    }
    return sink({extent.bytenr, ItemType::extent_item, extent.length}, as_bytes(item));
  };
  Key last;
  TRY(references([&](const DataReference& reference) -> Result<void> {
    const ExtentDataRef disk{reference.root, reference.inode, reference.offset, reference.count};
    if (in_item.size() < room / reference_size) {
      in_item.push_back(disk);
      return {};
    }
    TRY(give_extent());
    // Those with the same hash follow it.
    Key key{extent.bytenr, ItemType::extent_data_ref, hash_of(reference)};
    if (key <= last) key.offset = last.offset + 1;
    last = key;
    return sink(key, bytes_of(disk));
  }));
  return give_extent();
}

Result<void> tree_extent_items(const TreeExtent& extent, uint64_t generation, std::vector<uint64_t>& roots,
                               uint32_t nodesize, bool skinny, ItemSink sink) {
  std::sort(roots.begin(), roots.end(), std::greater<>());
  std::string item;
  put(item, ExtentItem{roots.size(), generation, extent_flag::tree_block});
  if (!skinny) put(item, TreeBlockInfo{DiskKey::from(extent.first_key), extent.level});
  std::vector<uint64_t> keyed;  // that did not fit
  for (uint64_t root : roots) {
    if (item.size() + sizeof(InlineRef) < inline_limit(nodesize))
      put(item, InlineRef{static_cast<uint8_t>(ItemType::tree_block_ref), root});
    else
      keyed.push_back(root);
  }
  Key key = skinny ? Key{extent.bytenr, ItemType::metadata_item, extent.level}
                   : Key{extent.bytenr, ItemType::extent_item, nodesize};
  TRY(sink(key, as_bytes(item)));
  for (auto root = keyed.rbegin(); root != keyed.rend(); ++root)
    TRY(sink({extent.bytenr, ItemType::tree_block_ref, *root}, {}));
  return {};
}

}  // namespace karst::btrfs
