"""What the kernel says about a mounted btrfs as a whole: the content of NAME.info.json."""

import fcntl
import os
import struct
import uuid

from .names import escape

# linux/btrfs.h
BTRFS_IOC_TREE_SEARCH = 0xD0009411
BTRFS_IOC_INO_LOOKUP = 0xD0009412
BTRFS_IOC_SPACE_INFO = 0xC0109414
BTRFS_IOC_DEV_INFO = 0xD000941E
BTRFS_IOC_FS_INFO = 0x8400941F
BTRFS_IOC_GET_FSLABEL = 0x81009431
BTRFS_IOC_GET_FEATURES = 0x80189439
FS_INFO_FLAGS_ALL = 0x7

# linux/btrfs_tree.h
ROOT_TREE_OBJECTID = 1
FS_TREE_OBJECTID = 5
ROOT_TREE_DIR_OBJECTID = 6
FIRST_FREE_OBJECTID = 256
LAST_FREE_OBJECTID = 2**64 - 256
DIR_ITEM_KEY = 84
ROOT_ITEM_KEY = 132
ROOT_BACKREF_KEY = 144
ROOT_ITEM_RDONLY = 1
CSUM_TYPES = ("crc32c", "xxhash64", "sha256", "blake2b")

SEARCH_KEY = struct.Struct("=QQQQQQQIIII32x")
SEARCH_HEADER = struct.Struct("=QQQII")
SEARCH_BUFFER_SIZE = 4096


def uuid_text(raw):
    return str(uuid.UUID(bytes=bytes(raw))) if any(raw) else None


def tree_search(fd, tree, first, last, types):
    """Yields (objectid, type, offset, data) of the items of objects first to last."""
    objectid, key_type, offset = first, 0, 0
    while True:
        buffer = bytearray(SEARCH_BUFFER_SIZE)
        SEARCH_KEY.pack_into(buffer, 0, tree, objectid, last, offset, 2**64 - 1, 0, 2**64 - 1,
                             key_type, 255, 4096, 0)
        fcntl.ioctl(fd, BTRFS_IOC_TREE_SEARCH, buffer)
        count = SEARCH_KEY.unpack_from(buffer)[9]
        if count == 0:
            return
        position = SEARCH_KEY.size
        for _ in range(count):
            _, objectid, offset, key_type, length = SEARCH_HEADER.unpack_from(buffer, position)
            position += SEARCH_HEADER.size
            if key_type in types:
                yield objectid, key_type, offset, bytes(buffer[position:position + length])
            position += length
        if offset < 2**64 - 1:
            offset += 1
        elif key_type < 255:
            key_type, offset = key_type + 1, 0
        else:
            objectid, key_type, offset = objectid + 1, 0, 0
        if objectid > last:
            return


def directory_path(fd, tree, directory):
    """Path of a directory inside its subvolume, with a slash at the end unless empty."""
    args = bytearray(4096)
    struct.pack_into("=QQ", args, 0, tree, directory)
    fcntl.ioctl(fd, BTRFS_IOC_INO_LOOKUP, args)
    return bytes(args[16:]).split(b"\0", 1)[0]


def subvolumes(fd):
    found = {}
    for objectid, key_type, offset, data in tree_search(
            fd, ROOT_TREE_OBJECTID, FS_TREE_OBJECTID, LAST_FREE_OBJECTID,
            (ROOT_ITEM_KEY, ROOT_BACKREF_KEY)):
        if objectid != FS_TREE_OBJECTID and objectid < FIRST_FREE_OBJECTID:
            continue
        subvolume = found.setdefault(objectid, {"id": objectid, "parent": None})
        if key_type == ROOT_ITEM_KEY:
            describe_root(subvolume, data)
        else:
            directory, _, name_length = struct.unpack_from("<QQH", data)
            subvolume["parent"] = offset
            subvolume["directory"] = directory
            subvolume["name"] = data[18:18 + name_length]
    for subvolume in found.values():
        path = subvolume_path(fd, found, subvolume["id"])
        subvolume["path"] = None if path is None else escape(path)
    for subvolume in found.values():
        subvolume.pop("directory", None)
        subvolume.pop("name", None)
    return [found[objectid] for objectid in sorted(found)]


