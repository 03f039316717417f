#include "btrfs/txn/file_extents.h"

#include "btrfs/format/inode.h"

namespace karst::btrfs {
namespace {

// A file extent, copied out of the store.
struct Piece {
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
  bool is_inline = false;
  FileExtent extent{};  // only its head if inline

  uint64_t end() const { return offset + length; }
  bool allocated() const { return is_inline || extent.disk_bytenr != 0; }
};

Error too_short(const Key& key) {
  return Error(karst::err::corrupt, "file extent item is too short").at("key", key);
}

Result<Piece> decode(const StoredItem& item) {
  const auto* head = overlay<FileExtentHead>(item.data);
  if (!head) return too_short(item.key);
  if (FileExtentType(head->type) == FileExtentType::inline_data)
    return Piece{item.key.offset, head->ram_bytes, true, {}};
  const auto* extent = overlay<FileExtent>(item.data);
  if (!extent) return too_short(item.key);
  return Piece{item.key.offset, extent->num_bytes, false, *extent};
}

bool is_extent_of(const std::optional<StoredItem>& item, uint64_t inode) {
  return item && item->key.objectid == inode && item->key.type == ItemType::extent_data;
}

// The extent that holds `start`, or the first after it.
Result<std::optional<StoredItem>> first_from(ItemStore& items, uint64_t inode, uint64_t start) {
  auto before = TRY(items.seek_back(file_extent_key(inode, start)));
  if (is_extent_of(before, inode)) return before;
  return items.seek(file_extent_key(inode, start));
}

// The part of a piece from `from` on, under its own key.
Result<void> insert_tail(ItemStore& items, uint64_t inode, const Piece& piece, uint64_t from) {
  FileExtent tail = piece.extent;
  tail.offset += from - piece.offset;
  tail.num_bytes = piece.end() - from;
  return items.insert(file_extent_key(inode, from), bytes_of(tail));
}

Result<void> cut(ItemStore& items, uint64_t inode, const Piece& piece, uint64_t start, uint64_t end) {
  Key key = file_extent_key(inode, piece.offset);
  bool keeps_head = piece.offset<start, keeps_tail = piece.end()> end;
  if (piece.is_inline && (keeps_head || keeps_tail))
    return Error(karst::err::corrupt, "part of an inline extent would be dropped").at("key", key);
  if (keeps_head) {
    FileExtent head = piece.extent;
    head.num_bytes = start - piece.offset;
    TRY(items.replace(key, bytes_of(head)));
  } else {
    TRY(items.erase(key));
  }
  if (keeps_tail) TRY(insert_tail(items, inode, piece, end));
  return {};
}

}  // namespace

Result<uint64_t> drop_file_extents(ItemStore& items, uint64_t inode, uint64_t start, uint64_t end) {
  uint64_t allocated = 0;
  auto item = TRY(first_from(items, inode, start));
  while (is_extent_of(item, inode) && item->key.offset < end) {
    Key key = item->key;
    Piece piece = TRY(decode(*item));
    if (piece.length > ~piece.offset)
      return Error(karst::err::corrupt, "file extent wraps around").at("key", key);
    if (piece.end() > start || (piece.length == 0 && piece.offset >= start)) {
      TRY(cut(items, inode, piece, start, end));
      if (piece.allocated()) allocated += std::min(piece.end(), end) - std::max(piece.offset, start);
    }
    if (piece.end() >= end) break;
    item = TRY(items.seek(key.successor()));
  }
  return allocated;
}

}  // namespace karst::btrfs
