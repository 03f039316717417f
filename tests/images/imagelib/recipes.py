"""Every image: what it is for and how it is made. README.md has a table of them."""

import dataclasses
from collections.abc import Callable

from . import crash, scenes, special

MIB = 1 << 20
KIB = 1 << 10


@dataclasses.dataclass
class Recipe:
    name: str
    about: str
    serves: str                                 # behaviours, by ID
    scenes: tuple[Callable, ...] = (scenes.common,)
    devices: int = 1
    size: int = 256 * MIB                       # of each device
    data: str = "single"
    metadata: str = "single"
    mixed: bool = False
    csum: str = "crc32c"
    nodesize: int = 16 * KIB
    sectorsize: int = 4 * KIB
    features: tuple[str, ...] = ()              # beyond DEFAULT_FEATURES, ^name to leave one out
    options: tuple[str, ...] = ()               # mount options while the scenes are made
    tune: tuple[tuple[str, ...], ...] = ()      # btrfstune calls afterwards
    crash: Callable | None = None               # scene after a commit, cut off by a crash
    log: bool = False                           # the crash must leave a log tree
    log_after_commit: bool = False              # the crash scene itself may commit before
    after: Callable | None = None               # last change, to the unmounted image files
    damage: Callable | None = None              # the same, after the oracle has looked
    build: Callable | None = None               # takes the place of mkfs and scenes
    trimmed: bool = True                        # free space is discarded, old tree blocks with it
    rootdir: bool = False                       # made by mkfs from a directory, never mounted
    swapped: bool = False                       # device numbers run against file numbers
    oracle_options: tuple[str, ...] = ()        # mount options under which the oracle looks
    checked: bool = True                        # whether btrfs check must find it clean
    check_since: tuple[int, int] = (0, 0)       # oldest checker that knows the format
    label: str = ""
    expect: str = ""                            # what a reader should know beforehand


DEFAULT_FEATURES = ("skinny-metadata", "no-holes", "extref", "free-space-tree",
                    "^block-group-tree")

PROFILES = "BT-035 BT-065 BT-077 BT-092"


def profile(data, metadata, devices, **others):
    name = data if data == metadata else f"{data}-{metadata}"
    return Recipe(f"{name}-{devices}", f"data {data}, metadata {metadata}, {devices} device(s)",
                  others.pop("serves", PROFILES), devices=devices, data=data, metadata=metadata,
                  size=others.pop("size", 192 * MIB), **others)


def log(name, about, scene, **others):
    return Recipe(f"log-{name}", f"log tree: {about}", "BT-005 BT-006 BT-007",
                  scenes=(scene.before,), crash=scene.crash, log=True, checked=False,
                  options=(*others.pop("options", ()), "commit=300"), **others)


