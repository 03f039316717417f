// Attributes and file extents of the log, with the checksums of the extents' data.
#include "btrfs/txn/checksum_items.h"
#include "btrfs/txn/file_extents.h"
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/replay.h"
#include "core/checked.h"

namespace karst::btrfs {
namespace {

// An item of the log that holds a file extent.
struct Logged {
  const FileExtentHead& head;
  const FileExtent* on_disk;  // nullptr if inline
  uint64_t start, end;        // in the file
  uint64_t allocated;         // bytes

  bool is_hole() const { return on_disk && on_disk->disk_bytenr == 0; }
};

Result<Logged> decode(const StoredItem& item, const Geometry& geometry) {
  const uint64_t start = item.key.offset;
  const auto* head = overlay<FileExtentHead>(item.data);
  const auto* on_disk = overlay<FileExtent>(item.data);
  if (head && FileExtentType(head->type) == FileExtentType::inline_data) {
    auto end = checked_round_up(checked_add(start, head->ram_bytes.value()).value_or(~0ull),
                                uint64_t{geometry.sectorsize});
    if (end) return Logged{*head, nullptr, start, *end, head->ram_bytes};
  } else if (on_disk) {
    auto end = checked_add(start, on_disk->num_bytes.value());
    uint64_t allocated = on_disk->disk_bytenr == 0 ? 0 : on_disk->num_bytes.value();
    if (end) return Logged{*head, on_disk, start, *end, allocated};
  }
  return Error(karst::err::corrupt, "invalid file extent in a log").at("key", item.key);
}

// The part of the extent that the file shows; a compressed one has checksums only as a whole.
Result<void> replay_checksums(Replay& replay, const FileExtent& extent) {
  uint64_t start = extent.disk_bytenr, length = extent.disk_num_bytes;
  if (Compression(extent.head.compression) == Compression::none) {
    start += extent.offset;
    length = extent.num_bytes;
  }
  return copy_checksums(replay.log, replay.checksums, start, start + length, replay.geometry);
}

}  // namespace

Result<void> replay_attributes(Replay& replay, const StoredItem& item) {
  return replay.items.put(item.key, item.data);
}

Result<void> replay_file_extent(Replay& replay, const StoredItem& item) {
  const uint64_t inode = item.key.objectid;
  Logged logged = TRY(decode(item, replay.geometry));
  TRY(get_inode(replay.items, inode));
  if (logged.on_disk) {
    auto existing = TRY(replay.items.find(item.key));
    if (existing && as_text(existing->data) == as_text(item.data)) return {};
  }
  uint64_t dropped = TRY(drop_file_extents(replay.items, inode, logged.start, logged.end));
  if (!logged.is_hole() || !replay.geometry.has(incompat::no_holes))
    TRY(replay.items.put(item.key, item.data));
  if (logged.on_disk && !logged.is_hole()) TRY(replay_checksums(replay, *logged.on_disk));

  InodeItem changed = TRY(get_inode(replay.items, inode));
  changed.nbytes += logged.allocated - dropped;
  return update_inode(replay.items, inode, changed, replay.transid);
}

}  // namespace karst::btrfs
