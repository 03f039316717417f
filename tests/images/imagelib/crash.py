"""Scenes cut off by a crash: what was fsynced is in a log tree, the rest is lost.

Each scene has a part before the last commit and a part after it. The devices are
copied at the end of the second part, while mounted. Besides what is fsynced, each
second part does things that are not, and must not be seen after replay unless an
fsync took them along.
"""

import os
import stat

from . import scenes, syscalls
from .content import colliding_names, grain


class Scene:
    def __init__(self, before, crash):
        self.before = before
        self.crash = crash


def fsync(tree, *paths):
    for path in paths:
        syscalls.fsync(tree.at(path))


def link(tree, source, target):
    os.link(tree.at(source), tree.at(target), follow_symlinks=False)


def rename(tree, source, target):
    os.rename(tree.at(source), tree.at(target))


def start(tree):
    scenes.common(tree)
    tree.mkdir("old/dir")
    for number in range(20):
        tree.text(f"old/{number:02d}", 3000 + 700 * number)


def create(tree):
    tree.mkdir("new/dir/deep")
    tree.text("new/dir/deep/file", 30_000)
    fsync(tree, "new/dir/deep/file")
    tree.text("new/dir/tiny", 50)
    fsync(tree, "new/dir/tiny")
    tree.text("new/not-synced", 5000)
    tree.write("new/empty", b"")
    fsync(tree, "new/empty")
    tree.mkdir("whole/inner")
    for number in range(12):
        tree.text(f"whole/{number}", 1000 * number)
    os.symlink("0", tree.at("whole/symlink"))
    os.mkfifo(tree.at("whole/fifo"))
    os.mknod(tree.at("whole/device"), stat.S_IFBLK | 0o600, os.makedev(7, 300))
    tree.text("whole/inner/file", 9000)
    fsync(tree, "whole")
    for name in colliding_names(6, b"whole/"):
        tree.write(name, b"hash collision\n")
    fsync(tree, "whole")
    tree.text("old/added-to-old", 70_000)
    fsync(tree, "old/added-to-old")
    tree.mkdir("not-synced")


def prepare_data(tree):
    start(tree)
    for name in ("overwritten", "appended", "shortened", "lengthened", "punched", "written-twice",
                 "clone-source", "clone-target", "zeroed"):
        tree.text(f"old/{name}", 200_000)
    for name in ("inline-grown", "inline-changed"):
        tree.text(f"old/{name}", 600)
    tree.write("old/preallocated", b"")
    tree.preallocate("old/preallocated", 0, 150_000)
    tree.text("old/renamed-meanwhile", 10_000)


def change_data(tree):
    for offset in (0, 50_001, 130_000):
        tree.text("old/overwritten", 10_000, offset)
    fsync(tree, "old/overwritten")
    tree.text("old/appended", 50_000, 200_000)
    fsync(tree, "old/appended")
    tree.truncate("old/shortened", 12_345)
    fsync(tree, "old/shortened")
    tree.truncate("old/lengthened", 777_777)
    tree.text("old/lengthened", 100, 600_000)
    fsync(tree, "old/lengthened")
    tree.punch("old/punched", 20_000, 100_000)
    fsync(tree, "old/punched")
    syscalls.zero_range(tree.at("old/zeroed"), 8192, 90_000)
    fsync(tree, "old/zeroed")
    tree.text("old/written-twice", 8192, 0)
    fsync(tree, "old/written-twice")
    tree.text("old/written-twice", 8192, 4096)
    fsync(tree, "old/written-twice")
    tree.text("old/written-twice", 8192, 100_000)
    tree.text("old/inline-grown", 20_000, 500)
    fsync(tree, "old/inline-grown")
    tree.text("old/inline-changed", 300, 100)
    fsync(tree, "old/inline-changed")
    tree.clone("old/clone-source", 65_536, 65_536, "old/clone-target", 4096)
    fsync(tree, "old/clone-target")
    tree.clone("old/clone-source", 0, 0, "old/new-clone", 0)
    fsync(tree, "old/new-clone")
    tree.text("old/preallocated", 20_000, 40_000)
    fsync(tree, "old/preallocated")
    tree.write("old/preallocated-new", b"")
    tree.preallocate("old/preallocated-new", 0, 100_000, keep_size=True)
    tree.text("old/preallocated-new", 5000, 0)
    fsync(tree, "old/preallocated-new")
    tree.text("old/sparse-new", 4096, 400_000)
    fsync(tree, "old/sparse-new")
    for number in range(60):
        tree.text("old/comb", 4096, 8192 * number)
    fsync(tree, "old/comb")
    tree.text("old/00", 5000, 0)


