#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_uuid{"item-uuid", &item_invalid, EUCLEAN};
}  // namespace err

// The ids of the subvolumes that have the UUID.
Result<void> check_uuid_item(const ItemView& item, LeafCheck&) {
  if (item.data.empty() || item.data.size() % sizeof(le64) != 0) [[unlikely]]
    return invalid_item(err::item_uuid, item, "item is not whole subvolume ids", "a multiple of 8",
                        item.data.size());
  return {};
}

}  // namespace karst::btrfs
