#include "btrfs/tool/check/extent_facts.h"

#include "btrfs/format/backref.h"

namespace karst::btrfs::check {
namespace {

void add_inline_refs(uint64_t bytenr, Bytes refs, FactSink& sink) {
  while (!refs.empty()) {
    auto ref = read_inline_ref(refs);
    if (!ref) return;
    refs = refs.subspan(ref->size);
    switch (ref->type) {
      case ItemType::tree_block_ref: sink.add({FactKind::tree_ref, bytenr, {ref->offset}}, minus(1)); break;
      case ItemType::shared_block_ref:
        sink.add({FactKind::shared_tree_ref, bytenr, {ref->offset}}, minus(1));
        break;
      case ItemType::extent_data_ref:
        sink.add({FactKind::data_ref, bytenr, {ref->root, ref->objectid, ref->file_offset}},
                 minus(ref->count));
        break;
      case ItemType::shared_data_ref:
        sink.add({FactKind::shared_data_ref, bytenr, {ref->offset}}, minus(ref->count));
        break;
      default: break;  // the owner of simple quotas refers to nothing
    }
  }
}

bool is_tree_block(const Key& key, const ExtentItem& extent) {
  return key.type == ItemType::metadata_item || (extent.flags & extent_flag::tree_block);
}

}  // namespace

uint8_t tree_block_level(const Key& key, Bytes item) {
  if (key.type == ItemType::metadata_item) return static_cast<uint8_t>(key.offset);
  const auto* info = overlay<TreeBlockInfo>(item, sizeof(ExtentItem));
  return info ? info->level : 0;
}

void add_extent_item(const Key& key, Bytes item, FactSink& sink) {
  uint64_t bytenr = key.objectid;
  switch (key.type) {
    case ItemType::tree_block_ref: sink.add({FactKind::tree_ref, bytenr, {key.offset}}, minus(1)); return;
    case ItemType::shared_block_ref:
      sink.add({FactKind::shared_tree_ref, bytenr, {key.offset}}, minus(1));
      return;
    case ItemType::extent_data_ref:
      if (const auto* ref = overlay<ExtentDataRef>(item))
        sink.add({FactKind::data_ref, bytenr, {ref->root, ref->objectid, ref->offset}}, minus(ref->count));
      return;
    case ItemType::shared_data_ref:
      if (const auto* ref = overlay<SharedDataRef>(item))
        sink.add({FactKind::shared_data_ref, bytenr, {key.offset}}, minus(ref->count));
      return;
    case ItemType::extent_item:
    case ItemType::metadata_item: break;
    default: return;
  }
  const auto* extent = overlay<ExtentItem>(item);
  if (!extent) return;
  uint64_t head = sizeof(ExtentItem);
  if (is_tree_block(key, *extent)) {
    sink.add({FactKind::tree_block, bytenr, {tree_block_level(key, item), extent->generation}},
             minus(extent->refs));
    if (key.type == ItemType::extent_item) head += sizeof(TreeBlockInfo);
  } else {
    sink.add({FactKind::data_extent, bytenr, {key.offset}}, minus(extent->refs));
  }
  if (head <= item.size()) add_inline_refs(bytenr, item.subspan(head), sink);
}

void add_tree_pointer(uint64_t bytenr, uint8_t level, uint64_t generation, const Referrer& from,
                      FactSink& sink) {
  sink.add({FactKind::tree_block, bytenr, {level, generation}}, 1);
  if (from.parent != 0)
    sink.add({FactKind::shared_tree_ref, bytenr, {from.parent}}, 1);
  else
    sink.add({FactKind::tree_ref, bytenr, {from.owner}}, 1);
}

void add_data_pointer(const Key& key, const FileExtent& extent, const Referrer& from, FactSink& sink) {
  uint64_t bytenr = extent.disk_bytenr;
  sink.add({FactKind::data_extent, bytenr, {extent.disk_num_bytes}}, 1);
  if (from.parent != 0)
    sink.add({FactKind::shared_data_ref, bytenr, {from.parent}}, 1);
  else
    sink.add({FactKind::data_ref, bytenr, {from.owner, key.objectid, key.offset - extent.offset}}, 1);
}

}  // namespace karst::btrfs::check
