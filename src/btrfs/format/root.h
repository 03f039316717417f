// Items of the root tree: roots of trees, and the links between subvolumes.
// Source: Linux include/uapi/linux/btrfs_tree.h, struct btrfs_root_item, btrfs_root_ref.
#pragma once
#include <cstddef>

#include "btrfs/format/inode.h"
#include "core/uuid.h"

namespace karst::btrfs {

namespace root_flag {
constexpr uint64_t readonly = 1ull << 0;
constexpr uint64_t dead = 1ull << 48;
}  // namespace root_flag

// Key: (tree ROOT_ITEM 0), or for a snapshot (tree ROOT_ITEM transaction). Before Linux 3.6 it ended
// before generation_v2; before 2.6.39 the flags of subvolumes were not initialised: they mean something only
// where the flags of the inode have root_item_init.
struct RootItem {
  InodeItem inode;        //   0  not used beyond its fixed fields
  le64 generation;        // 160
  le64 root_dirid;        // 168
  le64 bytenr;            // 176
  le64 byte_limit;        // 184
  le64 bytes_used;        // 192
  le64 last_snapshot;     // 200
  le64 flags;             // 208  root_flag
  le32 refs;              // 216  0: being deleted
  DiskKey drop_progress;  // 220
  uint8_t drop_level;     // 237
  uint8_t level;          // 238
  le64 generation_v2;     // 239  equals generation where what follows is valid
  Uuid uuid;              // 247
  Uuid parent_uuid;       // 263
  Uuid received_uuid;     // 279
  le64 ctransid;          // 295
  le64 otransid;          // 303
  le64 stransid;          // 311
  le64 rtransid;          // 319
  Timespec ctime;         // 327
  Timespec otime;         // 339
  Timespec stime;         // 351
  Timespec rtime;         // 363
  le64 reserved[8];       // 375
};
static_assert(sizeof(RootItem) == 439 && Overlay<RootItem>);
inline bool has_valid_flags(uint64_t tree, const RootItem& root) {
  return !is_fs_tree(tree) || (root.inode.flags & inode_flag::root_item_init) != 0;
}
constexpr size_t root_item_legacy_size = 239;
static_assert(offsetof(RootItem, generation_v2) == root_item_legacy_size);

// Keys: (parent ROOT_REF child), (child ROOT_BACKREF parent). Followed by the name.
struct RootRef {
  le64 dirid;
  le64 sequence;
  le16 name_len;
};
static_assert(sizeof(RootRef) == 18 && Overlay<RootRef>);

}  // namespace karst::btrfs
