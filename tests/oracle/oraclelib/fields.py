"""The fields of superblocks, tree blocks and items, as places in their bytes.

A kind is the item's type, with what makes it a different thing in parentheses: INODE_ITEM(directory). A field is a
number of 1, 2, 4 or 8 bytes, or, where its name ends with an apostrophe, bytes that are no number.
Source of all layouts: Linux include/uapi/linux/btrfs_tree.h.
"""

import stat
from typing import NamedTuple

from .ondisk import HEADER_SIZE, KEY_PTR_SIZE, number

KEY = "objectid:8 type:1 offset:8"
TREES = {1: "root", 2: "extent", 3: "chunk", 4: "dev", 5: "fs", 7: "csum", 8: "quota", 9: "uuid", 10: "free-space",
         11: "block-group", 12: "stripe", 2 ** 64 - 6: "log", 2 ** 64 - 8: "reloc", 2 ** 64 - 9: "data-reloc"}

TIMES = " ".join(f"{name}.sec:8 {name}.nsec:4" for name in ("atime", "ctime", "mtime", "otime"))
INODE = f"generation:8 transid:8 size:8 nbytes:8 block_group:8 nlink:4 uid:4 gid:4 mode:4 rdev:8 flags:8 sequence:8 reserved':32 {TIMES}"
DEV_ITEM = ("devid:8 total_bytes:8 bytes_used:8 io_align:4 io_width:4 sector_size:4 type:8 generation:8 start_offset:8"
            " dev_group:4 seek_speed:1 bandwidth:1 uuid':16 fsid':16")
CHUNK = "length:8 owner:8 stripe_len:8 type:8 io_align:4 io_width:4 sector_size:4 num_stripes:2 sub_stripes:2"
STRIPE = "devid:8 offset:8 dev_uuid':16"


def prefixed(prefix, fields):
    return " ".join(f"{prefix}.{field}" for field in fields.split())


BACKUP = ("tree_root:8 tree_root_gen:8 chunk_root:8 chunk_root_gen:8 extent_root:8 extent_root_gen:8 fs_root:8"
          " fs_root_gen:8 dev_root:8 dev_root_gen:8 csum_root:8 csum_root_gen:8 total_bytes:8 bytes_used:8 num_devices:8"
          " unused_64':32 tree_root_level:1 chunk_root_level:1 extent_root_level:1 fs_root_level:1 dev_root_level:1"
          " csum_root_level:1 unused_8':10")
SUPER = ("csum':32 fsid':16 bytenr:8 flags:8 magic':8 generation:8 root:8 chunk_root:8 log_root:8 log_root_transid:8"
         " total_bytes:8 bytes_used:8 root_dir_objectid:8 num_devices:8 sectorsize:4 nodesize:4 leafsize:4 stripesize:4"
         " sys_chunk_array_size:4 chunk_root_generation:8 compat_flags:8 compat_ro_flags:8 incompat_flags:8 csum_type:2"
         f" root_level:1 chunk_root_level:1 log_root_level:1 {prefixed('dev_item', DEV_ITEM)} label':256 cache_generation:8"
         " uuid_tree_generation:8 metadata_uuid':16 nr_global_roots:8 remap_root:8 remap_root_generation:8"
         f" remap_root_level:1 reserved':199 {prefixed('sys_chunk.key', KEY)} {prefixed('sys_chunk', CHUNK)}"
         f" {prefixed('sys_chunk.stripe', STRIPE)}")
SUPER_BACKUPS = 811 + 2048

