// Names of inodes. Each stands in three items: in the directory under the name's hash (DIR_ITEM) and under
// its index (DIR_INDEX), and with the inode as a reference back (INODE_REF, or INODE_EXTREF where that is
// full).
//
// Link counts, and the times of what is linked and unlinked, are left to the caller.
#pragma once
#include <string_view>

#include "btrfs/format/inode.h"
#include "btrfs/txn/item_store.h"

namespace karst::btrfs {

// What a directory entry leads to.
struct EntryTarget {
  Key location;
  uint8_t type = 0;  // a FileType, with file_type_encrypted

  friend bool operator==(const EntryTarget&, const EntryTarget&) = default;
  // Otherwise it is another subvolume.
  bool is_inode() const { return location.type == ItemType::inode_item; }
};

Result<std::optional<EntryTarget>> find_entry(ItemReader& items, uint64_t directory, std::string_view name);
// The entry with that index, if it has that name.
Result<std::optional<EntryTarget>> find_entry_at(ItemReader& items, uint64_t directory, uint64_t index,
                                                 std::string_view name);

// Whether the inode refers back to that name in that directory.
Result<bool> has_reference(ItemReader& items, uint64_t inode, uint64_t directory, std::string_view name);
// The same, of INODE_EXTREF only.
Result<bool> has_extref(ItemReader& items, uint64_t inode, uint64_t directory, std::string_view name);

enum class WithReference : bool { no, yes };

// Adds a name for an inode that is there. False, and nothing changed, if the directory has that name or the
// inode has that reference.
Result<bool> add_link(ItemStore& items, uint64_t directory, uint64_t index, std::string_view name,
                      uint64_t inode, WithReference with_reference, uint64_t transid);

// Removes a name that is there, with its reference.
Result<void> remove_link(ItemStore& items, uint64_t directory, std::string_view name, uint64_t inode,
                         uint64_t transid);
// Removes an entry that leads to another subvolume.
Result<void> remove_subvolume_entry(ItemStore& items, uint64_t directory, uint64_t index,
                                    std::string_view name, uint64_t transid);

}  // namespace karst::btrfs
