"""The test images (tests/images), unpacked, and what the stock tool says of them."""
import hashlib
import json
import os
import pathlib
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "images" / "data"
# Dates in dumps are local, messages are in a language.
ENVIRONMENT = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}


def names():
    return sorted(path.name.removesuffix(".tar.zst") for path in DATA.glob("*.tar.zst"))


class Image:
    """One image, unpacked into a directory of its own below `scratch`."""

    def __init__(self, name, scratch):
        self.directory = pathlib.Path(scratch) / name
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            subprocess.run(["tar", "--zstd", "-xf", DATA / f"{name}.tar.zst", "-C", self.directory], check=True)
        self.info = json.loads((self.directory / f"{name}.info.json").read_text())
        self.files = [device["file"] for device in self.info["devices"]]  # relative to the directory
        self.manifest_path = self.directory / f"{name}.manifest.jsonl"

    @property
    def path(self):
        return str(self.directory / self.files[0])

    def arguments(self):
        """The image and its further devices, for verbs that open it."""
        more = [word for file in self.files[1:] for word in ("--device", file)]
        return [self.files[0], *more]

    def run(self, command):
        return subprocess.run(command, cwd=self.directory, env=ENVIRONMENT, capture_output=True, timeout=60)

    def manifest(self):
        for line in self.manifest_path.read_text().splitlines():
            yield json.loads(line)


def crc32c(data, crc=0):
    """As btrfs names use it with crc=~1, and blocks with crc=~0, not inverted at either end."""
    for byte in data:
        crc = CRC32C_TABLE[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc


def crc32c_of_byte(value):
    for _ in range(8):
        value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value


CRC32C_TABLE = [crc32c_of_byte(value) for value in range(256)]
INODE_ITEM, XATTR_ITEM = 1, 24


def rewrite_items(path, change):
    """Changes items of an image with CRC-32C checksums, in all copies of its leaves.

    change(key, data, first) gets a key as (objectid, type, offset), the item's bytes, and whether the item is the
    first of its leaf, whose key stands in the node above too. It returns key and data as they are to be (keys in
    order, data as long), or nothing. Returns how many items it changed."""
    whole = bytearray(pathlib.Path(path).read_bytes())
    fsid = whole[65536 + 32:65536 + 48]
    nodesize = int.from_bytes(whole[65536 + 148:65536 + 152], "little")
    changes = 0
    for start in range(0, len(whole) - nodesize + 1, 4096):
        leaf = whole[start:start + nodesize]
        if leaf[32:48] != fsid or leaf[64:72] == b"_BHRfS_M" or leaf[100] != 0:
            continue
        before = changes
        for slot in range(int.from_bytes(leaf[96:100], "little")):
            item = 101 + 25 * slot
            key = (int.from_bytes(leaf[item:item + 8], "little"), leaf[item + 8], int.from_bytes(leaf[item + 9:item + 17], "little"))
            at, size = (int.from_bytes(leaf[item + field:item + field + 4], "little") for field in (17, 21))
            changed = change(key, bytes(leaf[101 + at:101 + at + size]), slot == 0)
            if not changed:
                continue
            (objectid, kind, offset), data = changed
            leaf[item:item + 17] = objectid.to_bytes(8, "little") + bytes([kind]) + offset.to_bytes(8, "little")
            leaf[101 + at:101 + at + size] = data
            changes += 1
        if changes > before:
            leaf[0:4] = (crc32c(leaf[32:], 0xffffffff) ^ 0xffffffff).to_bytes(4, "little")
            whole[start:start + nodesize] = leaf
    pathlib.Path(path).write_bytes(whole)
    return changes


def unescape(text):
    """Bytes of a name in a manifest."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


ESCAPES = {7: rb"\a", 8: rb"\b", 27: rb"\e", 12: rb"\f", 10: rb"\n", 13: rb"\r", 9: rb"\t", 11: rb"\v",
           32: rb"\ ", 92: rb"\\"}


def escaped(name):
    return b"".join(ESCAPES.get(c, bytes([c]) if 32 < c < 127 else b"\\%03o" % c) for c in name)


def stock_dump_as_ours(text):
    """What btrfs-progs printed, as we print it: without the line that names the program, and with names of
    subvolumes escaped where they are not UTF-8 (the stock tool escapes all other names)."""
    lines = text.split(b"\n")[1:]
    for number, line in enumerate(lines):
        match = re.fullmatch(rb"(\t\troot (?:back)?ref key dirid \d+ sequence \d+ name )(.*)", line)
        if match:
            try:
                match[2].decode()
            except UnicodeDecodeError:
                lines[number] = match[1] + escaped(match[2])
    return b"\n".join(lines)


def digest(text):
    return hashlib.sha256(text).hexdigest()
