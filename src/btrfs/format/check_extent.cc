#include "btrfs/format/backref.h"
#include "btrfs/format/check_item.h"
#include "btrfs/format/extent.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_extent{"item-extent", &item_invalid, EUCLEAN};
const ErrorKind item_extent_overlap{"item-extent-overlap", &item_extent, EUCLEAN};
}  // namespace err

namespace {

const ErrorKind& kind = err::item_extent;

bool is_skinny(const ItemView& item) { return item.key.type == ItemType::metadata_item; }

Result<void> check_key(const ItemView& item) {
  TRY(check_aligned(kind, item, "extent not aligned", item.key.objectid));
  if (!is_skinny(item)) {
    return check_range(kind, item, "invalid length of an extent", item.key.objectid, item.key.offset);
  }
  if (!item.geometry.has(incompat::skinny_metadata)) [[unlikely]]
    return invalid_item(kind, item, "METADATA_ITEM without the feature SKINNY_METADATA", "EXTENT_ITEM",
                        item.key);
  if (item.key.offset >= max_level) [[unlikely]]
    return invalid_item(kind, item, "level too big", "0 to 7", item.key.offset);
  return check_range(kind, item, "extent at the end of the address space", item.key.objectid,
                     item.geometry.nodesize);
}

Result<void> check_data_extent(const ItemView& item, uint64_t flags) {
  if (is_skinny(item)) [[unlikely]]
    return invalid_item(kind, item, "METADATA_ITEM for data", "EXTENT_ITEM", item.key);
  TRY(check_aligned(kind, item, "extent length not aligned", item.key.offset));
  if (flags & extent_flag::full_backref) [[unlikely]]
    return invalid_item(kind, item, "data extent with full back references", "no flag FULL_BACKREF",
                        fmt::format("0x{:x}", flags));
  return {};
}

// The bytes before the inline references, or an error.
Result<uint64_t> check_tree_block_extent(const ItemView& item) {
  if (is_skinny(item)) return sizeof(ExtentItem);
  if (item.key.offset != item.geometry.nodesize) [[unlikely]]
    return invalid_item(kind, item, "extent of a tree block is not a node's size", item.geometry.nodesize,
                        item.key.offset);
  const auto* info = item.get<TreeBlockInfo>(sizeof(ExtentItem));
  if (!info) [[unlikely]]
    return invalid_item(kind, item, "extent of a tree block without its key and level",
                        fmt::format("at least {}", sizeof(ExtentItem) + sizeof(TreeBlockInfo)),
                        item.data.size());
  if (info->level >= max_level) [[unlikely]]
    return invalid_item(kind, item, "level too big", "0 to 7", info->level);
  return sizeof(ExtentItem) + sizeof(TreeBlockInfo);
}

Result<void> check_parent(const ItemView& item, const InlineReference& ref) {
  uint64_t address = ref.offset;
  if (ref.type == ItemType::extent_data_ref)
    address = ref.file_offset;
  else if (ref.type != ItemType::shared_block_ref && ref.type != ItemType::shared_data_ref)
    return {};
  return check_aligned(err::item_backref, item, "reference from an odd place", address);
}

// References come in ascending order of type, and those of one type in descending order of sequence.
Result<void> check_inline_refs(const ItemView& item, uint64_t start, uint64_t refs) {
  uint64_t counted = 0, last_sequence = ~0ull;
  ItemType last_type{};
  for (uint64_t at = start; at < item.data.size();) {
    auto ref = read_inline_ref(item.data.subspan(at));
    if (!ref) [[unlikely]]
      return invalid_item(err::item_backref, item, "inline reference of unknown type or past the item's end",
                          "a reference inside the item",
                          fmt::format("type {} at {}", std::to_integer<unsigned>(item.data[at]), at));
    TRY(check_parent(item, *ref));
    if (ref->type > last_type) last_sequence = ~0ull;
    if (ref->type < last_type || ref->sequence > last_sequence) [[unlikely]]
      return invalid_item(
          err::item_backref, item, "inline references out of order",
          fmt::format("after type {} sequence 0x{:x}", static_cast<unsigned>(last_type), last_sequence),
          fmt::format("type {} sequence 0x{:x}", static_cast<unsigned>(ref->type), ref->sequence));
    if (ref->type == ItemType::extent_data_ref || ref->type == ItemType::shared_data_ref)
      counted += ref->count;
    else if (ref->type != ItemType::extent_owner_ref)
      ++counted;
    last_type = ref->type;
    last_sequence = ref->sequence;
    at += ref->size;
  }
  if (counted > refs) [[unlikely]]
    return invalid_item(err::item_backref, item, "more inline references than the extent has",
                        fmt::format("at most {}", refs), counted);
  return {};
}

Result<void> check_overlap(const ItemView& item, LeafCheck& state) {
  if (item.key.objectid < state.extent_end) [[unlikely]]
    return invalid_item(err::item_extent_overlap, item, "extents overlap",
                        fmt::format("at or after {}", state.extent_end), item.key.objectid);
  state.extent_end = item.key.objectid + (is_skinny(item) ? item.geometry.nodesize : item.key.offset);
  return {};
}

}  // namespace

Result<void> check_extent_item(const ItemView& item, LeafCheck& state) {
  TRY(check_key(item));
  const auto* extent = item.get<ExtentItem>();
  if (!extent) [[unlikely]]
    return invalid_item(kind, item, "extent item too small", fmt::format("at least {}", sizeof(ExtentItem)),
                        item.data.size());
  TRY(check_generation(kind, item, "extent of a future transaction", extent->generation));
  uint64_t flags = extent->flags, start = sizeof(ExtentItem);
  switch (flags & (extent_flag::data | extent_flag::tree_block)) {
    case extent_flag::data: TRY(check_data_extent(item, flags)); break;
    case extent_flag::tree_block: start = TRY(check_tree_block_extent(item)); break;
    default:
      return invalid_item(kind, item, "extent of no kind or of both", "either DATA or TREE_BLOCK",
                          fmt::format("0x{:x}", flags));
  }
  TRY(check_inline_refs(item, start, extent->refs));
  return check_overlap(item, state);
}

}  // namespace karst::btrfs
