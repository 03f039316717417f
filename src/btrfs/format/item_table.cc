#include "btrfs/format/item_table.h"

#include "btrfs/format/item_functions.h"

namespace karst::btrfs {
namespace {

struct TypeRow {
  ItemType type;
  ItemRow row;
};

// clang-format off
constexpr TypeRow rows[] = {
    {ItemType{},                     {check_free_space_header, print_free_space_header, ""}},
    {ItemType::inode_item,           {check_inode_item, print_inode_item, "inode {objectid}"}},
    {ItemType::inode_ref,            {check_inode_ref, print_inode_ref, "names of inode {objectid} in directory {offset}"}},
    {ItemType::inode_extref,         {check_inode_extref, print_inode_extref, "further names of inode {objectid}"}},
    {ItemType::xattr_item,           {check_dir_item, print_dir_item, "attribute of inode {objectid}"}},
    {ItemType::verity_desc_item,     {check_verity_desc, nullptr, "verity descriptor of inode {objectid}"}},
    {ItemType::verity_merkle_item,   {nullptr, nullptr, "verity hashes of inode {objectid}"}},
    {ItemType::orphan_item,          {check_orphan_item, print_orphan_item, "orphan {offset}"}},
    {ItemType::dir_log_item,         {check_dir_log, print_dir_log, "logged names of directory {objectid}"}},
    {ItemType::dir_log_index,        {check_dir_log, print_dir_log, "logged indexes of directory {objectid}"}},
    {ItemType::dir_item,             {check_dir_item, print_dir_item, "name in directory {objectid}"}},
    {ItemType::dir_index,            {check_dir_item, print_dir_item, "entry {offset} of directory {objectid}"}},
    {ItemType::extent_data,          {check_file_extent, print_file_extent, "file extent of inode {objectid} at {offset}"}},
    {ItemType::csum_item,            {nullptr, print_old_csum_item, ""}},
    {ItemType::extent_csum,          {check_csum_item, print_csum_item, "checksums of the data from {offset}"}},
    {ItemType::root_item,            {check_root_item, print_root_item, "root of tree {objectid}"}},
    {ItemType::root_backref,         {check_root_ref, print_root_backref, "place of subvolume {objectid} in {offset}"}},
    {ItemType::root_ref,             {check_root_ref, print_root_ref, "subvolume {offset} in {objectid}"}},
    {ItemType::extent_item,          {check_extent_item, print_extent_item, "extent {objectid}, {offset} bytes"}},
    {ItemType::metadata_item,        {check_extent_item, print_extent_item, "extent {objectid}, tree block of level {offset}"}},
    {ItemType::extent_owner_ref,     {check_keyed_owner_ref, print_extent_owner_ref, "owner of extent {objectid}"}},
    {ItemType::tree_block_ref,       {check_keyed_block_ref, print_tree_block_ref, "reference to extent {objectid} from tree {offset}"}},
    {ItemType::extent_data_ref,      {check_keyed_data_ref, print_extent_data_ref, "reference to extent {objectid}"}},
    {ItemType::extent_ref_v0,        {nullptr, print_extent_ref_v0, ""}},
    {ItemType::shared_block_ref,     {check_keyed_block_ref, print_shared_block_ref, "reference to extent {objectid} from block {offset}"}},
    {ItemType::shared_data_ref,      {check_keyed_shared_data_ref, print_shared_data_ref, "reference to extent {objectid} from block {offset}"}},
    {ItemType::block_group_item,     {check_block_group_item, print_block_group_item, "block group {objectid}, {offset} bytes"}},
    {ItemType::free_space_info,      {check_free_space_info, print_free_space_info, "free space of block group {objectid}"}},
    {ItemType::free_space_extent,    {check_free_space_extent, print_free_space_extent, "free space at {objectid}, {offset} bytes"}},
    {ItemType::free_space_bitmap,    {check_free_space_bitmap, print_free_space_bitmap, "free space bitmap at {objectid}, {offset} bytes"}},
    {ItemType::dev_extent,           {check_dev_extent, print_dev_extent, "extent of device {objectid} at {offset}"}},
    {ItemType::dev_item,             {check_dev_item, print_dev_item, "device {offset}"}},
    {ItemType::chunk_item,           {check_chunk_tree_item, print_chunk_item, "chunk {offset}"}},
    {ItemType::raid_stripe,          {check_raid_stripe, print_raid_stripe, "stripes of {objectid}, {offset} bytes"}},
    {ItemType::identity_remap,       {nullptr, nullptr, ""}},
    {ItemType::remap,                {nullptr, print_remap, ""}},
    {ItemType::remap_backref,        {nullptr, print_remap, ""}},
    {ItemType::qgroup_status,        {check_qgroup_status, print_qgroup_status, "state of quotas"}},
    {ItemType::qgroup_info,          {check_qgroup_info, print_qgroup_info, "usage of a quota group"}},
    {ItemType::qgroup_limit,         {check_qgroup_limit, print_qgroup_limit, "limits of a quota group"}},
    {ItemType::qgroup_relation,      {check_qgroup_relation, nullptr, "relation of quota groups"}},
    {ItemType::temporary_item,       {check_temporary_item, print_temporary_item, "temporary item"}},
    {ItemType::persistent_item,      {check_persistent_item, print_persistent_item, "persistent item {offset}"}},
    {ItemType::dev_replace,          {check_dev_replace, print_dev_replace, "device replacement"}},
    {ItemType::uuid_subvol,          {check_uuid_item, print_uuid_item, "subvolumes of a UUID"}},
    {ItemType::uuid_received_subvol, {check_uuid_item, print_uuid_item, "subvolumes received from a UUID"}},
    {ItemType::string_item,          {nullptr, print_string_item, ""}},
};
// clang-format on

constexpr auto table = [] {
  std::array<ItemRow, 256> all{};
  for (const TypeRow& row : rows) all[static_cast<uint8_t>(row.type)] = row.row;
  return all;
}();

}  // namespace

const ItemRow& item_row(ItemType type) { return table[static_cast<uint8_t>(type)]; }

std::string describe_item(const Key& key) {
  return fmt::format(fmt::runtime(item_row(key.type).description), fmt::arg("objectid", key.objectid),
                     fmt::arg("offset", key.offset));
}

}  // namespace karst::btrfs
