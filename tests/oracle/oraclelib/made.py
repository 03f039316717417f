"""What must hold of a file system that karst made: in the eyes of `btrfs check`, and of the kernel in use."""

import contextlib
import os
import random
import shutil

from imagelib.rig import run

# The fewest devices that a file system of the profile is made on here.
DEVICES = {"single": 1, "dup": 1, "raid0": 2, "raid1": 2, "raid1c3": 3, "raid1c4": 4, "raid10": 4, "raid5": 3,
           "raid6": 4}
PROFILES = list(DEVICES)
CHECKSUMS = ["crc32c", "xxhash", "sha256", "blake2"]
NODESIZES = [4096, 8192, 16384, 32768, 65536]
FEATURES = ["", "^no-holes", "^free-space-tree", "^skinny-metadata", "^extref", "block-group-tree", "mixed-bg",
            "quota"]


def settle(combination):
    """Mixed block groups have one profile, and nodes of the sector's size; nodes are no smaller than sectors."""
    settled = dict(combination)
    if settled["features"] == "mixed-bg":
        settled["metadata"] = settled["data"]
        settled["nodesize"] = settled.get("sectorsize", 4096)
    settled["nodesize"] = max(settled["nodesize"], settled.get("sectorsize", 4096))
    return settled


def device_count(combination):
    return max(DEVICES[combination["data"]], DEVICES[combination["metadata"]])


def shown(combination):
    return " ".join(str(value) if not isinstance(value, bool) else name
                    for name, value in combination.items() if value not in ("", False, "none"))


def format_options(combination):
    """Those that karst and mkfs.btrfs share; without features."""
    return ["--data", combination["data"], "--metadata", combination["metadata"], "--csum", combination["csum"],
            "--nodesize", str(combination["nodesize"]),
            "--sectorsize", str(combination.get("sectorsize", 4096)),
            *(["--mixed"] if combination["features"] == "mixed-bg" else [])]


def check(rig, files, quotas=False):
    """Every checker finds nothing; and the numbers of quota groups are right."""
    with rig.attached(files, read_only=True) as devices:
        rig.tools.check(devices[0], since=(0, 0))
        for checker in rig.tools.checkers if quotas else []:
            report = run(checker, "check", "--readonly", "--qgroup-report", devices[0]).decode()
            if "are different" in report or "inconsistent" in report:
                raise RuntimeError(f"{checker} check --qgroup-report: {report}")


@contextlib.contextmanager
def mounted_for_writing(rig, files):
    """The kernel can fall back to read-only, which mount(8) does not call a failure."""
    with rig.mounted(files) as directory:
        with open("/proc/mounts", "rb") as mounts:
            options = [line.split()[3].split(b",") for line in mounts if line.split()[1] == directory]
        if not options or b"rw" not in options[-1]:
            raise RuntimeError(f"not mounted for writing: {options}")
        yield directory


def use(rig, directory, seed):
    """Deletes some of what is there, writes something, and has the kernel read everything."""
    source = random.Random(seed)
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if source.random() < 0.5:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)  # what lies in a read-only subvolume stays
        else:
            os.unlink(entry.path)
    run(rig.tools.btrfs, "filesystem", "sync", directory)
    for number in range(30):
        with open(os.path.join(directory, b"written %d" % number), "wb") as file:
            file.write(source.randbytes(source.randint(1, 100_000)))
            if number % 10 == 0:
                os.fsync(file.fileno())
    run(rig.tools.btrfs, "subvolume", "snapshot", directory, os.path.join(directory, b"snapshot"))
    run(rig.tools.btrfs, "filesystem", "sync", directory)
    scrubbed = run(rig.tools.btrfs, "scrub", "start", "-B", directory).decode()
    if "no errors found" not in scrubbed:
        raise RuntimeError(f"scrub: {scrubbed}")