RECIPES = [
    profile("single", "single", 1, size=256 * MIB),
    profile("single", "single", 3),
    profile("single", "dup", 1, size=256 * MIB),
    profile("dup", "dup", 1, size=256 * MIB),
    profile("raid0", "raid0", 2),
    profile("raid0", "raid0", 3),
    profile("raid0", "raid1", 5),
    profile("raid1", "raid1", 2),
    profile("raid1", "raid1", 3),
    profile("raid1c3", "raid1c3", 3),
    profile("raid1c3", "raid1c3", 5),
    profile("raid1c4", "raid1c4", 4),
    profile("raid10", "raid10", 4),
    profile("raid10", "raid10", 5),
    profile("raid5", "raid5", 2, serves=PROFILES + " BT-095"),
    profile("raid5", "raid5", 3, serves=PROFILES + " BT-095"),
    profile("raid5", "raid1", 4, serves=PROFILES + " BT-095"),
    profile("raid5", "raid5", 5, serves=PROFILES + " BT-095"),
    profile("raid6", "raid6", 3, serves=PROFILES + " BT-095"),
    profile("raid6", "raid1c3", 4, serves=PROFILES + " BT-095"),
    profile("raid6", "raid6", 5, serves=PROFILES + " BT-095"),
    Recipe("raid1-swapped-2", "raid1; device 1 is in the second file", PROFILES,
           devices=2, size=192 * MIB, data="raid0", metadata="raid1", swapped=True),
    Recipe("mixed-profiles-3", "after a partial conversion: single, raid1 and raid5 side by side",
           PROFILES + " BT-101", devices=3, size=256 * MIB,
           scenes=(scenes.common, scenes.second_chunks,
                   scenes.balance_conversion("raid5", "raid1"))),
    Recipe("mixed-bg", "mixed block groups, single", "BT-092", mixed=True, nodesize=4 * KIB,
           size=64 * MIB),
    Recipe("mixed-bg-dup", "mixed block groups, dup", "BT-092", mixed=True, nodesize=4 * KIB,
           data="dup", metadata="dup"),
    Recipe("mixed-bg-raid1-2", "mixed block groups, raid1 on two devices", "BT-092",
           mixed=True, nodesize=4 * KIB, size=128 * MIB, devices=2,
           data="raid1", metadata="raid1"),

    *(Recipe(f"csum-{csum}", f"{csum} checksums", "BT-077", csum=csum,
             scenes=(scenes.common, scenes.extents)) for csum in ("xxhash", "sha256", "blake2")),
    *(Recipe(f"nodesize-{size}k", f"{size} KiB nodes", "BT-010 BT-078", nodesize=size * KIB,
             scenes=(scenes.common, scenes.xattrs, scenes.links, scenes.forest(400)))
      for size in (4, 8, 32, 64)),
    Recipe("levels-4k", "4 KiB nodes, trees of three levels", "BT-013 BT-021 BT-025 BT-054",
           nodesize=4 * KIB, scenes=(scenes.forest(2600), scenes.many_extents)),

    *(Recipe(f"sectorsize-{size}k", f"{size} KiB sectors, made by mkfs from a directory",
             "BT-078 BT-112", sectorsize=size * KIB, nodesize=max(16, size) * KIB,
             rootdir=True, check_since=(6, 8), scenes=(scenes.rootdir,),
             expect="the manifest is of the source directory; it lacks what mkfs makes up")
      for size in (8, 16, 32, 64)),
    *(Recipe(f"sectorsize-64k-{algorithm}", f"64 KiB sectors with {algorithm} extents",
             "BT-078 BT-081", sectorsize=64 * KIB, nodesize=64 * KIB, rootdir=True,
             check_since=(6, 13), scenes=(scenes.rootdir,), options=(f"compress={algorithm}",),
             expect="the manifest is of the source directory; it lacks what mkfs makes up")
      for algorithm in ("lzo", "zstd", "zlib")),

    Recipe("no-skinny-metadata", "full extent items for tree blocks", "BT-010 BT-040",
           features=("^skinny-metadata",)),
    Recipe("no-no-holes", "explicit hole extents", "BT-010 BT-065", features=("^no-holes",),
           scenes=(scenes.common, scenes.extents)),
    Recipe("no-extref", "no extended references", "BT-010 BT-055", features=("^extref",),
           scenes=(scenes.common, scenes.few_links)),
    Recipe("space-cache-v1", "free space cache v1", "BT-046", features=("^free-space-tree",),
           size=2048 * MIB,  # the kernel makes no such cache for block groups below 100 MiB
           options=("space_cache=v1",), scenes=(scenes.common, scenes.second_chunks)),
    Recipe("oldest", "none of the features that are on by default today", "BT-010",
           nodesize=4 * KIB, features=("^skinny-metadata", "^no-holes", "^extref",
                                       "^free-space-tree"), options=("nospace_cache",),
           scenes=(scenes.common, scenes.few_links, scenes.extents)),
    Recipe("block-group-tree", "block groups in a tree of their own", "BT-010 BT-038",
           features=("block-group-tree",), check_since=(6, 7)),
    Recipe("metadata-uuid", "metadata_uuid differs from fsid (btrfstune -m)", "BT-010",
           tune=(("-m",),)),
    Recipe("metadata-uuid-chosen", "metadata_uuid differs from fsid (btrfstune -M, twice)",
           "BT-010", tune=(("-M", "b7eb2a5e-63a2-4a5a-9c6c-b4dbb2fa1f42"),
                           ("-M", "1d5c1f1c-9f3b-4e0b-8b65-1f2f2f1f0e0d"))),
    Recipe("squota", "simple quotas: owner references in extent items", "BT-010 BT-088",
           features=("squota",), scenes=(scenes.common, scenes.quota_groups),
           check_since=(6, 7)),
    Recipe("quota", "quota groups with levels and limits", "BT-088",
           scenes=(scenes.common, scenes.classic_quota)),
    Recipe("empty", "nothing in it", "BT-010", scenes=()),
    Recipe("label", "label of the greatest length", "BT-010", label="karst " * 42 + "end"),

    *(Recipe(f"compress-{algorithm.split(':')[0]}", f"{algorithm} extents, inline ones too",
             "BT-081 BT-083",
             options=(f"compress={algorithm}",), scenes=(scenes.compressed,))
      for algorithm in ("zlib", "lzo", "zstd:3")),
    *(Recipe(f"compress-force-{algorithm.split(':')[0]}", f"{algorithm} forced", "BT-081 BT-083",
             options=(f"compress-force={algorithm}",), scenes=(scenes.compressed,))
      for algorithm in ("zlib:9", "lzo", "zstd:15")),
    Recipe("compress-properties", "algorithms by property and flag", "BT-062 BT-081",
           scenes=(scenes.compression_properties,)),
    Recipe("compress-lzo-4k-no-holes-off", "lzo with 4 KiB nodes and explicit holes",
           "BT-065 BT-081", nodesize=4 * KIB, features=("^no-holes",),
           options=("compress-force=lzo",), scenes=(scenes.compressed, scenes.extents)),
    Recipe("compress-sha256-raid5-3", "zstd extents with long checksums on parity stripes",
           "BT-077 BT-081 BT-095", devices=3, size=192 * MIB, data="raid5", metadata="raid1",
           csum="sha256", options=("compress=zstd",), scenes=(scenes.compressed,)),

    Recipe("extents", "holes, preallocation, bookends, shared and no-COW extents",
           "BT-065 BT-079", scenes=(scenes.extents,)),
    Recipe("nodatasum", "no data checksums", "BT-065 BT-077", options=("nodatasum",),
           scenes=(scenes.common, scenes.extents)),
    Recipe("no-inline", "max_inline=0", "BT-065", options=("max_inline=0",),
           scenes=(scenes.common,)),
    Recipe("names", "odd names and hash collisions", "BT-054", scenes=(scenes.names,)),
    Recipe("links", "extended references and their collisions", "BT-055", scenes=(scenes.links,)),
    Recipe("nodes", "inode types, modes, owners, times, symlinks", "BT-055 BT-057",
           scenes=(scenes.nodes,)),
    Recipe("xattrs", "attributes of all namespaces, ACLs", "BT-059 BT-061",
           scenes=(scenes.xattrs,)),
    Recipe("subvolumes", "nested, snapshots, default, deleted and received subvolumes",
           "BT-031 BT-051 BT-053", scenes=(scenes.subvolumes, scenes.receive,
                                            scenes.wait_for_cleaner)),
    Recipe("snapshots-4k", "blocks shared between many snapshots", "BT-031 BT-085",
           nodesize=4 * KIB, scenes=(scenes.many_snapshots,)),
    Recipe("backrefs-4k", "keyed and shared back references of extents and tree blocks",
           "BT-025 BT-085", nodesize=4 * KIB, scenes=(scenes.back_references,)),
    Recipe("relocated", "all chunks moved by balance, several of each kind", "BT-092 BT-101",
           scenes=(scenes.common, scenes.second_chunks, scenes.full_balance)),
    Recipe("relocated-raid1-2", "raid1 chunks moved by balance", "BT-092 BT-101", devices=2,
           size=192 * MIB, data="raid1", metadata="raid1",
           scenes=(scenes.common, scenes.full_balance)),
    Recipe("everything", "all scenes in one image",
           "BT-010 BT-054 BT-055 BT-059 BT-061 BT-065 BT-079 BT-081", nodesize=8 * KIB,
           csum="xxhash", options=("compress=zstd",),
           scenes=(scenes.common, scenes.names, scenes.links, scenes.nodes, scenes.xattrs,
                   scenes.extents, scenes.compressed, scenes.compression_properties,
                   scenes.subvolumes, scenes.forest(300), scenes.wait_for_cleaner)),
    Recipe("random-4k", "random operations, 4 KiB nodes", "BT-010 BT-065 BT-079",
           nodesize=4 * KIB, options=("compress=lzo",), scenes=(scenes.random_tree(1),)),
    Recipe("random-raid6-4", "random operations on four devices", "BT-010 BT-065 BT-079 BT-092",
           devices=4, size=192 * MIB, data="raid6", metadata="raid1c3", csum="blake2",
           features=("block-group-tree",), check_since=(6, 7), options=("compress=zstd",),
           scenes=(scenes.random_tree(2),)),
    *special.recipes(Recipe),
    *crash.recipes(Recipe, log),
]
