"""A btrfs image as bytes: where its tree blocks are on the devices, and how one of them is changed in all its copies.

Just enough of the format to reach every block of an image that is whole; what the fields of items are, `fields` knows.
Sources: Linux include/uapi/linux/btrfs_tree.h; fs/btrfs/volumes.c for the profiles.
"""

import hashlib
import os
import struct
import sys

from .machine import ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "cli"))
from images import crc32c  # noqa: E402

SUPER_SIZE = 4096
SUPER_OFFSETS = (0x10000, 0x4000000, 0x4000000000)
SUPER_MAGIC = b"_BHRfS_M"
HEADER_SIZE, ITEM_SIZE, KEY_PTR_SIZE = 101, 25, 33
STRIPE = 65536
ROOT_ITEM, CHUNK_ITEM = 132, 228
RAID0, RAID10, RAID5, RAID6 = 1 << 3, 1 << 6, 1 << 7, 1 << 8
CHECKSUMS = {
    0: lambda data: (crc32c(data, 0xffffffff) ^ 0xffffffff).to_bytes(4, "little"),
    2: lambda data: hashlib.sha256(data).digest(),
    3: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
}


def number(data, at, size=8):
    return int.from_bytes(data[at:at + size], "little")


def key_at(data, at):
    return number(data, at), data[at + 8], number(data, at + 9)


class Chunk:
    def __init__(self, logical, item):
        self.logical = logical
        self.length, _, _, self.type = struct.unpack_from("<QQQQ", item)
        count, self.sub_stripes = struct.unpack_from("<HH", item, 44)
        self.stripes = [struct.unpack_from("<QQ", item, 48 + 32 * i) for i in range(count)]

    def places(self, logical):
        """(devid, offset) of every copy of a block, which lies in one stripe."""
        row, within = divmod(logical - self.logical, STRIPE)
        count = len(self.stripes)
        if self.type & RAID0:
            row, index = divmod(row, count)
            chosen = [index]
        elif self.type & RAID10:
            row, index = divmod(row, count // self.sub_stripes)
            chosen = range(index * self.sub_stripes, (index + 1) * self.sub_stripes)
        elif self.type & (RAID5 | RAID6):
            row, index = divmod(row, count - (2 if self.type & RAID6 else 1))
            chosen = [(index + row) % count]
        else:
            chosen = range(count)
        return [(self.stripes[i][0], self.stripes[i][1] + row * STRIPE + within) for i in chosen]


class Block:
    """A tree block as it was made; `tree` is the tree whose root leads to it."""

    def __init__(self, tree, data):
        self.tree, self.data = tree, data
        self.bytenr, self.level, self.count = number(data, 48), data[100], number(data, 96, 4)

    def items(self):
        """Of a leaf: where each item's head is, its key, and where its data is."""
        for slot in range(self.count):
            head = HEADER_SIZE + slot * ITEM_SIZE
            start = HEADER_SIZE + number(self.data, head + 17, 4)
            yield head, key_at(self.data, head), start, start + number(self.data, head + 21, 4)

    def pointers(self):
        """Of a node: where each key pointer is, and the block it leads to."""
        for slot in range(self.count):
            at = HEADER_SIZE + slot * KEY_PTR_SIZE
            yield at, number(self.data, at + 17)


class DiskImage:
    """The devices of one file system, open for writing."""

    def __init__(self, paths):
        self.files = [os.open(path, os.O_RDWR) for path in paths]
        supers = [os.pread(file, SUPER_SIZE, SUPER_OFFSETS[0]) for file in self.files]
        self.file_of = {number(data, 201): file for file, data in zip(self.files, supers, strict=True)}
        self.super = supers[0]
        self.sectorsize, self.nodesize = number(self.super, 144, 4), number(self.super, 148, 4)
        self.checksum = CHECKSUMS[number(self.super, 196, 2)]
        self.chunks = []
        self.map_system_chunks()
        self.blocks = {}
        self.read_trees()

    def close(self):
        for file in self.files:
            os.close(file)

    def map_system_chunks(self):
        at, end = 811, 811 + number(self.super, 160, 4)
        while at < end:
            chunk = Chunk(key_at(self.super, at)[2], self.super[at + 17:])
            self.chunks.append(chunk)
            at += 17 + 48 + 32 * len(chunk.stripes)

    def places(self, logical):
        for chunk in self.chunks:
            if chunk.logical <= logical < chunk.logical + chunk.length:
                return chunk.places(logical)
        raise ValueError(f"no chunk at {logical}")

    def read_trees(self):
        for block in self.walk(3, number(self.super, 88)):
            if block.level == 0:
                self.chunks += [Chunk(key[2], block.data[start:end]) for _, key, start, end in block.items()
                                if key[1] == CHUNK_ITEM]
        roots = [(1, number(self.super, 80))]
        if number(self.super, 96):
            roots.append((2 ** 64 - 6, number(self.super, 96)))
        for tree, root in roots:
            for block in self.walk(tree, root):
                for _, key, start, _ in block.items() if block.level == 0 else []:
                    if key[1] == ROOT_ITEM:
                        roots.append((key[0], number(block.data, start + 176)))

    def walk(self, tree, bytenr):
        if bytenr in self.blocks:
            return
        devid, offset = self.places(bytenr)[0]
        block = self.blocks[bytenr] = Block(tree, os.pread(self.file_of[devid], self.nodesize, offset))
        yield block
        for _, child in block.pointers() if block.level else []:
            yield from self.walk(tree, child)

    # Both give a list of (file, offset, bytes before), for `restore`.

    def change_block(self, bytenr, change):
        """Writes a block as `change` makes it, with the right checksum, in all its copies."""
        data = bytearray(self.blocks[bytenr].data)
        change(data)
        data[:32] = self.checksum(data[32:]).ljust(32, b"\0")
        return [self.write(self.file_of[devid], offset, bytes(data)) for devid, offset in self.places(bytenr)]

    def change_supers(self, change):
        """All superblocks of all devices."""
        written = []
        for file in self.files:
            for offset in SUPER_OFFSETS:
                data = bytearray(os.pread(file, SUPER_SIZE, offset))
                if data[64:72] != SUPER_MAGIC:
                    continue
                change(data)
                data[:32] = self.checksum(data[32:]).ljust(32, b"\0")
                written.append(self.write(file, offset, bytes(data)))
        return written

    @staticmethod
    def write(file, offset, data):
        before = os.pread(file, len(data), offset)
        os.pwrite(file, data, offset)
        return file, offset, before

    @staticmethod
    def restore(written):
        for file, offset, data in reversed(written):
            os.pwrite(file, data, offset)