def prepare_names(tree):
    start(tree)
    for directory in ("a", "b", "c"):
        tree.mkdir(directory)
        for number in range(10):
            tree.text(f"{directory}/{number}", 2000 + number)
    tree.mkdir("a/empty")
    for name in colliding_names(8, b"c/"):
        tree.write(name, b"hash collision\n")


def rename_files(tree):
    rename(tree, "a/0", "a/renamed")
    fsync(tree, "a/renamed")
    rename(tree, "a/1", "b/moved")
    fsync(tree, "b/moved")
    rename(tree, "a/2", "a/3")
    fsync(tree, "a/3")
    tree.text("b/fresh", 8000)
    rename(tree, "b/fresh", "b/1")
    fsync(tree, "b/1")
    tree.text("c/5.part", 20_000)
    fsync(tree, "c/5.part")
    rename(tree, "c/5.part", "c/5")
    fsync(tree, "c/5")
    rename(tree, "c/6", "c/not-synced")


def rename_directories(tree):
    rename(tree, "c", "c-renamed")
    fsync(tree, "c-renamed")
    syscalls.rename_exchange(tree.at("b/1"), tree.at("b/2"))
    fsync(tree, "b/1")
    tree.mkdir("fresh")
    rename(tree, "b/4", "fresh/4")
    fsync(tree, "fresh")
    rename(tree, "fresh", "fresh-not-synced")


def unlink_files(tree):
    os.unlink(tree.at("a/0"))
    os.unlink(tree.at("a/5"))
    os.rmdir(tree.at("a/empty"))
    fsync(tree, "a")
    os.unlink(tree.at("b/2"))
    tree.text("b/2", 100)
    fsync(tree, "b/2")
    for name in colliding_names(8, b"c/")[::3]:
        os.unlink(tree.at(name))
    fsync(tree, "c")
    os.unlink(tree.at("b/9"))


def prepare_links(tree):
    prepare_names(tree)
    for number in range(5):
        link(tree, "a/0", f"a/link-{number}")
    tree.text("b/many", 3000)
    for number in range(120):
        link(tree, "b/many", f"b/many with a long name {number:04d}")


def change_links(tree):
    # The kernel commits rather than log a new name of an inode with extended references.
    tree.text("b/many", 5000, 1000)
    fsync(tree, "b/many")
    link(tree, "a/1", "a/new-link")
    fsync(tree, "a/1")
    link(tree, "a/2", "b/link-elsewhere")
    fsync(tree, "a/2")
    os.unlink(tree.at("a/link-2"))
    fsync(tree, "a/0")
    link(tree, "a/0", "c/again")
    fsync(tree, "c/again")
    tree.text("c/new", 4000)
    link(tree, "c/new", "c/new-too")
    fsync(tree, "c/new")
    link(tree, "a/3", "a/not-synced")


def prepare_attributes(tree):
    start(tree)
    for name in ("changed", "removed", "added", "acl", "owner"):
        tree.text(f"old/{name}", 1000)
    for name in ("changed", "removed"):
        for number in range(5):
            tree.set_xattr(f"old/{name}", f"user.{number}", b"before")
    for name in colliding_names(6, b"user."):
        tree.set_xattr("old/removed", name, b"hash collision")


