#include "btrfs/file/lost_inode.h"

namespace karst::btrfs {
namespace {

// The end of the last extent that is there; 0 if there is none.
Result<uint64_t> end_of_extents(Cursor& cursor, uint64_t inode) {
  if (!TRY(cursor.seek_back({inode, ItemType::extent_data, ~0ull})) || cursor.key().objectid != inode ||
      cursor.key().type != ItemType::extent_data)
    return uint64_t{0};
  const auto* head = cursor.as<FileExtentHead>();
  if (!head) return uint64_t{0};
  uint64_t length = head->ram_bytes;
  if (FileExtentType(head->type) != FileExtentType::inline_data)
    if (const auto* extent = cursor.as<FileExtent>()) length = extent->num_bytes;
  const uint64_t start = cursor.key().offset;
  return length > ~start ? ~0ull : start + length;
}

}  // namespace

Result<Attributes> attributes_or_rest(Cursor& cursor, uint64_t inode, FileType type, bool& lost) {
  lost = false;
  auto known = read_attributes(cursor, inode);
  const Key item{inode, ItemType::inode_item, 0};
  if (known || !known.error().is(err::no_inode) || !cursor.is_lost(item, item)) return known;
  Attributes rest{};
  rest.inode = inode;
  rest.nlink = 1;
  lost = true;
  if (type == FileType::directory) {
    rest.mode = S_IFDIR | 0700;
    return rest;
  }
  rest.size = TRY(end_of_extents(cursor, inode));
  if (rest.size == 0) return known;
  if (type == FileType::regular)
    rest.mode = S_IFREG | 0600;
  else if (type == FileType::symlink)
    rest.mode = S_IFLNK | 0777;
  else
    return known;
  return rest;
}

}  // namespace karst::btrfs
