"""Where the verdicts of karst btrfs check and of the stock tool differ, and why that is right.

Titles of fields (oraclelib.fields) as shell patterns, each group with its reason. What is not here is a failure.
"""

import fnmatch

# Karst says broken, the stock tool does not.
STRICTER = {
    # Linux fs/btrfs/tree-checker.c refuses the tree block.
    "check_block_group_item(): the owner of chunks": ["BLOCK_GROUP_ITEM.chunk_objectid"],
    "check_dev_extent_item(): the chunk tree": ["DEV_EXTENT.chunk_tree", "DEV_EXTENT.chunk_objectid"],
    "check_dev_item(), check_leaf_chunk_item(): objects of the chunk tree, types, sizes": [
        "DEV_ITEM.key.*", "CHUNK_ITEM.key.objectid", "CHUNK_ITEM.type", "CHUNK_ITEM.num_stripes"],
    "check_dir_item(): lengths, hash of the name, location, type": [
        "DIR_ITEM*.data_len", "DIR_ITEM*.name_len", "DIR_ITEM*.location.*", "DIR_ITEM*.type", "DIR_ITEM*.name'",
        "DIR_ITEM*.key.offset", "DIR_INDEX*.data_len", "DIR_INDEX*.name_len", "DIR_INDEX*.location.*",
        "DIR_INDEX*.type", "XATTR_ITEM.data_len", "XATTR_ITEM.name_len", "XATTR_ITEM.location.*", "XATTR_ITEM.type",
        "XATTR_ITEM.name'", "XATTR_ITEM.key.offset"],
    "check_extent_data_item(): encodings, alignment": [
        "EXTENT_DATA(*).compression", "EXTENT_DATA(*).encryption", "EXTENT_DATA(*).ram_bytes",
        "EXTENT_DATA(*).key.offset", "EXTENT_DATA(*).num_bytes", "EXTENT_DATA(*).offset", "EXTENT_DATA(*).disk_*",
        "EXTENT_DATA(*).type"],
    "check_extent_item(): either data or a tree block, of no later transaction": [
        "METADATA_ITEM.flags", "METADATA_ITEM.generation", "EXTENT_ITEM(*).flags", "EXTENT_ITEM(*).generation"],
    "check_inode_item(), check_inode_key(): flags, mode, links, generations, an offset of 0": [
        "INODE_ITEM(*).flags", "INODE_ITEM(*).mode", "INODE_ITEM(*).nlink", "INODE_ITEM(*).generation",
        "INODE_ITEM(*).transid", "INODE_ITEM(*).key.offset"],
    "check_root_item(): flags, levels, generations": [
        "ROOT_ITEM(*).flags", "ROOT_ITEM(*).level", "ROOT_ITEM(*).drop_level", "ROOT_ITEM(*).last_snapshot",
        "ROOT_ITEM(*).generation_v2"],
    "check_prev_ino(): names follow their inode": ["INODE_ITEM(root).key.*"],
    "check_csum_item(): object, alignment, size": ["EXTENT_CSUM.key.*"],
    "check_inode_ref(), check_inode_extref(): lengths of names": ["INODE_REF*.name_len", "INODE_EXTREF*.name_len"],
    "__btrfs_check_leaf(), __btrfs_check_node(): written blocks, trees that are never empty": [
        "LEAF(*).flags", "NODE(*).flags", "LEAF(*).nritems"],
    "check_free_space_info(), check_free_space_extent(), check_free_space_bitmap(): flags, alignment": [
        "FREE_SPACE_INFO.flags", "FREE_SPACE_*.key.objectid"],
    # The rest of Linux refuses it.
    "btrfs_verify_level_key(): a node's key is its child's first": [
        "KEY_PTR(*).key.*", "DIR_ITEM(subvolume).key.type"],
    "btrfs_validate_super()": [
        "SUPER.magic'", "SUPER.leafsize", "SUPER.flags", "SUPER.sys_chunk.key.objectid",
        "SUPER.sys_chunk.type"],
    "btrfs_add_chunk_map(): chunks do not overlap": ["CHUNK_ITEM.key.offset", "CHUNK_ITEM.length"],
    "read_one_chunk(): the device of a stripe is there": [
        "CHUNK_ITEM.stripe.devid", "CHUNK_ITEM.stripe.dev_uuid'"],
    "btrfs_verify_dev_extents(): a device extent is a stripe of its chunk": [
        "CHUNK_ITEM.stripe.offset", "DEV_EXTENT.chunk_offset", "DEV_EXTENT.key.offset"],
    "check_chunk_block_group_mappings(): a block group has its chunk's length and flags": [
        "BLOCK_GROUP_ITEM.flags", "BLOCK_GROUP_ITEM.key.offset"],
    "btrfs_validate_extent_buffer(): a block has the generation that leads to it": [
        "LEAF(*).generation", "KEY_PTR(*).generation"],
    "btrfs_read_roots(): trees of Linux's own are found at offset 0": ["ROOT_ITEM(*).key.offset"],
    "btrfs_check_eb_owner(): the owner is the tree": ["LEAF(*).owner"],
    # Linux does not look, and acts wrongly on it or not at all.
    "a system chunk over another one, which Linux then does not map": ["SUPER.sys_chunk.length"],
    "an extent item's level is its block's": ["METADATA_ITEM.key.offset"],
    "a root item's generation is its block's": ["ROOT_ITEM(*).generation"],
    "a file extent of a transaction to come is never logged": ["EXTENT_DATA(*).generation"],
    "hash of a name, which a look-up would not find": [
        "INODE_EXTREF*.key.offset", "INODE_EXTREF*.parent", "INODE_EXTREF*.name'"],
    "references of before Linux 2.6.31, which the stock tool takes for what they are not": ["LEAF(*).revision"],
    "the top directory's name is of itself": ["INODE_REF.key.offset"],
    "an item that becomes one of another type has another size": [
        "DEV_STATS.key.type", "QGROUP_*.key.type", "UUID_SUBVOL.key.type"],
    "btrfs-progs 6.2 does not look at logs, nor at the highest bit of numbers of links": [
        "*(log*).key.*", "*(log*).item.*", "LEAF(log).*", "ROOT_ITEM(subvolume).refs"],
}

# The stock tool says broken, karst does not.
LAXER = {}


def reason_of(table, title):
    return next((reason for reason, patterns in table.items()
                 if any(fnmatch.fnmatchcase(title, pattern) for pattern in patterns)), None)
