#include "btrfs/txn/inode_items.h"

#include "btrfs/file/attributes.h"

namespace karst::btrfs {

Result<std::optional<InodeItem>> find_inode(ItemReader& items, uint64_t inode) {
  auto found = TRY(items.find(inode_key(inode)));
  if (!found) return std::optional<InodeItem>();
  const auto* item = overlay<InodeItem>(found->data);
  if (!item) return Error(karst::err::corrupt, "inode item is too short").at("inode", inode);
  return std::optional(*item);
}

Result<InodeItem> get_inode(ItemReader& items, uint64_t inode) {
  auto item = TRY(find_inode(items, inode));
  if (!item) return Error(err::no_inode, "no such inode").at("inode", inode);
  return *item;
}

Result<void> update_inode(ItemStore& items, uint64_t inode, InodeItem item, uint64_t transid) {
  item.transid = transid;
  item.block_group = 0;
  return items.replace(inode_key(inode), bytes_of(item));
}

}  // namespace karst::btrfs
