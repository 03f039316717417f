"""Tools, loop devices and mounts, each given back by whoever took it."""

import contextlib
import os
import re
import struct
import subprocess
import tempfile

SUPERBLOCK_OFFSET = 0x10000
SUPERBLOCK_SIZE = 4096
SUPERBLOCK_MIRRORS = (0x10000, 0x4000000, 0x4000000000)


class Unavailable(Exception):
    """These tools or this kernel cannot make the image asked for."""


def run(*command, **options):
    """Runs a command quietly; its output is shown when it fails."""
    try:
        return subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options).stdout
    except subprocess.CalledProcessError as error:
        shown = " ".join(os.fsdecode(part) for part in command)
        output = error.stdout.decode(errors="replace").strip()
        raise RuntimeError(f"{shown}: exit {error.returncode}\n{output}") from error


class Tools:
    """The btrfs-progs binaries in use and what they can do."""

    def __init__(self, environment):
        self.mkfs = environment.get("MKFS_BTRFS", "mkfs.btrfs")
        self.btrfs = environment.get("BTRFS", "btrfs")
        self.btrfstune = environment.get("BTRFSTUNE", "btrfstune")
        self.checkers = environment.get("BTRFS_CHECKERS", self.btrfs).split()
        self.mkfs_version = self.version_of(self.mkfs)
        self.features = self.listed("-O")
        self.runtime_features = self.listed("-R") if self.mkfs_version < (6, 3) else set()

    @staticmethod
    def version_of(tool):
        output = run(tool, "--version").decode()
        found = re.search(r"v(\d+)\.(\d+)", output)
        if not found:
            raise RuntimeError(f"{tool}: no version in {output!r}")
        return int(found[1]), int(found[2])

    def listed(self, option):
        output = run(self.mkfs, option, "list-all").decode()
        return set(re.findall(r"^(\S+)\s+- ", output, re.MULTILINE))

    def feature_arguments(self, wanted):
        """mkfs options for features, each a name or ^name, whatever the version calls them."""
        by_option = {"-O": [], "-R": []}
        for feature in wanted:
            name = feature.removeprefix("^")
            if name in self.features:
                by_option["-O"].append(feature)
            elif name in self.runtime_features:
                by_option["-R"].append(feature)
            elif not feature.startswith("^"):
                raise Unavailable(f"{self.mkfs} knows no feature {name}")
        return [part for option, names in by_option.items() if names
                for part in (option, ",".join(names))]

    def check(self, device, since):
        """Every checker that is new enough must find nothing wrong."""
        for checker in self.checkers:
            if self.version_of(checker) >= since:
                output = run(checker, "check", "--readonly", device).decode(errors="replace")
                # "cannot scan": other, detached loop devices
                complaints = [line for line in output.splitlines() if "cannot scan" not in line
                              and line.startswith(("ERROR", "WARNING"))]
                if complaints:
                    raise RuntimeError(f"{checker} check: {output}")


class Rig:
    """A scratch directory, and loop devices and mounts that end with their `with` block."""

    def __init__(self, tools, scratch):
        self.tools = tools
        self.scratch = scratch

    @contextlib.contextmanager
    def attached(self, files, read_only=False):
        devices = []
        try:
            for file in files:
                options = ["--read-only"] if read_only else []
                device = run("losetup", "--find", "--show", *options, file).decode().strip()
                devices.append(device)
            yield devices
        finally:
            for device in devices:
                subprocess.run([self.tools.btrfs, "device", "scan", "--forget", device],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                run("losetup", "--detach", device)

    @contextlib.contextmanager
    def mounted_devices(self, devices, options=()):
        directory = tempfile.mkdtemp(dir=self.scratch, prefix="mount-")
        every = ["subvolid=5", *options, *(f"device={device}" for device in devices)]
        try:
            run("mount", "-t", "btrfs", "-o", ",".join(every), devices[0], directory)
            try:
                yield os.fsencode(directory)
            finally:
                run("umount", directory)
        finally:
            os.rmdir(directory)

    @contextlib.contextmanager
    def mounted(self, files, options=(), read_only=False):
        """Mounts the top level; read_only keeps even log replay from writing."""
        with self.attached(files, read_only) as devices:
            if read_only:
                options = ["ro", *options]
            with self.mounted_devices(devices, options) as directory:
                yield directory


def make_sparse_file(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


def copy_sparse(source, target):
    run("cp", "--sparse=always", source, target)


class Superblock:
    """The few fields of a device's primary superblock that the recipes look at."""

    def __init__(self, path):
        with open(path, "rb") as file:
            file.seek(SUPERBLOCK_OFFSET)
            raw = file.read(SUPERBLOCK_SIZE)
        self.valid = raw[0x40:0x48] == b"_BHRfS_M"
        self.generation, self.root, _, self.log_root = struct.unpack_from("<QQQQ", raw, 0x48)
        self.devid, self.total_bytes = struct.unpack_from("<QQ", raw, 0xC9)
        self.metadata_fsid = raw[0x20:0x30]