def change_attributes(tree):
    tree.set_xattr("old/changed", "user.2", b"after, and longer than before")
    tree.set_xattr("old/changed", "user.3", b"")
    fsync(tree, "old/changed")
    os.removexattr(tree.at("old/removed"), "user.1")
    for name in colliding_names(6, b"user.")[::2]:
        os.removexattr(tree.at("old/removed"), name)
    fsync(tree, "old/removed")
    for number in range(30):
        tree.set_xattr("old/added", f"user.new-{number}", b"value" * number)
    tree.set_xattr("old/added", "trusted.new", b"root")
    fsync(tree, "old/added")
    tree.set_xattr("old/acl", "system.posix_acl_access", syscalls.encode_acl(
        (syscalls.ACL_USER_OBJ, 6), (syscalls.ACL_USER, 4, 1000), (syscalls.ACL_GROUP_OBJ, 4),
        (syscalls.ACL_MASK, 4), (syscalls.ACL_OTHER, 0)))
    fsync(tree, "old/acl")
    os.chmod(tree.at("old/owner"), 0o4711)
    os.chown(tree.at("old/owner"), 1234, 4321)
    os.chmod(tree.at("old/owner"), 0o4711)
    tree.set_times("old/owner", 1_000_000_000, 5)
    fsync(tree, "old/owner")
    os.chmod(tree.at("old/dir"), 0o700)
    tree.set_xattr("old/dir", "user.directory", b"value")
    fsync(tree, "old/dir")
    tree.set_xattr("old/00", "user.not-synced", b"value")


def prepare_subvolumes(tree):
    start(tree)
    for name in ("one", "two", "two/three"):
        tree.subvolume(name)
        for number in range(6):
            tree.text(f"{name}/{number}", 10_000)
    tree.snapshot("one", "snapshot-before", readonly=True)
    tree.snapshot("one", "writable-snapshot")


def change_subvolumes(tree):
    for name in ("one", "two", "two/three", "writable-snapshot", "old"):
        tree.text(f"{name}/fsynced", 6000)
        fsync(tree, f"{name}/fsynced")
        tree.text(f"{name}/2" if name != "old" else "old/02", 4096, 4096)
        fsync(tree, f"{name}/2" if name != "old" else "old/02")
        tree.text(f"{name}/not-synced", 6000)


def change_compressed(tree):
    tree.write("old/grain", grain("old/grain", 300_000))
    fsync(tree, "old/grain")
    tree.text("old/tiny", 900)
    fsync(tree, "old/tiny")
    tree.text("common/middle", 20_000, 60_000)
    fsync(tree, "common/middle")
    tree.clone("old/grain", 131_072, 65_536, "old/partial-clone", 8192)
    fsync(tree, "old/partial-clone")


def prepare_big_directory(tree):
    tree.mkdir("big")
    for number in range(900):
        tree.write(f"big/entry-{number:04d}", b"")
    tree.mkdir("moved-into")


def change_big_directory(tree):
    for number in range(0, 900, 3):
        os.unlink(tree.at(f"big/entry-{number:04d}"))
    for number in range(250):
        tree.write(f"big/added-{number:04d}", b"added %d\n" % number)
    fsync(tree, "big")
    for number in range(300, 330):
        if number % 3:
            os.unlink(tree.at(f"big/entry-{number:04d}"))
    tree.write("big/last", b"last\n")
    fsync(tree, "big")
    tree.write("big/not-synced", b"")


def change_orphans(tree):
    """Files without a name at the time of the crash, in the log and in the tree."""
    held = []
    held.append(os.open(tree.at("old/03"), os.O_RDWR))
    os.unlink(tree.at("old/03"))
    os.pwrite(held[-1], b"after unlink", 0)
    os.fsync(held[-1])
    tree.text("old/new-unlinked", 30_000)
    held.append(os.open(tree.at("old/new-unlinked"), os.O_RDWR))
    os.unlink(tree.at("old/new-unlinked"))
    os.fsync(held[-1])
    held.append(os.open(tree.at("old"), os.O_RDWR | os.O_TMPFILE, 0o600))
    os.write(held[-1], b"never had a name" * 1000)
    os.fsync(held[-1])
    tree.text("old/kept", 2000)
    fsync(tree, "old/kept")
    return held


def change_much(tree):
    """Several thousand log items over many fsyncs."""
    for number in range(150):
        tree.mkdir(f"much/{number % 11}")
        tree.text(f"much/{number % 11}/{number}", number * 131 % 7000)
        if number % 4 == 1:
            link(tree, f"much/{number % 11}/{number}", f"old/link-{number}")
        if number % 3 == 0:
            fsync(tree, f"much/{number % 11}/{number}")
        if number % 5 == 0:
            tree.set_xattr(f"much/{number % 11}/{number}", "user.number", b"%d" % number)
    for number in range(20):
        tree.text(f"old/{number:02d}", 1500, 700 * number)
        fsync(tree, f"old/{number:02d}")


