// Keys: what every btrfs tree is sorted by, the item types, and the reserved object ids.
// Source of the numbers: Linux include/uapi/linux/btrfs_tree.h.
#pragma once
#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <string>
#include <type_traits>

#include "core/bytes.h"
#include "core/endian.h"

namespace karst::btrfs {

// Logical addresses: bytes in the file system's one address space, mapped to devices by chunks.
enum class Logical : uint64_t {};
constexpr uint64_t raw(Logical address) { return static_cast<uint64_t>(address); }

// The type byte of a key. A byte on disk: values not listed are carried through unchanged.
enum class ItemType : uint8_t {
  inode_item = 1,
  inode_ref = 12,
  inode_extref = 13,
  xattr_item = 24,
  verity_desc_item = 36,
  verity_merkle_item = 37,
  orphan_item = 48,
  dir_log_item = 60,
  dir_log_index = 72,
  dir_item = 84,
  dir_index = 96,
  extent_data = 108,
  csum_item = 120,  // obsolete
  extent_csum = 128,
  root_item = 132,
  root_backref = 144,
  root_ref = 156,
  extent_item = 168,
  metadata_item = 169,
  extent_owner_ref = 172,
  tree_block_ref = 176,
  extent_data_ref = 178,
  extent_ref_v0 = 180,  // obsolete
  shared_block_ref = 182,
  shared_data_ref = 184,
  block_group_item = 192,
  free_space_info = 198,
  free_space_extent = 199,
  free_space_bitmap = 200,
  dev_extent = 204,
  dev_item = 216,
  chunk_item = 228,
  raid_stripe = 230,
  identity_remap = 234,
  remap = 235,
  remap_backref = 236,
  qgroup_status = 240,
  qgroup_info = 242,
  qgroup_limit = 244,
  qgroup_relation = 246,
  temporary_item = 248,   // balance item
  persistent_item = 249,  // device statistics
  dev_replace = 250,
  uuid_subvol = 251,
  uuid_received_subvol = 252,
  string_item = 253,
};

// Object ids with a meaning of their own: trees first, then the negative ones.
namespace id {
constexpr uint64_t dev_items = 1;  // in the chunk tree
constexpr uint64_t dev_stats = 0;  // in the device tree
constexpr uint64_t dev_replace = 0;
constexpr uint64_t empty_subvol_dir = 2;
constexpr uint64_t root_tree = 1;
constexpr uint64_t extent_tree = 2;
constexpr uint64_t chunk_tree = 3;
constexpr uint64_t dev_tree = 4;
constexpr uint64_t fs_tree = 5;
constexpr uint64_t root_tree_dir = 6;
constexpr uint64_t csum_tree = 7;
constexpr uint64_t quota_tree = 8;
constexpr uint64_t uuid_tree = 9;
constexpr uint64_t free_space_tree = 10;
constexpr uint64_t block_group_tree = 11;
constexpr uint64_t raid_stripe_tree = 12;
constexpr uint64_t remap_tree = 13;
constexpr uint64_t balance = -4ull;
constexpr uint64_t orphan = -5ull;
constexpr uint64_t tree_log = -6ull;
constexpr uint64_t tree_log_fixup = -7ull;
constexpr uint64_t tree_reloc = -8ull;
constexpr uint64_t data_reloc_tree = -9ull;
constexpr uint64_t extent_csum = -10ull;
constexpr uint64_t free_space = -11ull;
constexpr uint64_t free_ino = -12ull;
constexpr uint64_t csum_change = -13ull;
constexpr uint64_t multiple = -255ull;
constexpr uint64_t first_free = 256;
constexpr uint64_t last_free = -256ull;
constexpr uint64_t first_chunk_tree = 256;
}  // namespace id

// Whether a tree holds files: the top-level subvolume, any other subvolume, or the data relocation tree's
// kin.
constexpr bool is_fs_tree(uint64_t root) {
  return root == id::fs_tree || (root >= id::first_free && root <= id::last_free);
}

// A key in host order. Compared as integers: objectid, then type, then offset.
struct Key {
  uint64_t objectid = 0;
  ItemType type{};
  uint64_t offset = 0;

  friend constexpr bool operator==(const Key&, const Key&) = default;
  friend constexpr std::strong_ordering operator<=>(const Key& a, const Key& b) {
    if (a.objectid != b.objectid) return a.objectid <=> b.objectid;
    if (a.type != b.type) return static_cast<uint8_t>(a.type) <=> static_cast<uint8_t>(b.type);
    return a.offset <=> b.offset;
  }
  static constexpr Key min() { return {}; }
  static constexpr Key max() { return {~0ull, ItemType{255}, ~0ull}; }
  // The next key in order; max() stays max().
  constexpr Key successor() const {
    if (offset != ~0ull) return {objectid, type, offset + 1};
    if (static_cast<uint8_t>(type) != 255) return {objectid, ItemType(static_cast<uint8_t>(type) + 1), 0};
    if (objectid != ~0ull) return {objectid + 1, ItemType{}, 0};
    return *this;
  }
  // The key before in order; min() stays min().
  constexpr Key predecessor() const {
    if (offset != 0) return {objectid, type, offset - 1};
    if (static_cast<uint8_t>(type) != 0) return {objectid, ItemType(static_cast<uint8_t>(type) - 1), ~0ull};
    if (objectid != 0) return {objectid - 1, ItemType{255}, ~0ull};
    return *this;
  }
};

// struct btrfs_disk_key.
struct DiskKey {
  le64 objectid;  //  0
  uint8_t type;   //  8  an ItemType
  le64 offset;    //  9  meaning depends on type

  Key key() const { return {objectid, ItemType(type), offset}; }
  static DiskKey from(const Key& key) { return {key.objectid, static_cast<uint8_t>(key.type), key.offset}; }
};
static_assert(sizeof(DiskKey) == 17 && Overlay<DiskKey>);

// Names as `btrfs inspect-internal dump-tree` prints them. Source of the names: btrfs-progs
// kernel-shared/print-tree.c. A type: "INODE_ITEM", "UNKNOWN.7".
std::string item_type_name(ItemType type);
// The object id's name in a key of that type ("EXTENT_CSUM", "DEV_ITEMS", "256", "-255" …).
std::string objectid_name(uint64_t objectid, ItemType type);
// A root's name: "FS_TREE", "257" …
std::string root_name(uint64_t root);
// The same from the root's key; a relocation tree adds its key's offset, "TREE_RELOC offset=257" (BT-025).
std::string root_name(const Key& root_key);
// "(256 INODE_ITEM 0)", with the rules dump-tree has for offsets: -1, quota groups as level/id, UUIDs in hex.
std::string key_text(const Key& key);
void append_key_text(std::string& out, const Key& key);

}  // namespace karst::btrfs

template <>
struct fmt::formatter<karst::btrfs::Key> : fmt::formatter<std::string> {
  auto format(const karst::btrfs::Key& key, auto& context) const {
    return fmt::formatter<std::string>::format(karst::btrfs::key_text(key), context);
  }
};
template <>
struct fmt::formatter<karst::btrfs::Logical> : fmt::formatter<uint64_t> {
  auto format(karst::btrfs::Logical address, auto& context) const {
    return fmt::formatter<uint64_t>::format(karst::btrfs::raw(address), context);
  }
};
