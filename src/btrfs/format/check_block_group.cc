#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_block_group{"item-block-group", &item_invalid, EUCLEAN};
}  // namespace err

namespace {

const ErrorKind& kind = err::item_block_group;

Result<void> check_flags(const ItemView& item, uint64_t flags) {
  if (!profile_of(flags)) [[unlikely]]
    return invalid_item(kind, item, "block group of several profiles", "at most one profile",
                        block_group_flags_text(flags));
  switch (flags & block_group::type_mask) {
    case block_group::data:
    case block_group::metadata:
    case block_group::system:
    case block_group::data | block_group::metadata: return {};
    default:
      return invalid_item(kind, item, "invalid type of a block group",
                          "DATA, METADATA, SYSTEM or DATA|METADATA", fmt::format("0x{:x}", flags));
  }
}

}  // namespace

Result<void> check_block_group_item(const ItemView& item, LeafCheck&) {
  TRY(check_range(kind, item, "invalid length of a block group", item.key.objectid, item.key.offset));
  TRY(check_item_size(kind, item, sizeof(BlockGroupItem)));
  const BlockGroupItem& group = *item.get<BlockGroupItem>();
  if (group.chunk_objectid != id::first_chunk_tree) [[unlikely]]
    return invalid_item(kind, item, "block group of another chunk tree", id::first_chunk_tree,
                        group.chunk_objectid);
  if (group.used > item.key.offset) [[unlikely]]
    return invalid_item(kind, item, "more used than the block group has",
                        fmt::format("at most {}", item.key.offset), group.used);
  return check_flags(item, group.flags);
}

}  // namespace karst::btrfs