def nothing(tree):
    """For scenes that do their own commits."""


def unlinked_while_open(tree):
    held = []
    for number in range(5):
        path = f"old/unlinked-{number}"
        tree.text(path, 100 + 30_000 * number)
        held.append(os.open(tree.at(path), os.O_RDWR))
        os.unlink(tree.at(path))
    held.append(os.open(tree.at("old"), os.O_RDWR | os.O_TMPFILE, 0o600))
    os.write(held[-1], b"never had a name" * 1000)
    tree.sync()
    return held


def deleted_while_open(tree):
    """A deleted subvolume stays whole, with a root item without references, while in use."""
    tree.subvolume("deleted")
    for number in range(40):
        tree.text(f"deleted/{number}", 500 * number)
    tree.snapshot("deleted", "kept-snapshot")
    tree.sync()
    held = [os.open(tree.at("deleted/7"), os.O_RDONLY)]
    tree.delete_subvolume("deleted")
    tree.sync()
    return held


def nothing_synced(tree):
    tree.text("lost", 50_000)
    os.unlink(tree.at("old/01"))


def recipes(recipe, log):
    """The images; recipe and log are the constructors of recipes.py."""
    data = Scene(prepare_data, change_data)
    names = Scene(prepare_names, rename_files)
    return [
        log("create", "new files, directories, nodes", Scene(start, create)),
        log("data", "files written, cut, punched, cloned", data),
        log("data-no-holes-off", "changes of log-data, with explicit holes", data,
            features=("^no-holes",)),
        log("data-sha256-4k", "changes of log-data, with sha256 and 4 KiB nodes", data,
            csum="sha256", nodesize=4 << 10),
        log("data-raid5-3", "changes of log-data, on parity stripes", data, devices=3,
            size=192 << 20, data="raid5", metadata="raid5"),
        log("data-nodatasum", "changes of log-data, without checksums", data,
            options=("nodatasum",)),
        log("renames", "files renamed and replaced", names),
        log("directories", "directories renamed, names exchanged",
            Scene(prepare_names, rename_directories)),
        log("unlinks", "names removed", Scene(prepare_names, unlink_files)),
        log("links-4k", "hard links added and removed", Scene(prepare_links, change_links),
            nodesize=4 << 10),
        log("attributes", "xattrs, ACLs, modes, times", Scene(prepare_attributes,
                                                               change_attributes)),
        log("subvolumes", "a log for each of five subvolumes",
            Scene(prepare_subvolumes, change_subvolumes)),
        log("compressed", "compressed extents", Scene(start, change_compressed),
            options=("compress=zstd",)),
        log("big-directory-4k", "hundreds of names in many leaves",
            Scene(prepare_big_directory, change_big_directory), nodesize=4 << 10),
        log("orphans", "files without a name", Scene(start, change_orphans)),
        log("much-4k", "many fsyncs, a log of two levels", Scene(start, change_much),
            nodesize=4 << 10),
        log("block-group-tree-xxhash", "changes of log-create, with other features",
            Scene(start, create),
            features=("block-group-tree",), csum="xxhash", check_since=(6, 7)),
        *(log(f"random-{seed}", "random operations with many fsyncs",
              Scene(nothing, scenes.random_tree(seed, 300, 40_000, log_tail=120)),
              nodesize=4 << 10, log_after_commit=True) for seed in (11, 12, 13)),
        recipe("crash-orphans", "inodes without a name, recorded as orphans", "BT-036",
               scenes=(start,), crash=unlinked_while_open, options=("commit=300",)),
        recipe("crash-deleted-subvolume", "a deleted subvolume not yet dropped", "BT-031 BT-036",
               scenes=(start,), crash=deleted_while_open, options=("commit=300",)),
        recipe("crash-plain", "the last commit, without a log", "BT-028",
               scenes=(start,), crash=nothing_synced, options=("commit=300",)),
    ]
