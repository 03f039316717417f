#include "btrfs/file/extents.h"

#include <algorithm>

namespace karst::btrfs {

bool ExtentWalker::at_extent() const {
  return cursor_->valid() && cursor_->key().objectid == inode_ &&
         cursor_->key().type == ItemType::extent_data;
}

Result<std::optional<FileRange>> ExtentWalker::seek(uint64_t offset) {
  if (offset >= size_) return std::optional<FileRange>();
  bool found = TRY(cursor_->seek_back({inode_, ItemType::extent_data, offset}));
  uint64_t gap_start = 0;
  if (found && at_extent()) {
    FileRange before = TRY(decode());
    if (offset < before.end()) {
      position_ = before.end();
      return before;
    }
    gap_start = before.end();
  }
  // Past the extent before it: a hole up to the next one.
  if (found)
    TRY(cursor_->next());
  else
    TRY(cursor_->seek({inode_, ItemType::extent_data, 0}));
  while (cursor_->valid() && cursor_->key() < Key{inode_, ItemType::extent_data, 0}) TRY(cursor_->next());
  return from(gap_start);
}

Result<std::optional<FileRange>> ExtentWalker::next() {
  if (position_ >= size_) return std::optional<FileRange>();
  while (at_extent() && cursor_->key().offset < position_) TRY(cursor_->next());
  return from(position_);
}

// The range at `start`: the cursor's extent if it begins there, or a hole up to it. Extents of no length are
// passed over.
Result<std::optional<FileRange>> ExtentWalker::from(uint64_t start) {
  FileRange range;
  while (at_extent() && cursor_->key().offset <= start && range.length == 0) {
    range = TRY(decode());
    if (range.length != 0 && range.end() <= start)
      return Error(karst::err::corrupt, "file extents overlap")
          .at("inode", inode_)
          .at("offset", range.offset);
    if (range.length == 0) TRY(cursor_->next());
  }
  if (range.length == 0) {
    range = {.offset = start};
    range.length = (at_extent() ? std::min<uint64_t>(cursor_->key().offset, size_) : size_) - start;
    if (range.length > 0 && cursor_->is_lost({inode_, ItemType::extent_data, start},
                                             {inode_, ItemType::extent_data, start + range.length - 1}))
      range.kind = RangeKind::lost;
  }
  position_ = range.end();
  return range;
}

// The items have passed the structural checker, so sizes agree with types; what spans items is cut here.
Result<FileRange> ExtentWalker::decode() const {
  Bytes item = cursor_->data();
  const auto* head = overlay<FileExtentHead>(item);
  if (!head) return Error(karst::err::corrupt, "file extent item is too short").at("inode", inode_);
  FileRange range;
  range.offset = cursor_->key().offset;
  range.compression = Compression(head->compression);
  range.ram_bytes = head->ram_bytes;
  if (FileExtentType(head->type) == FileExtentType::inline_data) {
    range.kind = RangeKind::inline_data;
    range.inline_bytes = item.subspan(sizeof *head);
    // An inline extent ends the sector it is in; what it does not fill reads as zeroes.
    range.length = (range.ram_bytes + sectorsize_ - 1) / sectorsize_ * sectorsize_;
  } else {
    const auto* extent = overlay<FileExtent>(item);
    if (!extent) return Error(karst::err::corrupt, "file extent item is too short").at("inode", inode_);
    range.kind = extent->disk_bytenr == 0                                 ? RangeKind::hole
                 : FileExtentType(head->type) == FileExtentType::prealloc ? RangeKind::prealloc
                                                                          : RangeKind::data;
    range.length = extent->num_bytes;
    range.disk_bytenr = extent->disk_bytenr;
    range.disk_num_bytes = extent->disk_num_bytes;
    range.extent_offset = extent->offset;
  }
  if (range.offset < size_) range.length = std::min(range.length, size_ - range.offset);
  return range;
}

}  // namespace karst::btrfs