ITEMS = {
    "INODE_ITEM": INODE,
    "ROOT_ITEM": f"{prefixed('inode', INODE)} generation:8 root_dirid:8 bytenr:8 byte_limit:8 bytes_used:8 last_snapshot:8"
                 f" flags:8 refs:4 {prefixed('drop_progress', KEY)} drop_level:1 level:1 generation_v2:8 uuid':16"
                 " parent_uuid':16 received_uuid':16 ctransid:8 otransid:8 stransid:8 rtransid:8"
                 f" {prefixed('ctime', 'sec:8 nsec:4')} {prefixed('otime', 'sec:8 nsec:4')}"
                 f" {prefixed('stime', 'sec:8 nsec:4')} {prefixed('rtime', 'sec:8 nsec:4')} reserved':64",
    "BLOCK_GROUP_ITEM": "used:8 chunk_objectid:8 flags:8",
    "FREE_SPACE_INFO": "extent_count:4 flags:4",
    "DEV_EXTENT": "chunk_tree:8 chunk_objectid:8 chunk_offset:8 length:8 chunk_tree_uuid':16",
    "DEV_ITEM": DEV_ITEM,
    "QGROUP_STATUS": "version:8 generation:8 flags:8 rescan:8 enable_gen:8",
    "QGROUP_INFO": "generation:8 rfer:8 rfer_cmpr:8 excl:8 excl_cmpr:8",
    "QGROUP_LIMIT": "flags:8 max_rfer:8 max_excl:8 rsv_rfer:8 rsv_excl:8",
    "EXTENT_DATA_REF": "root:8 objectid:8 offset:8 count:4",
    "SHARED_DATA_REF": "count:4",
    "DEV_STATS": "write:8 read:8 flush:8 corruption:8 generation:8",
    "DEV_REPLACE": "src_devid:8 cursor_left:8 cursor_right:8 mode:8 state:8 started:8 stopped:8 write_errors:8 read_errors:8",
    "FREE_SPACE_HEADER": f"{prefixed('location', KEY)} generation:8 num_entries:8 num_bitmaps:8",
    "DIR_LOG_INDEX": "end:8",
    "UUID_SUBVOL": "subvolume:8",
    "UUID_RECEIVED": "subvolume:8",
    "BALANCE": "flags:8 data.profiles:8 data.usage:8",
}
NAMES = {1: "INODE_ITEM", 12: "INODE_REF", 13: "INODE_EXTREF", 24: "XATTR_ITEM", 48: "ORPHAN_ITEM", 60: "DIR_LOG_ITEM",
         72: "DIR_LOG_INDEX", 84: "DIR_ITEM", 96: "DIR_INDEX", 108: "EXTENT_DATA", 128: "EXTENT_CSUM", 132: "ROOT_ITEM",
         144: "ROOT_BACKREF", 156: "ROOT_REF", 168: "EXTENT_ITEM", 169: "METADATA_ITEM", 172: "EXTENT_OWNER_REF",
         176: "TREE_BLOCK_REF", 178: "EXTENT_DATA_REF", 182: "SHARED_BLOCK_REF", 184: "SHARED_DATA_REF",
         192: "BLOCK_GROUP_ITEM", 198: "FREE_SPACE_INFO", 199: "FREE_SPACE_EXTENT", 200: "FREE_SPACE_BITMAP",
         204: "DEV_EXTENT", 216: "DEV_ITEM", 228: "CHUNK_ITEM", 240: "QGROUP_STATUS", 242: "QGROUP_INFO",
         244: "QGROUP_LIMIT", 246: "QGROUP_RELATION", 248: "TEMPORARY_ITEM", 249: "DEV_STATS", 250: "DEV_REPLACE",
         251: "UUID_SUBVOL", 252: "UUID_RECEIVED"}
INLINE_REFS = {172: ("OWNER_REF", "root:8"), 176: ("TREE_BLOCK_REF", "root:8"), 178: ("EXTENT_DATA_REF",
               ITEMS["EXTENT_DATA_REF"]), 182: ("SHARED_BLOCK_REF", "parent:8"), 184: ("SHARED_DATA_REF",
               "parent:8 count:4")}
FILE_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


class Field(NamedTuple):
    kind: str
    name: str
    at: int  # in the block
    size: int

    @property
    def title(self):
        return f"{self.kind}.{self.name}"

    @property
    def is_bytes(self):
        return self.name.endswith("'")


def layout(kind, text, at):
    """Fields that follow each other."""
    for part in text.split():
        name, size = part.rsplit(":", 1)
        yield Field(kind, name, at, int(size))
        at += int(size)


def width(text):
    return sum(int(part.rsplit(":", 1)[1]) for part in text.split())


def tree_name(tree):
    return TREES.get(tree, "fs")


def super_fields(data):
    yield from layout("SUPER", SUPER, 0)
    for slot in range(4):
        yield from layout("SUPER(backup)", BACKUP, SUPER_BACKUPS + slot * 168)


def header_fields(block):
    kind = f"{'NODE' if block.level else 'LEAF'}({tree_name(block.tree)})"
    yield from layout(kind, "csum':32 fsid':16 bytenr:8 flags:7 revision:1 chunk_tree_uuid':16 generation:8 owner:8"
                      " nritems:4 level:1", 0)


def block_fields(block):
    yield from header_fields(block)
    if block.level:
        for at, _ in block.pointers():
            yield from layout(f"KEY_PTR({tree_name(block.tree)})", f"{prefixed('key', KEY)} blockptr:8 generation:8", at)
        return
    for head, key, start, end in block.items():
        kind = item_kind(block, key, start, end)
        yield from layout(kind, f"{prefixed('key', KEY)} item.offset:4 item.size:4", head)
        yield from item_fields(kind, block.data, start, end)


