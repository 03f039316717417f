"""Images that need more than mkfs and one mount: device changes, damage, lost superblocks."""

import contextlib
import os
import subprocess
import time

from . import scenes, syscalls
from .rig import (SUPERBLOCK_MIRRORS, SUPERBLOCK_SIZE, Superblock, Unavailable, make_sparse_file,
                  run)

MIB = 1 << 20
BLOCK_SIZE = 4096


@contextlib.contextmanager
def scratch_device(maker, recipe):
    """An image file that takes part for a while and is not kept."""
    path = os.path.join(maker.scratch, "scratch.img")
    make_sparse_file(path, recipe.size)
    try:
        yield path
    finally:
        os.unlink(path)


def fill(maker, recipe, files, scene, options=()):
    with maker.rig.mounted(files, options) as root:
        tree = scenes.Tree(root, maker.tools, recipe.nodesize)
        scene(tree)
        tree.sync()
        syscalls.trim(root)


def build_seed(maker, recipe, files):
    maker.mkfs(recipe, files)
    fill(maker, recipe, files, scenes.common)
    run(maker.tools.btrfstune, "-f", "-S", "1", files[0])


def build_sprout(maker, recipe, files):
    """The first file is the sprout, the second its read-only seed."""
    sprout, seed = files
    build_seed(maker, recipe, [seed])
    with maker.rig.attached([seed, sprout]) as (seed_device, sprout_device):
        with maker.rig.mounted_devices([seed_device]) as root:
            run(maker.tools.btrfs, "device", "add", "-f", sprout_device, root)
            run("mount", "-o", "remount,rw", root)
            tree = scenes.Tree(root, maker.tools, recipe.nodesize)
            tree.text("sizes/65537", 8192, 4096)
            tree.text("on-sprout", 200_000)
            tree.sync()


def build_removed_device(maker, recipe, files):
    with scratch_device(maker, recipe) as gone:
        maker.mkfs(recipe, [gone, *files])
        with maker.rig.attached([gone, *files]) as devices:
            with maker.rig.mounted_devices(devices) as root:
                tree = scenes.Tree(root, maker.tools, recipe.nodesize)
                scenes.common(tree)
                tree.sync()
                run(maker.tools.btrfs, "device", "remove", "1", root)
                tree.sync()
                syscalls.trim(root)


def build_replaced_device(maker, recipe, files):
    with scratch_device(maker, recipe) as gone:
        maker.mkfs(recipe, [gone, files[1]])
        fill(maker, recipe, [gone, files[1]], scenes.common)
        with maker.rig.attached([gone, files[1], files[0]]) as (old, other, new):
            with maker.rig.mounted_devices([other, old]) as root:
                run(maker.tools.btrfs, "replace", "start", "-B", "-f", old, new, root)


def build_stale_mirror(maker, recipe, files):
    """The second device misses a last mount: its blocks are of an older generation."""
    maker.mkfs(recipe, files)
    fill(maker, recipe, files, scenes.common)
    with maker.rig.mounted(files[:1], ("degraded",)) as root:
        tree = scenes.Tree(root, maker.tools, recipe.nodesize)
        tree.text("sizes/stripes", 100_000, 200_000)
        tree.text("only-on-one", 150_000)
        os.unlink(tree.at("sizes/4096"))
        tree.sync()


def data_extents(file):
    position, end = 0, os.fstat(file.fileno()).st_size
    while position < end:
        try:
            start = os.lseek(file.fileno(), position, os.SEEK_DATA)
        except OSError:
            return
        position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, position


def blocks(path, wanted):
    """Offsets of the 4 KiB blocks whose bytes the predicate wants."""
    found = []
    with open(path, "rb") as file:
        for start, end in list(data_extents(file)):
            for offset in range(start - start % BLOCK_SIZE, end, BLOCK_SIZE):
                if wanted(os.pread(file.fileno(), BLOCK_SIZE, offset)):
                    found.append(offset)
    return found


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def text_blocks(path, label, number):
    """Where a certain block of Tree.text's output lies on a device, freed copies included."""
    found = blocks(path, lambda raw: raw.startswith(b"%s@0 block %d\n" % (label, number)))
    if not found:
        raise RuntimeError(f"{path}: no block {number} of {label}")
    return found


def damage_text(path, label, *numbers):
    for number in numbers:
        for offset in text_blocks(path, label, number):
            overwrite(path, offset + 1000, b"DAMAGED")


def damage_both_mirrors(maker, recipe, files):
    """Different blocks on each device: every file still has a good copy of each block."""
    damage_text(files[0], b"sizes/stripes", 3, 100, 101, 200)
    damage_text(files[1], b"sizes/stripes", 4, 102, 250)


def damage_one_block(maker, recipe, files):
    damage_text(files[0], b"sizes/stripes", 5)


def damage_one_block_of_stripes(maker, recipe, files):
    """Blocks that only one device holds; found wherever raid5 put them."""
    for number in (2, 60, 130, 131, 300):
        for file in files:
            with contextlib.suppress(RuntimeError):
                damage_text(file, b"sizes/stripes", number)


