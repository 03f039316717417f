"""What stands in the images: each scene fills a part of a freshly mounted btrfs.

A scene takes a Tree and leaves finished files, all in its own directory. Scenes are
made from the image's name and fixed numbers, so that only UUIDs, times and the
kernel's own placement differ from run to run.
"""

import os
import socket
import stat
import struct

from . import syscalls
from .content import colliding_names, grain, noise, text
from .rig import run

KIB = 1024
MIB = 1024 * KIB
INLINE_OVERHEAD = 101 + 25 + 21
XATTR_OVERHEAD = 101 + 25 + 30

# linux/capability.h: VFS_CAP_REVISION_2 with the effective bit, CAP_NET_BIND_SERVICE permitted
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


class Tree:
    """A mounted file system under construction. Paths are relative, str or bytes."""

    def __init__(self, root, tools, nodesize=16 * KIB):
        self.root = root
        self.tools = tools
        self.nodesize = nodesize

    def at(self, path):
        return os.path.join(self.root, os.fsencode(path))

    def mkdir(self, path):
        os.makedirs(self.at(path), exist_ok=True)
        return path

    def write(self, path, data, offset=None):
        """Makes a file, or writes into one at an offset without truncating it."""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if offset is None else 0)
        fd = os.open(self.at(path), flags, 0o644)
        try:
            position = offset or 0
            view = memoryview(data)
            while view:
                written = os.pwrite(fd, view, position)
                view, position = view[written:], position + written
        finally:
            os.close(fd)

    def text(self, path, size, offset=None):
        self.write(path, text(f"{os.fsdecode(path)}@{offset or 0}", size), offset)

    def remove(self, path):
        is_directory = stat.S_ISDIR(os.lstat(self.at(path)).st_mode)
        (os.rmdir if is_directory else os.unlink)(self.at(path))

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def sync(self):
        """Commits, so that what follows goes into other extents and tree blocks."""
        run(self.tools.btrfs, "filesystem", "sync", self.root)

    def settle(self, path):
        """Writes a file's delayed data out now, so that the next write cannot join its extent."""
        syscalls.fsync(self.at(path))

    def subvolume(self, path):
        run(self.tools.btrfs, "subvolume", "create", self.at(path))

    def snapshot(self, source, target, readonly=False):
        options = ["-r"] if readonly else []
        run(self.tools.btrfs, "subvolume", "snapshot", *options, self.at(source), self.at(target))

    def delete_subvolume(self, path):
        run(self.tools.btrfs, "subvolume", "delete", self.at(path))

    def set_xattr(self, path, name, value):
        os.setxattr(self.at(path), name, value, follow_symlinks=False)

    def set_times(self, path, seconds, nanoseconds=0):
        moment = seconds * 1_000_000_000 + nanoseconds
        os.utime(self.at(path), ns=(moment, moment), follow_symlinks=False)

    def punch(self, path, offset, length):
        syscalls.punch_hole(self.at(path), offset, length)

    def preallocate(self, path, offset, length, keep_size=False):
        syscalls.preallocate(self.at(path), offset, length, keep_size)

    def clone(self, source, source_offset, length, target, target_offset):
        syscalls.clone_range(self.at(source), source_offset, length, self.at(target), target_offset)


def sizes(tree):
    """Files around every limit that placement knows: inline, block, stripe, extent."""
    tree.mkdir("sizes")
    for size in (0, 1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 65535, 65536, 65537, 100_000):
        tree.text(f"sizes/{size}", size)
    tree.text("sizes/stripes", 1300 * KIB + 123)