def item_kind(block, key, start, end):
    objectid, item_type, offset = key
    data = block.data[start:end]
    name = NAMES.get(item_type, f"ITEM_{item_type}")
    if item_type == 0:
        name = "FREE_SPACE_HEADER"
    if item_type == 1:
        return f"{name}({inode_kind(block, key, data)})"
    if item_type in (84, 96) and data[8] == ROOT_ITEM_TYPE:
        return f"{name}(subvolume)"
    if item_type == 108:
        return f"{name}({extent_kind(block, data)})"
    if item_type == 132:
        return f"{name}({'subvolume' if is_subvolume(objectid) else tree_name(objectid)})"
    if item_type == 168:
        return f"{name}({'tree' if number(data, 16) & 2 else 'data'})"
    if item_type == 248:
        return "BALANCE"
    if block.tree == 2 ** 64 - 6:
        return f"{name}(log)"
    return name


ROOT_ITEM_TYPE = 132


def is_subvolume(tree):
    return tree == 5 or 256 <= tree < 2 ** 64 - 256


def inode_kind(block, key, data):
    if tree_name(block.tree) != "fs":
        return tree_name(block.tree)
    if key[0] == 256:
        return "top"
    kind = FILE_TYPES.get(stat.S_IFMT(number(data, 52, 4)), "special")
    return kind if number(data, 40, 4) else f"orphan {kind}"


def extent_kind(block, data):
    where = "" if tree_name(block.tree) == "fs" else tree_name(block.tree) + " "
    if data[20] == 0:
        return where + ("inline compressed" if data[16] else "inline")
    if number(data, 21) == 0:
        return where + "hole"
    if data[20] == 2:
        return where + "preallocated"
    return where + ("compressed" if data[16] else "regular")


def item_fields(kind, data, start, end):
    name = kind.split("(")[0]
    if name in ITEMS:
        fields = ITEMS[name]
        while width(fields) > end - start:  # written by something older
            fields = fields.rsplit(" ", 1)[0]
        yield from layout(kind, fields, start)
    elif name == "INODE_REF":
        yield from named(kind, data, start, end, "index:8 name_len:2", 8)
    elif name == "INODE_EXTREF":
        yield from named(kind, data, start, end, "parent:8 index:8 name_len:2", 16)
    elif name in ("ROOT_REF", "ROOT_BACKREF"):
        yield from named(kind, data, start, end, "dirid:8 sequence:8 name_len:2", 16)
    elif name in ("DIR_ITEM", "DIR_INDEX", "XATTR_ITEM"):
        while start < end:
            yield from layout(kind, f"{prefixed('location', KEY)} transid:8 data_len:2 name_len:2 type:1", start)
            name_len, data_len = number(data, start + 27, 2), number(data, start + 25, 2)
            yield Field(kind, "name'", start + 30, name_len)
            if data_len:
                yield Field(kind, "data'", start + 30 + name_len, data_len)
            start += 30 + name_len + data_len
    elif name == "EXTENT_DATA":
        yield from layout(kind, "generation:8 ram_bytes:8 compression:1 encryption:1 other_encoding:2 type:1", start)
        if data[start + 20] == 0:
            yield Field(kind, "data'", start + 21, end - start - 21)
        else:
            yield from layout(kind, "disk_bytenr:8 disk_num_bytes:8 offset:8 num_bytes:8", start + 21)
    elif name in ("EXTENT_ITEM", "METADATA_ITEM"):
        yield from extent_fields(kind, data, start, end)
    elif name == "CHUNK_ITEM":
        yield from layout(kind, CHUNK, start)
        for at in range(start + width(CHUNK), end, width(STRIPE)):
            yield from layout(kind, prefixed("stripe", STRIPE), at)
    elif name in ("EXTENT_CSUM", "FREE_SPACE_BITMAP"):
        yield Field(kind, "data'", start, end - start)


def named(kind, data, start, end, fields, length_at):
    while start < end:
        yield from layout(kind, fields, start)
        length = number(data, start + length_at, 2)
        start += width(fields)
        yield Field(kind, "name'", start, length)
        start += length


def extent_fields(kind, data, start, end):
    yield from layout(kind, "refs:8 generation:8 flags:8", start)
    start += 24
    if kind == "EXTENT_ITEM(tree)":
        yield from layout(kind, f"{prefixed('key', KEY)} level:1".replace("key.", "first_key."), start)
        start += 18
    while start < end:
        name, fields = INLINE_REFS[data[start]]
        yield from layout(kind, prefixed(name, f"type:1 {fields}"), start)
        start += 1 + width(fields)


assert HEADER_SIZE == 101 and KEY_PTR_SIZE == width(f"{KEY} blockptr:8 generation:8")
