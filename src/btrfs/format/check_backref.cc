// References to extents that have items of their own.
#include "btrfs/format/check_item.h"
#include "btrfs/format/extent.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_backref{"item-backref", &item_invalid, EUCLEAN};
}  // namespace err

namespace {
const ErrorKind& kind = err::item_backref;
}  // namespace

// TREE_BLOCK_REF by a root, SHARED_BLOCK_REF by a parent block.
Result<void> check_keyed_block_ref(const ItemView& item, LeafCheck&) {
  TRY(check_item_size(kind, item, 0));
  TRY(check_aligned(kind, item, "reference to an odd address", item.key.objectid));
  if (item.key.type == ItemType::tree_block_ref) return {};
  return check_aligned(kind, item, "reference from an odd place", item.key.offset);
}

Result<void> check_keyed_shared_data_ref(const ItemView& item, LeafCheck&) {
  TRY(check_item_size(kind, item, sizeof(SharedDataRef)));
  TRY(check_aligned(kind, item, "reference to an odd address", item.key.objectid));
  return check_aligned(kind, item, "reference from an odd place", item.key.offset);
}

// The key's offset is the hash of root, inode and offset, or on a collision the next free number, so that it
// cannot be checked.
Result<void> check_keyed_data_ref(const ItemView& item, LeafCheck&) {
  TRY(check_item_size(kind, item, sizeof(ExtentDataRef)));
  TRY(check_aligned(kind, item, "reference to an odd address", item.key.objectid));
  return check_aligned(kind, item, "reference from an odd place", item.get<ExtentDataRef>()->offset);
}

Result<void> check_keyed_owner_ref(const ItemView& item, LeafCheck&) {
  TRY(check_item_size(kind, item, sizeof(ExtentOwnerRef)));
  return check_aligned(kind, item, "owner of an odd address", item.key.objectid);
}

}  // namespace karst::btrfs
