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

struct KeyedReference {
  Key key;
  std::string data;
};

// The keyed references that did not fit, after the extent's own item. Those with the same hash follow it.
Result<void> give_keyed(std::vector<KeyedReference>& keyed, ItemSink sink) {
  std::sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  Key last;
  for (KeyedReference& reference : keyed) {
    if (reference.key <= last) reference.key.offset = last.offset + 1;
    last = reference.key;
    TRY(sink(reference.key, as_bytes(reference.data)));
  }
  return {};
}

}  // namespace

Result<void> data_extent_items(uint64_t bytenr, uint64_t length, uint64_t generation,
                               std::vector<DataReference>& references, uint32_t nodesize, ItemSink sink) {
  auto hash = [](const DataReference& r) { return extent_data_ref_hash(r.root, r.inode, r.offset); };
  std::sort(references.begin(), references.end(), [&](const DataReference& a, const DataReference& b) {
    return std::tuple(hash(a), a.root, a.inode, a.offset) > std::tuple(hash(b), b.root, b.inode, b.offset);
  });
  ExtentItem extent{0, generation, extent_flag::data};
  std::string item;
  put(item, extent);
  std::vector<KeyedReference> keyed;
  uint64_t total = 0;
  for (const DataReference& reference : references) {
    total += reference.count;
    ExtentDataRef disk{reference.root, reference.inode, reference.offset, reference.count};
    if (item.size() + 1 + sizeof disk < inline_limit(nodesize)) {
      item += static_cast<char>(ItemType::extent_data_ref);
      put(item, disk);
    } else {
      keyed.push_back(
          {{bytenr, ItemType::extent_data_ref, hash(reference)}, std::string(as_text(bytes_of(disk)))});
    }
  }
  extent.refs = total;
  std::memcpy(item.data(), &extent, sizeof extent);
  TRY(sink({bytenr, ItemType::extent_item, length}, as_bytes(item)));
  return give_keyed(keyed, sink);
}

Result<void> tree_extent_items(const TreeExtent& extent, uint64_t generation, std::vector<uint64_t>& roots,
                               uint32_t nodesize, bool skinny, ItemSink sink) {
  std::sort(roots.begin(), roots.end(), std::greater<>());
  std::string item;
  put(item, ExtentItem{roots.size(), generation, extent_flag::tree_block});
  if (!skinny) put(item, TreeBlockInfo{DiskKey::from(extent.first_key), extent.level});
  std::vector<KeyedReference> keyed;
  for (uint64_t root : roots) {
    if (item.size() + sizeof(InlineRef) < inline_limit(nodesize))
      put(item, InlineRef{static_cast<uint8_t>(ItemType::tree_block_ref), root});
    else
      keyed.push_back({{extent.bytenr, ItemType::tree_block_ref, root}, {}});
  }
  Key key = skinny ? Key{extent.bytenr, ItemType::metadata_item, extent.level}
                   : Key{extent.bytenr, ItemType::extent_item, nodesize};
  TRY(sink(key, as_bytes(item)));
  return give_keyed(keyed, sink);
}

}  // namespace karst::btrfs
