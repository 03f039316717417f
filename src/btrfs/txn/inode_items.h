// Inode items in a store.
#pragma once
#include "btrfs/format/inode.h"
#include "btrfs/format/inode_mode.h"
#include "btrfs/txn/item_store.h"

namespace karst::btrfs {

constexpr Key inode_key(uint64_t inode) { return {inode, ItemType::inode_item, 0}; }

inline bool is_directory(const InodeItem& item) { return (item.mode & mode::type_mask) == mode::directory; }
inline bool is_regular(const InodeItem& item) { return (item.mode & mode::type_mask) == mode::regular; }

Result<std::optional<InodeItem>> find_inode(ItemReader& items, uint64_t inode);
// err::no_inode if there is no such inode.
Result<InodeItem> get_inode(ItemReader& items, uint64_t inode);
// Writes an inode that is there, as changed by the transaction.
Result<void> update_inode(ItemStore& items, uint64_t inode, InodeItem item, uint64_t transid);

}  // namespace karst::btrfs
