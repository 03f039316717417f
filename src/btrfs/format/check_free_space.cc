#include "btrfs/format/check_item.h"
#include "btrfs/format/extent.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_free_space{"item-free-space", &item_invalid, EUCLEAN};
}  // namespace err

namespace {

const ErrorKind& kind = err::item_free_space;

Result<void> check_space(const ItemView& item) {
  TRY(check_aligned(kind, item, "free space at an odd address", item.key.objectid));
  TRY(check_aligned(kind, item, "free space of an odd length", item.key.offset));
  return check_range(kind, item, "invalid length of free space", item.key.objectid, item.key.offset);
}

}  // namespace

// Type 0 is used by the version 1 cache only.
Result<void> check_free_space_header(const ItemView& item, LeafCheck&) {
  if (item.key.objectid != id::free_space) return {};
  return check_item_size(kind, item, sizeof(FreeSpaceHeader));
}

Result<void> check_free_space_info(const ItemView& item, LeafCheck&) {
  TRY(check_space(item));
  TRY(check_item_size(kind, item, sizeof(FreeSpaceInfo)));
  const FreeSpaceInfo& info = *item.get<FreeSpaceInfo>();
  if (info.flags & ~free_space_using_bitmaps) [[unlikely]]
    return invalid_item(kind, item, "unknown free space flags",
                        fmt::format("0 or {}", free_space_using_bitmaps), info.flags);
  return {};
}

Result<void> check_free_space_extent(const ItemView& item, LeafCheck&) {
  TRY(check_space(item));
  return check_item_size(kind, item, 0);
}

// A bit for each sector.
Result<void> check_free_space_bitmap(const ItemView& item, LeafCheck&) {
  TRY(check_space(item));
  uint64_t bits = item.key.offset / item.geometry.sectorsize;
  if (bits > free_space_bitmap_bits) [[unlikely]]
    return invalid_item(
        kind, item, "bitmap of too much space",
        fmt::format("at most {}", uint64_t{free_space_bitmap_bits} * item.geometry.sectorsize),
        item.key.offset);
  return check_item_size(kind, item, (bits + 7) / 8);
}

}  // namespace karst::btrfs