def common(tree):
    """A little of everything, for images whose point is elsewhere."""
    sizes(tree)
    tree.mkdir("common/deep/er/est")
    tree.text("common/deep/er/est/file", 10_000)
    os.link(tree.at("common/deep/er/est/file"), tree.at("common/linked"))
    os.symlink("deep/er/est/file", tree.at("common/symlink"))
    os.mkfifo(tree.at("common/fifo"), 0o640)
    os.mknod(tree.at("common/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    tree.text("common/sparse", 20_000, 300_000)
    tree.truncate("common/sparse", 1_000_000)
    tree.write("common/prealloc", b"")
    tree.preallocate("common/prealloc", 0, 200_000)
    tree.text("common/prealloc", 8192, 65536)
    tree.text("common/middle", 256 * KIB)
    tree.settle("common/middle")
    tree.text("common/middle", 8192, 128 * KIB)
    tree.clone("common/middle", 64 * KIB, 64 * KIB, "common/clone", 0)
    tree.set_xattr("common/linked", "user.karst", b"value")
    tree.subvolume("common/subvolume")
    tree.text("common/subvolume/kept", 50_000)
    tree.snapshot("common/subvolume", "common/snapshot", readonly=True)
    tree.text("common/subvolume/later", 5000)


def names(tree):
    """Odd names, and directories in which all names hash alike."""
    tree.mkdir("names")
    odd = [b"n" * 255, b"\xff\xfe\x80",
           "gr\u00fc\u00dfe \u6d1e\u7a74".encode(), b"new\nline", b"tab\t",
           b"back\\slash", b"-rf", b" lead", b"trail ", b"...", b"*?[]", b"'\"`$(x)", b"\x01\x7f",
           b"\xc3\xbc" * 127, b"%s%n", b"a:b", b"CON"]
    for number, name in enumerate(odd):
        tree.write(b"names/" + name, b"odd name %d\n" % number)
    tree.mkdir("collisions")
    for number, name in enumerate(colliding_names(24)):
        path = b"collisions/" + name
        if number % 3 == 0:
            os.mkdir(tree.at(path))
        else:
            tree.write(path, b"collision %d\n" % number)
    for name in colliding_names(24)[1:24:5]:
        tree.remove(b"collisions/" + name)


def links(tree):
    """One file with so many names in a directory that references overflow into extended ones."""
    count = tree.nodesize // 32
    tree.mkdir("links/elsewhere")
    tree.text("links/file", 5000)
    for number in range(count):
        os.link(tree.at("links/file"), tree.at(f"links/name with some length {number:05d}"))
    for number in range(5):
        os.link(tree.at("links/file"), tree.at(f"links/elsewhere/{number}"))
    for name in colliding_names(16, b"collision-"):
        os.link(tree.at("links/file"), tree.at(b"links/" + name))
    for number in range(0, count, 7):
        os.unlink(tree.at(f"links/name with some length {number:05d}"))


def few_links(tree):
    """As many names as fit where references cannot overflow."""
    tree.mkdir("links")
    tree.text("links/file", 5000)
    for number in range(tree.nodesize // 64):
        os.link(tree.at("links/file"), tree.at(f"links/{number:05d}"))


def nodes(tree):
    """Every inode type, permission bits, owners, times, symlink lengths."""
    tree.mkdir("nodes")
    os.mkfifo(tree.at("nodes/fifo"), 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(tree.at("nodes"), os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{directory}/socket")
        finally:
            os.close(directory)
    for name, kind, major, minor in (("zero", stat.S_IFCHR, 1, 5), ("disk", stat.S_IFBLK, 8, 1),
                                     ("largest", stat.S_IFBLK, 4095, 1048575),
                                     ("none", stat.S_IFCHR, 0, 0)):
        os.mknod(tree.at(f"nodes/{name}"), kind | 0o660, os.makedev(major, minor))
    for mode in (0o0000, 0o0444, 0o0755, 0o1777, 0o2755, 0o4755, 0o7777):
        tree.write(f"nodes/mode-{mode:04o}", b"mode\n")
        os.chmod(tree.at(f"nodes/mode-{mode:04o}"), mode)
        tree.mkdir(f"nodes/dir-{mode:04o}")
        os.chmod(tree.at(f"nodes/dir-{mode:04o}"), mode)
    for uid, gid in ((1000, 1000), (65534, 65534), (2**31, 5), (2**32 - 2, 2**32 - 2)):
        tree.write(f"nodes/owner-{uid}-{gid}", b"owner\n")
        os.chown(tree.at(f"nodes/owner-{uid}-{gid}"), uid, gid)
    longest = min(4095, tree.nodesize - INLINE_OVERHEAD)
    for length in (1, 255, 2048, longest):
        os.symlink((b"target/" * 600)[:length], tree.at(f"nodes/symlink-{length}"))
    os.symlink(b"\xff\n\\", tree.at("nodes/symlink-odd"))
    for seconds, nanoseconds in ((0, 0), (-1, 999_999_999), (-2**31, 1), (2**31, 0), (2**33, 7),
                                 (2**40, 999_999_999), (-2**40, 500_000_000), (1, 1)):
        for kind in ("file", "dir"):
            path = f"nodes/{kind}-time{seconds:+d}"
            tree.mkdir(path) if kind == "dir" else tree.write(path, b"time\n")
            tree.set_times(path, seconds, nanoseconds)


def xattrs(tree):
    """Attributes of every namespace and size, colliding names, ACLs and their inheritance."""
    tree.mkdir("xattrs")
    tree.write("xattrs/namespaces", b"x\n")
    tree.set_xattr("xattrs/namespaces", "user.plain", b"value")
    tree.set_xattr("xattrs/namespaces", "user.empty", b"")
    tree.set_xattr("xattrs/namespaces", "user.binary", bytes(range(256)))
    tree.set_xattr("xattrs/namespaces", "user.\u00fcml\u00e4ut", b"name")
    tree.set_xattr("xattrs/namespaces", "trusted.karst", b"root only")
    tree.set_xattr("xattrs/namespaces", "security.capability", CAPABILITY)
    tree.set_xattr("xattrs/namespaces", "security.karst", b"other")
    tree.write("xattrs/largest", b"x\n")
    name = b"user.largest"
    tree.set_xattr("xattrs/largest", name,
                   text("largest", tree.nodesize - XATTR_OVERHEAD - len(name)))
    tree.write("xattrs/longest-name", b"x\n")
    tree.set_xattr("xattrs/longest-name", b"user." + b"n" * 250, b"value")
    tree.write("xattrs/many", b"x\n")
    for number in range(150):
        tree.set_xattr("xattrs/many", f"user.number-{number:03d}", b"%d" % number * 3)
    tree.write("xattrs/colliding", b"x\n")
    for number, name in enumerate(colliding_names(12, b"user.")):
        tree.set_xattr("xattrs/colliding", name, b"colliding %d" % number)
    os.symlink("many", tree.at("xattrs/symlink"))
    tree.set_xattr("xattrs/symlink", "trusted.link", b"on the link itself")
    tree.mkdir("xattrs/directory")
    tree.set_xattr("xattrs/directory", "user.directory", b"d")

    access = syscalls.encode_acl(
        (syscalls.ACL_USER_OBJ, 7), (syscalls.ACL_USER, 5, 1000), (syscalls.ACL_USER, 0, 65534),
        (syscalls.ACL_GROUP_OBJ, 5), (syscalls.ACL_GROUP, 6, 100), (syscalls.ACL_MASK, 7),
        (syscalls.ACL_OTHER, 1))
    tree.mkdir("xattrs/acl")
    tree.set_xattr("xattrs/acl", "system.posix_acl_access", access)
    tree.set_xattr("xattrs/acl", "system.posix_acl_default", access)
    tree.write("xattrs/acl/inherits", b"x\n")
    tree.mkdir("xattrs/acl/directory-inherits")
    tree.write("xattrs/acl-file", b"x\n")
    tree.set_xattr("xattrs/acl-file", "system.posix_acl_access", access)


def extents(tree):
    """Holes, preallocation, partly overwritten and shared extents, no-COW and no-checksum files."""
    tree.mkdir("extents")
    tree.write("extents/all-hole", b"")
    tree.truncate("extents/all-hole", 10 * MIB + 5)
    tree.write("extents/inline-then-hole", b"inline\n")
    tree.settle("extents/inline-then-hole")
    tree.truncate("extents/inline-then-hole", 100_000)
    for number in range(12):
        tree.text("extents/comb", 4096, number * 12288)
    tree.text("extents/far", 5000, 40 * MIB + 777)

    tree.text("extents/punched", 400 * KIB)
    tree.settle("extents/punched")
    tree.punch("extents/punched", 0, 4096)
    tree.punch("extents/punched", 50_001, 30_000)
    tree.punch("extents/punched", 300 * KIB, 200 * KIB)

    tree.write("extents/preallocated", b"")
    tree.preallocate("extents/preallocated", 0, 300_000)
    tree.text("extents/preallocated", 12_000, 0)
    tree.text("extents/preallocated", 5000, 100_000)
    tree.text("extents/preallocated", 20_000, 280_000)
    tree.write("extents/preallocated-beyond-end", b"")
    tree.preallocate("extents/preallocated-beyond-end", 0, 100_000, keep_size=True)
    tree.text("extents/preallocated-beyond-end", 10_000, 0)
    tree.text("extents/zeroed", 200_000)
    tree.settle("extents/zeroed")
    syscalls.zero_range(tree.at("extents/zeroed"), 40_000, 100_000)

    tree.text("extents/bookend", 512 * KIB)
    tree.settle("extents/bookend")
    for offset in (0, 100_000, 256 * KIB, 512 * KIB - 4096):
        tree.text("extents/bookend", 9000, offset)
        tree.settle("extents/bookend")
    tree.text("extents/fully-overwritten", 64 * KIB)
    tree.settle("extents/fully-overwritten")
    tree.text("extents/fully-overwritten", 64 * KIB, 0)

    tree.text("extents/origin", 300_001)
    tree.clone("extents/origin", 0, 0, "extents/reflink", 0)
    tree.clone("extents/origin", 64 * KIB, 128 * KIB, "extents/partial-clone", 32 * KIB)
    tree.text("extents/shifted", 128 * KIB)
    tree.clone("extents/origin", 4096, 40_960, "extents/shifted", 8192)
    tree.clone("extents/origin", 8192, 16_384, "extents/origin", 200 * KIB)
    tree.text("extents/small-origin", 1000)
    tree.settle("extents/small-origin")
    tree.clone("extents/small-origin", 0, 0, "extents/inline-clone", 0)
    tree.text("extents/reflink", 4096, 16_384)

    tree.write("extents/nocow", b"")
    syscalls.add_inode_flags(tree.at("extents/nocow"), syscalls.FS_NOCOW_FL)
    tree.text("extents/nocow", 100_000)
    tree.settle("extents/nocow")
    tree.text("extents/nocow", 10_000, 30_000)

    tree.text("extents/truncated", 100_000)
    tree.settle("extents/truncated")
    tree.truncate("extents/truncated", 33_333)
    tree.truncate("extents/truncated", 90_000)
    tree.text("extents/appended", 1000)
    for number in range(1, 20):
        tree.text("extents/appended", 1000, number * 1000)
        tree.settle("extents/appended")


def compressed(tree):
    """Extents as the mount's compression makes them, inline ones and refused ones included."""
    tree.mkdir("compressed")
    for size in (10, 600, 2000, 4095, 4096, 4097, 12_345, 131_072, 131_073, 400_000):
        tree.text(f"compressed/text-{size}", size)
        tree.settle(f"compressed/text-{size}")
    tree.write("compressed/grain", grain("compressed/grain", 300_000))
    tree.write("compressed/noise", noise("compressed/noise", 20_000))
    tree.write("compressed/half-noise",
               noise("half", 16_384) + text("compressed/half-noise", 150_000))
    tree.write("compressed/zeros", bytes(500_000))
    tree.write("compressed/bookend", grain("compressed/bookend", 256 * KIB))
    tree.settle("compressed/bookend")
    tree.text("compressed/bookend", 8192, 40_960)
    tree.text("compressed/bookend", 100, 200_000)
    tree.settle("compressed/bookend")
    tree.punch("compressed/bookend", 150_000, 20_000)
    tree.clone("compressed/bookend", 64 * KIB, 64 * KIB, "compressed/partial-clone", 4096)
    tree.text("compressed/sparse", 30_000, 200_000)
    tree.text("compressed/truncated", 200_000)
    tree.settle("compressed/truncated")
    tree.truncate("compressed/truncated", 77_777)


def compression_properties(tree):
    """One directory per algorithm, set by the btrfs.compression property and inherited."""
    for algorithm in ("zlib", "lzo", "zstd", "none"):
        directory = tree.mkdir(f"properties/{algorithm}")
        run(tree.tools.btrfs, "property", "set", tree.at(directory), "compression", algorithm)
        for size in (500, 3000, 50_000, 200_000):
            tree.text(f"{directory}/{size}", size)
        tree.write(f"{directory}/grain", grain(directory, 140_000))
    tree.write("properties/flag", b"")
    syscalls.add_inode_flags(tree.at("properties/flag"), syscalls.FS_COMPR_FL)
    tree.text("properties/flag", 100_000)


def subvolumes(tree):
    """Nested subvolumes, snapshots of both kinds, another default, deleted ones."""
    tree.subvolume("sub")
    tree.text("sub/file", 50_000)
    tree.mkdir("sub/dir")
    tree.subvolume("sub/dir/nested")
    tree.text("sub/dir/nested/file", 6000)
    tree.subvolume("sub/dir/nested/deepest")
    tree.text("sub/dir/nested/deepest/file", 100)
    tree.snapshot("sub", "snapshot-ro", readonly=True)
    tree.snapshot("sub", "snapshot-rw")
    tree.text("snapshot-rw/file", 4096, 8192)
    tree.text("snapshot-rw/only-here", 3000)
    tree.text("sub/file", 4096, 20_480)
    tree.snapshot("snapshot-rw", "snapshot-of-snapshot", readonly=True)
    os.rename(tree.at("sub/dir/nested"), tree.at("moved"))
    tree.mkdir("plain")
    tree.subvolume("plain/default")
    tree.text("plain/default/in-default", 2000)
    tree.mkdir("plain/default/dir")
    run(tree.tools.btrfs, "subvolume", "set-default", tree.at("plain/default"))
    tree.subvolume("deleted")
    tree.text("deleted/file", 20_000)
    tree.snapshot("deleted", "kept-snapshot")
    tree.delete_subvolume("deleted")
    tree.subvolume("deleted-parent")
    tree.text("deleted-parent/file", 20_000)
    tree.snapshot("deleted-parent", "snapshot-of-deleted")
    tree.text("deleted-parent/file", 20_000, 20_000)
    tree.delete_subvolume("deleted-parent")


def many_snapshots(tree):
    """A subvolume changed between snapshots: blocks shared by many trees."""
    tree.subvolume("origin")
    for number in range(60):
        tree.text(f"origin/{number:02d}", 1000 + 200 * number)
    for generation in range(8):
        tree.snapshot("origin", f"snapshot-{generation}", readonly=generation % 2 == 0)
        for number in range(generation, 60, 9):
            tree.text(f"origin/{number:02d}", 3000, 1000 * generation)
        os.rename(tree.at(f"origin/{generation:02d}"), tree.at(f"origin/renamed-{generation}"))
        os.unlink(tree.at(f"origin/{generation + 40}"))


def back_references(tree):
    """More references to one extent and to one tree block than fit inline; shared ones too.

    Nodes above leaves are shared only in trees of three levels, hence the long names.
    """
    tree.subvolume("tall")
    tree.write("tall/file", b"")
    for number in range(800):
        os.link(tree.at("tall/file"), tree.at(f"tall/{number:0200d}"))
    tree.snapshot("tall", "tall-snapshot")
    tree.write("tall-snapshot/own", b"")
    tree.sync()
    tree.delete_subvolume("tall")
    tree.subvolume("origin")
    tree.text("origin/extent", 128 * KIB)
    for number in range(40):
        tree.clone("origin/extent", 0, 4096 * (number % 30 + 1), f"origin/clone-{number:02d}",
                   8192 * number)
    for number in range(200):
        tree.write(f"origin/small-{number}", b"")
    for number in range(30):
        tree.snapshot("origin", f"snapshot-{number:02d}")
        tree.text(f"snapshot-{number:02d}/own", 3000)
    tree.sync()
    run(tree.tools.btrfs, "balance", "start", "-d", "-m", "-f", tree.root)
    tree.delete_subvolume("origin")
    wait_for_cleaner(tree)
    tree.mkdir("clones")
    tree.text("clones/extent", 128 * KIB)
    for number in range(30):
        tree.clone("clones/extent", 4096 * number, 4096, f"clones/{number:02d}", 0)


def forest(count):
    """A scene of many small entries: trees of several levels, big directories, gaps in indexes."""
    def scene(tree):
        tree.mkdir("forest/flat")
        for number in range(count):
            path = f"forest/flat/entry-{number:05d}"
            kind = number % 10
            if kind < 6:
                tree.write(path, b"" if kind < 4 else b"small %d\n" % number)
            elif kind < 8:
                os.symlink(f"entry-{number - 7:05d}", tree.at(path))
            elif kind < 9:
                os.mkdir(tree.at(path))
            else:
                os.link(tree.at(f"forest/flat/entry-{number - 9:05d}"), tree.at(path))
        for number in range(0, count, 13):
            tree.remove(f"forest/flat/entry-{number:05d}")
        for number in range(count // 50):
            directory = tree.mkdir(f"forest/deep/{number % 7}/{number % 5}/{number}")
            tree.text(f"{directory}/file", number * 97 % 9000)
    return scene


def many_extents(tree):
    """A file with an extent for each block, so that one inode fills many leaves."""
    tree.mkdir("fragmented")
    for number in range(700):
        tree.text("fragmented/comb", 4096, number * 8192)
    tree.text("fragmented/forward", 4096 * 300)
    tree.settle("fragmented/forward")
    for number in range(1, 300, 2):
        tree.clone("fragmented/comb", number * 8192, 4096, "fragmented/forward", number * 4096)


def second_chunks(tree):
    """Enough space taken that every kind of block group is allocated more than once."""
    tree.mkdir("chunks")
    for number in range(4):
        tree.write(f"chunks/filler-{number}", b"")
        tree.preallocate(f"chunks/filler-{number}", 0, 12 * MIB)
        tree.text(f"chunks/after-{number}", 300_000)
    tree.sync()


def random_tree(seed, operations=400, max_size=60_000, log_tail=0):
    """The script random-tree, with noise kept small."""
    def scene(tree):
        script = os.path.join(os.path.dirname(os.path.dirname(__file__)), "random-tree")
        run(script, "--seed", str(seed), "--operations", str(operations),
            "--max-size", str(max_size), "--log-tail", str(log_tail), tree.root)
    return scene


def full_balance(tree):
    """Moves every chunk to a new logical address."""
    tree.sync()
    run(tree.tools.btrfs, "balance", "start", "--full-balance", tree.root)
    tree.sync()


def wait_for_cleaner(tree):
    """Waits until deleted subvolumes are gone from the trees; the sync wakes the cleaner."""
    tree.sync()
    run(tree.tools.btrfs, "subvolume", "sync", tree.root)


def receive(tree):
    """A received subvolume: its item carries the sender's UUID and times."""
    stream = tree.at("stream")
    tree.snapshot("sub", "to-send", readonly=True)
    tree.mkdir("received")
    run(tree.tools.btrfs, "send", "-q", "-f", stream, tree.at("to-send"))
    run(tree.tools.btrfs, "receive", "-f", stream, tree.at("received"))
    os.unlink(stream)


def classic_quota(tree):
    run(tree.tools.btrfs, "quota", "enable", tree.root)
    run(tree.tools.btrfs, "quota", "rescan", "-w", tree.root)
    quota_groups(tree)
    run(tree.tools.btrfs, "quota", "rescan", "-w", tree.root)


def quota_groups(tree):
    """A higher-level quota group with limits over two subvolumes."""
    run(tree.tools.btrfs, "qgroup", "create", "1/100", tree.root)
    tree.subvolume("limited")
    tree.text("limited/file", 30_000)
    tree.snapshot("limited", "limited-snapshot")
    subvolid = run(tree.tools.btrfs, "inspect-internal", "rootid", tree.at("limited")).decode()
    run(tree.tools.btrfs, "qgroup", "limit", "20M", f"0/{subvolid.strip()}", tree.root)
    run(tree.tools.btrfs, "qgroup", "assign", f"0/{subvolid.strip()}", "1/100", tree.root)
    tree.text("limited/more", 20_000)


def balance_conversion(data, metadata):
    """Converts part of the chunks: old and new profiles stand side by side."""
    def scene(tree):
        tree.sync()
        options = [f"-dconvert={data},limit=1"] if data else []
        options += [f"-mconvert={metadata}"] if metadata else []
        run(tree.tools.btrfs, "balance", "start", "-f", *options, tree.root)
        tree.sync()
    return scene


def rootdir(tree):
    """What mkfs --rootdir can take over."""
    sizes(tree)
    links_of = tree.mkdir("links")
    tree.text(f"{links_of}/file", 5000)
    for number in range(10):
        os.link(tree.at(f"{links_of}/file"), tree.at(f"{links_of}/{number}"))
    nodes(tree)
    names(tree)
    tree.text("sparse", 70_000, 300_000)
    tree.truncate("sparse", 1_000_000)
    tree.write("grain", grain("grain", 300_000))
    tree.write("noise", noise("noise", 20_000))
    tree.write("attributes", b"x\n")
    tree.set_xattr("attributes", "user.plain", b"value")
    tree.set_xattr("attributes", "security.capability", CAPABILITY)