def scrub_damage(maker, recipe, files):
    """The kernel repairs what was damaged and keeps count in dev-stats items."""
    damage_both_mirrors(maker, recipe, files)
    with maker.rig.mounted(files) as root:
        # Exit status 3: errors were found, and corrected.
        subprocess.run([maker.tools.btrfs, "scrub", "start", "-B", root],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def damage_one_metadata_copy(maker, recipe, files):
    """Of each pair of equal tree blocks, now one and now the other is damaged."""
    fsid = Superblock(files[0]).metadata_fsid
    copies = {}
    with open(files[0], "rb") as file:
        for offset in blocks(files[0], lambda raw: raw[32:48] == fsid):
            if offset in SUPERBLOCK_MIRRORS:
                continue
            copies.setdefault(os.pread(file.fileno(), recipe.nodesize, offset), []).append(offset)
    pairs = [offsets for offsets in copies.values() if len(offsets) == 2]
    if not pairs:
        raise RuntimeError(f"{recipe.name}: no tree block has two copies")
    for number, offsets in enumerate(pairs):
        overwrite(files[0], offsets[number % 2] + 200, b"DAMAGED")


def lose_tree_root(maker, recipe, files):
    superblock = Superblock(files[0])
    head = superblock.root.to_bytes(8, "little")
    for offset in blocks(files[0], lambda raw: raw[32:48] == superblock.metadata_fsid
                         and raw[48:56] == head):
        if offset not in SUPERBLOCK_MIRRORS:
            overwrite(files[0], offset, bytes(recipe.nodesize))


def lose_superblocks(*mirrors):
    def lose(maker, recipe, files):
        for mirror in mirrors:
            overwrite(files[0], SUPERBLOCK_MIRRORS[mirror], bytes(SUPERBLOCK_SIZE))
    return lose


def damage_superblock(maker, recipe, files):
    overwrite(files[0], SUPERBLOCK_MIRRORS[0] + 0x48, b"\xff\xff")


def several_commits(tree):
    for number in range(6):
        tree.text(f"commit-{number}", 5000)
        tree.sync()


def shrink(tree):
    tree.sync()
    run(tree.tools.btrfs, "filesystem", "resize", f"{300 * MIB}", tree.root)


def paused_balance(tree):
    """Leaves a balance item: the next writable mount would go on with it."""
    for number in range(10):
        tree.text(f"common/more-{number}", 500_000)
    tree.sync()
    for _ in range(20):
        balance = subprocess.Popen(
            [tree.tools.btrfs, "balance", "start", "--full-balance", tree.root],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.01)
        paused = subprocess.run([tree.tools.btrfs, "balance", "pause", tree.root],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        balance.wait()
        if paused.returncode == 0:
            return
    raise Unavailable("balance was always done before it could be paused")


def recipes(recipe):
    """The images; recipe is the constructor of recipes.py."""
    two = {"devices": 2, "size": 192 * MIB, "data": "raid1", "metadata": "raid1"}
    return [
        recipe("seed", "a seed device: read-only by a superblock flag", "BT-093",
               build=build_seed),
        recipe("seed-sprout-2", "a sprout (first file) over its seed (second file)", "BT-093",
               devices=2, build=build_sprout,
               expect="the two superblocks differ in fsid; without the seed data is missing"),
        recipe("removed-device-2", "device 1 was removed; 2 and 3 are there", "BT-093",
               build=build_removed_device, **two),
        recipe("replaced-device-2", "device 1 was replaced: a replace item stays", "BT-093 BT-097",
               build=build_replaced_device, **two),
        recipe("stale-mirror-2", "the second device missed a mount", "BT-035 BT-077 BT-093",
               build=build_stale_mirror, checked=False,
               expect="metadata and data of the second file are out of date in places", **two),
        recipe("resized", "smaller than its image file", "BT-093",
               size=400 * MIB,
               scenes=(scenes.common, shrink)),
        recipe("dev-stats-2", "error counts in dev-stats items after a scrub", "BT-099",
               after=scrub_damage, **two),
        recipe("paused-balance", "a balance item", "BT-101",
               scenes=(scenes.common, paused_balance), oracle_options=("skip_balance",)),
        recipe("bad-data-2", "raid1 with damaged data blocks, each with one good copy",
               "BT-035 BT-077", after=damage_both_mirrors, checked=False, **two),
        recipe("bad-data-raid5-3", "raid5 with damaged data blocks that parity can restore",
               "BT-077 BT-095", devices=3, size=192 * MIB, data="raid5", metadata="raid1",
               after=damage_one_block_of_stripes, checked=False),
        recipe("bad-data", "a damaged data block without a second copy", "BT-077",
               after=damage_one_block, checked=False,
               expect="/sizes/stripes: EIO for block 5 (bytes 20480 to 24575) and only there"),
        recipe("bad-metadata-copies", "of each tree block one of two copies is damaged", "BT-035",
               metadata="dup", after=damage_one_metadata_copy, checked=False),
        recipe("lost-tree-root", "root of trees zeroed: backup roots lead to an older one",
               "BT-032", scenes=(scenes.common, several_commits), trimmed=False,
               options=("nodiscard",), after=lose_tree_root, checked=False,
               oracle_options=("rescue=usebackuproot",),
               expect="needs a backup root"),
        recipe("super-0-zeroed", "first superblock zeroed", "BT-032", damage=lose_superblocks(0),
               expect="needs superblock mirror 1"),
        recipe("super-0-damaged", "first superblock with a wrong checksum", "BT-032",
               damage=damage_superblock, expect="needs superblock mirror 1"),
        recipe("super-0-1-zeroed", "first two superblocks zeroed, 260 GiB sparse", "BT-032",
               size=260 << 30, damage=lose_superblocks(0, 1),
               expect="needs superblock mirror 2 at 256 GiB"),
    ]
