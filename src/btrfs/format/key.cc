#include "btrfs/format/key.h"

#include <iterator>

#include "btrfs/format/quota.h"

namespace karst::btrfs {
namespace {

// nullptr where there is none.
constexpr const char* known_type_name(ItemType type) {
  switch (type) {
    case ItemType::inode_item: return "INODE_ITEM";
    case ItemType::inode_ref: return "INODE_REF";
    case ItemType::inode_extref: return "INODE_EXTREF";
    case ItemType::xattr_item: return "XATTR_ITEM";
    case ItemType::verity_desc_item: return "VERITY_DESC_ITEM";
    case ItemType::verity_merkle_item: return "VERITY_MERKLE_ITEM";
    case ItemType::orphan_item: return "ORPHAN_ITEM";
    case ItemType::dir_log_item: return "DIR_LOG_ITEM";
    case ItemType::dir_log_index: return "DIR_LOG_INDEX";
    case ItemType::dir_item: return "DIR_ITEM";
    case ItemType::dir_index: return "DIR_INDEX";
    case ItemType::extent_data: return "EXTENT_DATA";
    case ItemType::csum_item: return "CSUM_ITEM";
    case ItemType::extent_csum: return "EXTENT_CSUM";
    case ItemType::root_item: return "ROOT_ITEM";
    case ItemType::root_backref: return "ROOT_BACKREF";
    case ItemType::root_ref: return "ROOT_REF";
    case ItemType::extent_item: return "EXTENT_ITEM";
    case ItemType::metadata_item: return "METADATA_ITEM";
    case ItemType::extent_owner_ref: return "EXTENT_OWNER_REF";
    case ItemType::tree_block_ref: return "TREE_BLOCK_REF";
    case ItemType::extent_data_ref: return "EXTENT_DATA_REF";
    case ItemType::extent_ref_v0: return "EXTENT_REF_V0";
    case ItemType::shared_block_ref: return "SHARED_BLOCK_REF";
    case ItemType::shared_data_ref: return "SHARED_DATA_REF";
    case ItemType::block_group_item: return "BLOCK_GROUP_ITEM";
    case ItemType::free_space_info: return "FREE_SPACE_INFO";
    case ItemType::free_space_extent: return "FREE_SPACE_EXTENT";
    case ItemType::free_space_bitmap: return "FREE_SPACE_BITMAP";
    case ItemType::dev_extent: return "DEV_EXTENT";
    case ItemType::dev_item: return "DEV_ITEM";
    case ItemType::chunk_item: return "CHUNK_ITEM";
    case ItemType::raid_stripe: return "RAID_STRIPE";
    case ItemType::identity_remap: return "IDENTITY_REMAP";
    case ItemType::remap: return "REMAP";
    case ItemType::remap_backref: return "REMAP_BACKREF";
    case ItemType::qgroup_status: return "QGROUP_STATUS";
    case ItemType::qgroup_info: return "QGROUP_INFO";
    case ItemType::qgroup_limit: return "QGROUP_LIMIT";
    case ItemType::qgroup_relation: return "QGROUP_RELATION";
    case ItemType::temporary_item: return "TEMPORARY_ITEM";
    case ItemType::persistent_item: return "PERSISTENT_ITEM";
    case ItemType::dev_replace: return "DEV_REPLACE";
    case ItemType::uuid_subvol: return "UUID_KEY_SUBVOL";
    case ItemType::uuid_received_subvol: return "UUID_KEY_RECEIVED_SUBVOL";
    case ItemType::string_item: return "STRING_ITEM";
  }
  return nullptr;
}

// nullptr where there is none. 1 is the root tree, except in keys of device items; 256 has a name in keys
// of chunks only.
constexpr const char* known_objectid_name(uint64_t objectid, ItemType type) {
  switch (objectid) {
    case id::root_tree: return type == ItemType::dev_item ? "DEV_ITEMS" : "ROOT_TREE";
    case id::extent_tree: return "EXTENT_TREE";
    case id::chunk_tree: return "CHUNK_TREE";
    case id::dev_tree: return "DEV_TREE";
    case id::fs_tree: return "FS_TREE";
    case id::root_tree_dir: return "ROOT_TREE_DIR";
    case id::csum_tree: return "CSUM_TREE";
    case id::quota_tree: return "QUOTA_TREE";
    case id::uuid_tree: return "UUID_TREE";
    case id::free_space_tree: return "FREE_SPACE_TREE";
    case id::block_group_tree: return "BLOCK_GROUP_TREE";
    case id::raid_stripe_tree: return "RAID_STRIPE_TREE";
    case id::remap_tree: return "REMAP_TREE";
    case id::balance: return "BALANCE";
    case id::orphan: return "ORPHAN";
    case id::tree_log: return "TREE_LOG";
    case id::tree_log_fixup: return "LOG_FIXUP";
    case id::tree_reloc: return "TREE_RELOC";
    case id::data_reloc_tree: return "DATA_RELOC_TREE";
    case id::extent_csum: return "EXTENT_CSUM";
    case id::free_space: return "FREE_SPACE";
    case id::free_ino: return "FREE_INO";
    case id::csum_change: return "CSUM_CHANGE";
    case id::multiple: return "MULTIPLE";
    case ~0ull: return "-1";
    case id::first_chunk_tree: return type == ItemType::chunk_item ? "FIRST_CHUNK_TREE" : nullptr;
    default: return nullptr;
  }
}

void append_number(std::string& out, uint64_t number) {
  fmt::format_int text(number);
  out.append(text.data(), text.size());
}

void append_qgroup(std::string& out, uint64_t qgroupid) {
  fmt::format_to(std::back_inserter(out), "{}/{}", qgroup_level(qgroupid), qgroup_subvolid(qgroupid));
}

void append_hex(std::string& out, uint64_t number) {
  fmt::format_to(std::back_inserter(out), "0x{:016x}", number);
}

void append_objectid(std::string& out, uint64_t objectid, ItemType type) {
  switch (type) {
    case ItemType::persistent_item:
      if (objectid == id::dev_stats)
        out += "DEV_STATS";
      else
        append_number(out, objectid);
      return;
    case ItemType::dev_extent: append_number(out, objectid); return;  // a device's id
    case ItemType::qgroup_relation: append_qgroup(out, objectid); return;
    case ItemType::uuid_subvol:
    case ItemType::uuid_received_subvol: append_hex(out, objectid); return;
    default: break;
  }
  if (const char* name = known_objectid_name(objectid, type))
    out += name;
  else
    append_number(out, objectid);
}

void append_type(std::string& out, uint64_t objectid, ItemType type) {
  // The version 1 space cache has its header under type 0.
  if (type == ItemType{} && objectid == id::free_space) {
    out += "UNTYPED";
  } else if (const char* name = known_type_name(type)) {
    out += name;
  } else {
    out += "UNKNOWN.";
    append_number(out, static_cast<uint8_t>(type));
  }
}

void append_offset(std::string& out, const Key& key) {
  switch (key.type) {
    case ItemType::qgroup_relation:
    case ItemType::qgroup_info:
    case ItemType::qgroup_limit: append_qgroup(out, key.offset); return;
    case ItemType::uuid_subvol:
    case ItemType::uuid_received_subvol: append_hex(out, key.offset); return;
    case ItemType::root_item:
      // A relocation tree's offset is the subvolume it relocates; any other's is a transaction.
      if (key.objectid == id::tree_reloc)
        append_objectid(out, key.offset, key.type);
      else
        append_number(out, key.offset);
      return;
    default: break;
  }
  if (key.offset == ~0ull)
    out += "-1";
  else
    append_number(out, key.offset);
}

}  // namespace

std::string item_type_name(ItemType type) {
  std::string out;
  append_type(out, 0, type);
  return out;
}

std::string objectid_name(uint64_t objectid, ItemType type) {
  std::string out;
  append_objectid(out, objectid, type);
  return out;
}

std::string root_name(uint64_t root) { return objectid_name(root, ItemType{}); }

std::string root_name(const Key& root_key) {
  std::string out = root_name(root_key.objectid);
  if (root_key.objectid == id::tree_reloc) {
    out += " offset=";
    append_number(out, root_key.offset);
  }
  return out;
}

void append_key_text(std::string& out, const Key& key) {
  out += '(';
  append_objectid(out, key.objectid, key.type);
  out += ' ';
  append_type(out, key.objectid, key.type);
  out += ' ';
  append_offset(out, key);
  out += ')';
}

std::string key_text(const Key& key) {
  std::string out;
  append_key_text(out, key);
  return out;
}

}  // namespace karst::btrfs