def describe_root(subvolume, item):
    """Fields of struct btrfs_root_item; what follows offset 239 is absent in old, short items."""
    generation, root_dirid, bytenr = struct.unpack_from("<QQQ", item, 160)
    flags, refs = struct.unpack_from("<QI", item, 208)
    subvolume.update(
        generation=generation, root_dirid=root_dirid, bytenr=bytenr, level=item[238],
        readonly=bool(flags & ROOT_ITEM_RDONLY), deleted=refs == 0)
    if len(item) < 439:
        return
    for index, field in enumerate(("uuid", "parent_uuid", "received_uuid")):
        subvolume[field] = uuid_text(item[247 + 16 * index:263 + 16 * index])
    transids = struct.unpack_from("<QQQQ", item, 295)
    for field, value in zip(("ctransid", "otransid", "stransid", "rtransid"), transids):
        subvolume[field] = value
    for index, field in enumerate(("ctime", "otime", "stime", "rtime")):
        seconds, nanoseconds = struct.unpack_from("<qI", item, 327 + 12 * index)
        subvolume[field] = f"{seconds}.{nanoseconds:09d}"


def subvolume_path(fd, found, objectid):
    """Path from the top level; None for one that is deleted or below a deleted one."""
    if objectid == FS_TREE_OBJECTID:
        return b""
    subvolume = found[objectid]
    if subvolume["parent"] is None or subvolume["parent"] not in found:
        return None
    above = subvolume_path(fd, found, subvolume["parent"])
    if above is None:
        return None
    inside = directory_path(fd, subvolume["parent"], subvolume["directory"])
    return above + (b"/" if above else b"") + inside + subvolume["name"]


def default_subvolume(fd):
    for _, _, _, data in tree_search(fd, ROOT_TREE_OBJECTID, ROOT_TREE_DIR_OBJECTID,
                                     ROOT_TREE_DIR_OBJECTID, (DIR_ITEM_KEY,)):
        location, _, _, _, name_length = struct.unpack_from("<QxQQHH", data)
        if data[30:30 + name_length] == b"default":
            return location
    return FS_TREE_OBJECTID


def space_info(fd):
    """The lines of `btrfs filesystem df`: flags, total and used bytes of each kind of chunk."""
    probe = bytearray(16)
    fcntl.ioctl(fd, BTRFS_IOC_SPACE_INFO, probe)
    _, slots = struct.unpack_from("=QQ", probe)
    buffer = bytearray(16 + 24 * slots)
    struct.pack_into("=QQ", buffer, 0, slots, 0)
    fcntl.ioctl(fd, BTRFS_IOC_SPACE_INFO, buffer)
    spaces = (struct.unpack_from("=QQQ", buffer, 16 + 24 * slot) for slot in range(slots))
    return [{"flags": flags, "total": total, "used": used} for flags, total, used in spaces]


def devices(fd, highest_devid):
    found = []
    for devid in range(highest_devid + 1):
        args = bytearray(4096)
        struct.pack_into("=Q", args, 0, devid)
        try:
            fcntl.ioctl(fd, BTRFS_IOC_DEV_INFO, args)
        except OSError:
            continue
        used, total = struct.unpack_from("=QQ", args, 24)
        found.append({"devid": devid, "uuid": uuid_text(args[8:24]), "used": used, "total": total})
    return found


def collect(directory):
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        info = bytearray(1024)
        struct.pack_into("=Q", info, 16 + 16 + 16, FS_INFO_FLAGS_ALL)
        fcntl.ioctl(fd, BTRFS_IOC_FS_INFO, info)
        highest_devid, device_count = struct.unpack_from("=QQ", info)
        nodesize, sectorsize, _, csum_type, _ = struct.unpack_from("=IIIHH", info, 32)
        _, generation = struct.unpack_from("=QQ", info, 48)
        label = fcntl.ioctl(fd, BTRFS_IOC_GET_FSLABEL, bytes(256)).split(b"\0", 1)[0]
        features = fcntl.ioctl(fd, BTRFS_IOC_GET_FEATURES, bytes(24))
        compat, compat_ro, incompat = struct.unpack("=QQQ", features)
        numbers = os.fstatvfs(fd)
        return {
            "label": escape(label),
            "fsid": uuid_text(info[16:32]),
            "metadata_uuid": uuid_text(info[64:80]),
            "generation": generation,
            "nodesize": nodesize,
            "sectorsize": sectorsize,
            "csum_type": CSUM_TYPES[csum_type],
            "compat_flags": compat,
            "compat_ro_flags": compat_ro,
            "incompat_flags": incompat,
            "num_devices": device_count,
            "kernel_devices": devices(fd, highest_devid),
            "statfs": {"bsize": numbers.f_bsize, "blocks": numbers.f_blocks,
                       "bfree": numbers.f_bfree, "bavail": numbers.f_bavail},
            "spaces": space_info(fd),
            "default_subvolid": default_subvolume(fd),
            "subvolumes": subvolumes(fd),
        }
    finally:
        os.close(fd)
