// Devices, their extents and statistics, and the replacement of one by another.
#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_dev{"item-dev", &item_invalid, EUCLEAN};
const ErrorKind item_dev_extent{"item-dev-extent", &item_invalid, EUCLEAN};
const ErrorKind item_dev_extent_overlap{"item-dev-extent-overlap", &item_dev_extent, EUCLEAN};
const ErrorKind item_dev_stats{"item-dev-stats", &item_invalid, EUCLEAN};
const ErrorKind item_dev_replace{"item-dev-replace", &item_invalid, EUCLEAN};
const ErrorKind item_raid_stripe{"item-raid-stripe", &item_invalid, EUCLEAN};
}  // namespace err

Result<void> check_dev_item(const ItemView& item, LeafCheck&) {
  const ErrorKind& kind = err::item_dev;
  if (item.key.objectid != id::dev_items) [[unlikely]]
    return invalid_item(kind, item, "device under another object", "DEV_ITEMS", item.key.objectid);
  TRY(check_item_size(kind, item, sizeof(DevItem)));
  const DevItem& device = *item.get<DevItem>();
  if (device.devid != item.key.offset) [[unlikely]]
    return invalid_item(kind, item, "device with another's id", item.key.offset, device.devid);
  // A device being removed has no size left, but nothing in use either.
  if (device.bytes_used > device.total_bytes) [[unlikely]]
    return invalid_item(kind, item, "more used than the device has",
                        fmt::format("at most {}", device.total_bytes), device.bytes_used);
  return {};
}

Result<void> check_dev_extent(const ItemView& item, LeafCheck&) {
  const ErrorKind& kind = err::item_dev_extent;
  TRY(check_item_size(kind, item, sizeof(DevExtent)));
  const DevExtent& extent = *item.get<DevExtent>();
  if (extent.chunk_tree != id::chunk_tree || extent.chunk_objectid != id::first_chunk_tree) [[unlikely]]
    return invalid_item(kind, item, "device extent of another chunk tree",
                        fmt::format("{}, {}", id::chunk_tree, id::first_chunk_tree),
                        fmt::format("{}, {}", extent.chunk_tree, extent.chunk_objectid));
  TRY(check_aligned(kind, item, "device extent at an odd offset", item.key.offset));
  TRY(check_aligned(kind, item, "device extent of a chunk at an odd address", extent.chunk_offset));
  TRY(check_aligned(kind, item, "device extent of an odd length", extent.length));
  TRY(check_range(kind, item, "invalid length of a device extent", item.key.offset, extent.length));
  if (item.slot == 0) return {};
  Key before = item.leaf.item(item.slot - 1).key.key();
  if (before.objectid != item.key.objectid || before.type != item.key.type) return {};
  uint64_t end = before.offset + overlay<DevExtent>(item.leaf.item_data(item.slot - 1))->length;
  if (end > item.key.offset) [[unlikely]]
    return invalid_item(err::item_dev_extent_overlap, item, "device extents overlap",
                        fmt::format("at or after {}", end), item.key.offset);
  return {};
}

// Device statistics are the only kind. Older and newer kernels may have fewer or more values.
Result<void> check_persistent_item(const ItemView& item, LeafCheck&) {
  if (item.key.objectid != id::dev_stats) return {};
  if (item.data.size() % sizeof(le64) != 0) [[unlikely]]
    return invalid_item(err::item_dev_stats, item, "statistics are not whole numbers", "a multiple of 8",
                        item.data.size());
  return {};
}

Result<void> check_dev_replace(const ItemView& item, LeafCheck&) {
  return check_item_size(err::item_dev_replace, item, sizeof(DevReplaceItem));
}

Result<void> check_raid_stripe(const ItemView& item, LeafCheck&) {
  const ErrorKind& kind = err::item_raid_stripe;
  TRY(check_aligned(kind, item, "stripes of an odd address", item.key.objectid));
  if (!item.geometry.has(incompat::raid_stripe_tree)) [[unlikely]]
    return invalid_item(kind, item, "RAID_STRIPE without the feature RAID_STRIPE_TREE", "no such item",
                        item.key);
  if (item.data.empty() || item.data.size() % sizeof(RaidStride) != 0) [[unlikely]]
    return invalid_item(kind, item, "item is not whole strides",
                        fmt::format("a multiple of {}", sizeof(RaidStride)), item.data.size());
  return {};
}

}  // namespace karst::btrfs
