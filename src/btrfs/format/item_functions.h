// The functions that the item table consists of; one file per family implements them.
#pragma once
#include "btrfs/format/item_table.h"

namespace karst::btrfs {

// check_inode.cc
CheckFunction check_inode_item, check_inode_ref, check_inode_extref, check_orphan_item, check_dir_log;
// check_dir.cc: DIR_ITEM, DIR_INDEX and XATTR_ITEM
CheckFunction check_dir_item;
// check_verity.cc
CheckFunction check_verity_desc;
// check_file_extent.cc
CheckFunction check_file_extent;
// check_csum.cc
CheckFunction check_csum_item;
// check_root.cc
CheckFunction check_root_item, check_root_ref;
// check_extent.cc, check_backref.cc
CheckFunction check_extent_item, check_keyed_block_ref, check_keyed_data_ref, check_keyed_shared_data_ref,
    check_keyed_owner_ref;
// check_block_group.cc, check_free_space.cc
CheckFunction check_block_group_item, check_free_space_info, check_free_space_extent, check_free_space_bitmap,
    check_free_space_header;
// check_chunk.cc, check_device.cc
CheckFunction check_chunk_tree_item, check_dev_item, check_dev_extent, check_persistent_item,
    check_dev_replace, check_raid_stripe;
// check_quota.cc
CheckFunction check_qgroup_status, check_qgroup_info, check_qgroup_limit, check_qgroup_relation,
    check_temporary_item;
// check_uuid.cc
CheckFunction check_uuid_item;

// print_inode.cc
PrintFunction print_inode_item, print_inode_ref, print_inode_extref, print_orphan_item, print_dir_log;
// print_dir.cc
PrintFunction print_dir_item;
// print_file_extent.cc
PrintFunction print_file_extent;
// print_csum.cc
PrintFunction print_csum_item, print_old_csum_item;
// print_root.cc
PrintFunction print_root_item, print_root_ref, print_root_backref;
// print_extent.cc, print_backref.cc
PrintFunction print_extent_item, print_tree_block_ref, print_shared_block_ref, print_extent_data_ref,
    print_shared_data_ref, print_extent_owner_ref, print_extent_ref_v0;
// print_block_group.cc, print_free_space.cc
PrintFunction print_block_group_item, print_free_space_info, print_free_space_extent, print_free_space_bitmap,
    print_free_space_header;
// print_chunk.cc, print_device.cc
PrintFunction print_chunk_item, print_dev_item, print_dev_extent, print_persistent_item, print_dev_replace,
    print_raid_stripe, print_remap;
// print_quota.cc
PrintFunction print_qgroup_status, print_qgroup_info, print_qgroup_limit, print_temporary_item;
// print_uuid.cc
PrintFunction print_uuid_item, print_string_item;

}  // namespace karst::btrfs
