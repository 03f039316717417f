#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_csum{"item-csum", &item_invalid, EUCLEAN};
const ErrorKind item_csum_overlap{"item-csum-overlap", &item_csum, EUCLEAN};
}  // namespace err

Result<void> check_csum_item(const ItemView& item, LeafCheck&) {
  if (item.key.objectid != id::extent_csum) [[unlikely]]
    return invalid_item(err::item_csum, item, "checksums under another object", "EXTENT_CSUM",
                        item.key.objectid);
  TRY(check_aligned(err::item_csum, item, "checksums of an odd address", item.key.offset));
  uint64_t size = item.data.size(), one = item.geometry.checksum_size;
  if (size == 0 || size % one != 0) [[unlikely]]
    return invalid_item(err::item_csum, item, "item is not whole checksums",
                        fmt::format("a multiple of {}", one), size);
  TRY(check_range(err::item_csum, item, "checksums of too much", item.key.offset,
                  size / one * item.geometry.sectorsize));
  if (item.slot == 0) return {};
  const Item& before = item.leaf.item(item.slot - 1);
  if (ItemType(before.key.type) != ItemType::extent_csum) return {};
  uint64_t end = before.key.offset + before.size / one * item.geometry.sectorsize;
  if (end > item.key.offset) [[unlikely]]
    return invalid_item(err::item_csum_overlap, item, "checksums overlap", fmt::format("at or after {}", end),
                        item.key.offset);
  return {};
}

}  // namespace karst::btrfs
