#include "btrfs/format/check_item.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_file_extent{"item-file-extent", &item_invalid, EUCLEAN};
const ErrorKind item_file_extent_overlap{"item-file-extent-overlap", &item_file_extent, EUCLEAN};
}  // namespace err

namespace {

const ErrorKind& kind = err::item_file_extent;

Result<void> check_head(const ItemView& item, const FileExtentHead& head) {
  if (head.type > static_cast<uint8_t>(FileExtentType::prealloc)) [[unlikely]]
    return invalid_item(kind, item, "invalid type of a file extent", "0 to 2", head.type);
  if (head.compression >= compression_max) [[unlikely]]
    return invalid_item(kind, item, "unknown compression", fmt::format("below {}", compression_max),
                        head.compression);
  if (head.encryption != 0) [[unlikely]]
    return invalid_item(kind, item, "unknown encryption", 0, head.encryption);
  if (head.compression != 0 && head.ram_bytes > max_compressed_extent) [[unlikely]]
    return invalid_item(kind, item, "compressed extent too big",
                        fmt::format("at most {}", max_compressed_extent), head.ram_bytes);
  return {};
}

Result<void> check_inline(const ItemView& item, const FileExtentHead& head) {
  if (item.key.offset != 0) [[unlikely]]
    return invalid_item(kind, item, "inline extent not at the start of the file", 0, item.key.offset);
  if (head.compression != 0) return {};
  return check_item_size(kind, item,
                         sizeof(FileExtentHead) + std::min<uint64_t>(head.ram_bytes, max_nodesize));
}

Result<void> check_on_disk(const ItemView& item, const FileExtent& extent) {
  uint32_t misaligned = static_cast<uint32_t>(extent.head.ram_bytes | extent.disk_bytenr |
                                              extent.disk_num_bytes | extent.offset | extent.num_bytes) &
                        (item.geometry.sectorsize - 1);
  if (misaligned != 0) [[unlikely]]
    return invalid_item(
        kind, item, "file extent not aligned to sectors",
        fmt::format("multiples of {}", item.geometry.sectorsize),
        fmt::format("ram_bytes {}, disk_bytenr {}, disk_num_bytes {}, offset {}, num_bytes {}",
                    extent.head.ram_bytes, extent.disk_bytenr, extent.disk_num_bytes, extent.offset,
                    extent.num_bytes));
  // Kernels that met a full file system while punching a hole left extents of no length behind; Linux still
  // reads them, as nothing. Source: Linux fs/btrfs/file.c, btrfs_drop_extents().
  if (extent.num_bytes != 0) {
    TRY(check_range(kind, item, "invalid length of a file extent", item.key.offset, extent.num_bytes));
    TRY(check_range(kind, item, "invalid offset into an extent", extent.offset, extent.num_bytes));
  }
  if (extent.disk_bytenr == 0) return {};  // a hole
  TRY(check_range(kind, item, "invalid length of an extent on disk", extent.disk_bytenr,
                  extent.disk_num_bytes));
  if (extent.head.compression != 0 && extent.disk_num_bytes > max_compressed_extent) [[unlikely]]
    return invalid_item(kind, item, "compressed extent too big on disk",
                        fmt::format("at most {}", max_compressed_extent), extent.disk_num_bytes);
  return {};
}

// Where the file extent before this one ends, in a leaf where that one has been checked.
Result<void> check_after_previous(const ItemView& item) {
  if (item.slot == 0) return {};
  Key before = item.leaf.item(item.slot - 1).key.key();
  if (before.objectid != item.key.objectid || before.type != ItemType::extent_data) return {};
  Bytes data = item.leaf.item_data(item.slot - 1);
  const auto* head = overlay<FileExtentHead>(data);
  uint64_t length = 0;
  if (head->type == static_cast<uint8_t>(FileExtentType::inline_data)) {
    uint64_t mask = item.geometry.sectorsize - 1;
    length = (head->ram_bytes + mask) & ~mask;
  } else {
    length = overlay<FileExtent>(data)->num_bytes;
  }
  if (before.offset + length <= item.key.offset) [[likely]]
    return {};
  return invalid_item(err::item_file_extent_overlap, item, "file extents overlap",
                      fmt::format("at or after {}", before.offset + length), item.key.offset);
}

}  // namespace

Result<void> check_file_extent(const ItemView& item, LeafCheck&) {
  TRY(check_aligned(kind, item, "file extent at an odd offset", item.key.offset));
  TRY(check_follows_inode(item));
  const auto* head = item.get<FileExtentHead>();
  if (!head) [[unlikely]]
    return invalid_item(kind, item, "file extent too small",
                        fmt::format("at least {}", sizeof(FileExtentHead)), item.data.size());
  TRY(check_head(item, *head));
  if (head->type == static_cast<uint8_t>(FileExtentType::inline_data)) return check_inline(item, *head);
  TRY(check_item_size(kind, item, sizeof(FileExtent)));
  TRY(check_on_disk(item, *item.get<FileExtent>()));
  return check_after_previous(item);
}

}  // namespace karst::btrfs
