#include "btrfs/format/check_item.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_verity{"item-verity", &item_invalid, EUCLEAN};
}  // namespace err

// Offset 0 has the sizes, offset 1 and up the descriptor itself.
Result<void> check_verity_desc(const ItemView& item, LeafCheck&) {
  if (item.key.offset != 0) return {};
  TRY(check_item_size(err::item_verity, item, sizeof(VerityDescriptorItem)));
  if (item.get<VerityDescriptorItem>()->encryption != 0) [[unlikely]]
    return invalid_item(err::item_verity, item, "encrypted descriptor", 0,
                        item.get<VerityDescriptorItem>()->encryption);
  return {};
}

}  // namespace karst::btrfs
