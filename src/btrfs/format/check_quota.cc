// Quota groups, and the temporary items: a balance or change of checksums in progress.
#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/quota.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_qgroup{"item-qgroup", &item_invalid, EUCLEAN};
const ErrorKind item_balance{"item-balance", &item_invalid, EUCLEAN};
}  // namespace err

// enable_gen came with simple quotas.
Result<void> check_qgroup_status(const ItemView& item, LeafCheck&) {
  uint64_t size = item.data.size();
  if (size == sizeof(QgroupStatusItem)) return {};
  if (size == qgroup_status_legacy_size && !item.geometry.has(incompat::simple_quota)) return {};
  return invalid_item(err::item_qgroup, item, "item of the wrong size", sizeof(QgroupStatusItem), size);
}

Result<void> check_qgroup_info(const ItemView& item, LeafCheck&) {
  return check_item_size(err::item_qgroup, item, sizeof(QgroupInfoItem));
}

Result<void> check_qgroup_limit(const ItemView& item, LeafCheck&) {
  return check_item_size(err::item_qgroup, item, sizeof(QgroupLimitItem));
}

Result<void> check_qgroup_relation(const ItemView& item, LeafCheck&) {
  return check_item_size(err::item_qgroup, item, 0);
}

Result<void> check_temporary_item(const ItemView& item, LeafCheck&) {
  if (item.key.objectid != id::balance) return {};
  return check_item_size(err::item_balance, item, sizeof(BalanceItem));
}

}  // namespace karst::btrfs
