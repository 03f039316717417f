#!/usr/bin/python3
"""Random work with fsyncs, cut off by crashes: images whose log the kernel and karst then replay.

    log_workload.py --seed 7 --crashes 4 --out DIR

makes for each crash, as root and with the kernel's btrfs:
    DIR/7-0.crash.img   the file system as the crash left it, with its log tree
    DIR/7-0.kernel.img  a copy of it after a read-only mount by the kernel, which has replayed the log
    DIR/7-0.json        options, the time of that mount, whether there was a log, the operations so far

Everything follows from the seed, which is printed; only times, inode numbers and where things lie on the disk
may differ from run to run. KernelReplay in log_oracle_test.cc compares the two images.
"""

import argparse
import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)

FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
FICLONERANGE = 0x4020940D
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
FS_COMPR_FL, FS_NOCOW_FL = 0x4, 0x800000
RENAME_EXCHANGE, RENAME_WHITEOUT = 2, 4
AT_FDCWD = -100
EMPTY_SUBVOLUME = 2  # inode number
SUPER_OFFSET, LOG_ROOT_OFFSET = 0x10000, 0x60

NAME_POOL = 24  # short names to choose from, so that they come back


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").strip()


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Crc32c:
    """The hash of names, and names that collide under it."""

    def __init__(self):
        self.table = []
        for byte in range(256):
            value = byte
            for _ in range(8):
                value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
            self.table.append(value)

    def raw(self, state, data):
        for byte in data:
            state = self.table[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state

    def colliding(self, prefix, rng, target):
        """A name that begins with prefix and whose last four bytes bring it to the hash `target`."""
        while True:
            head = prefix + b"%06d" % rng.randrange(10**6)
            state = self.raw(0xFFFFFFFE, head)
            # Backwards through the table: which state before the last four bytes gives the target?
            wanted = target
            for _ in range(4):
                index = next(i for i in range(256) if self.table[i] >> 24 == wanted >> 24)
                wanted = ((wanted ^ self.table[index]) << 8 | index) & 0xFFFFFFFF
            tail = bytes((state ^ wanted) >> shift & 0xFF for shift in (0, 8, 16, 24))
            if b"/" not in tail and b"\0" not in tail:
                return head + tail


class KernelGaveUp(Exception):
    """The kernel has aborted a transaction; what was copied until then is good."""


class Workload:
    """Random operations below a mounted directory. Failing ones (a name that exists …) do nothing.

    Each seed has its own selection of operations, since some make the kernel commit instead of log.
    """

    def __init__(self, rng, top, subvolumes):
        self.rng = rng
        self.top = top
        self.subvolumes = subvolumes
        self.recent = []   # paths changed last
        self.held = []     # descriptors of files without names
        self.journal = []
        self.counter = 0
        self.crc = Crc32c()
        kept = rng.choice([0.3, 0.6, 1.0])
        self.operations = [pair for pair in self.OPERATIONS if pair[0] is Workload.create or rng.random() < kept]
        self.sync_probability = rng.choice([0.1, 0.3, 0.5])

    # What there is.

    def walk(self):
        files, links, directories, self.stubs = [], [], [], []
        for base, names, others in os.walk(self.top):
            # In a snapshot, what stands for a nested subvolume can be removed; Linux 6.18 then fails to
            # replay the directory's log.
            paths = [os.path.join(base, name) for name in names]
            self.stubs += [path for path in paths if os.lstat(path).st_ino == EMPTY_SUBVOLUME]
            names[:] = [name for name in names if os.path.join(base, name) not in self.stubs]
            directories.append(base)
            for name in list(names):
                if os.path.islink(os.path.join(base, name)):
                    names.remove(name)
                    links.append(os.path.join(base, name))
            for name in others:
                path = os.path.join(base, name)
                (files if os.path.isfile(path) and not os.path.islink(path) else links).append(path)
        files.sort(), links.sort(), directories.sort()
        self.files, self.others, self.directories = files, links, directories

    def file(self):
        recent = [path for path in self.recent[-6:] if os.path.isfile(path) and not os.path.islink(path)]
        if recent and self.rng.random() < 0.4:
            return self.rng.choice(recent)
        return self.rng.choice(self.files)

    def directory(self):
        return self.rng.choice(self.directories)

    def inner_directory(self):
        fixed = {self.top, *self.subvolumes}
        return self.rng.choice([path for path in self.directories if path not in fixed])

    def entry(self):
        return self.rng.choice(self.files + self.others)

    def new_name(self):
        rng = self.rng
        kind = rng.random()
        if kind < 0.55:
            return b"n%d" % rng.randrange(NAME_POOL)   # small pool: names come back
        if kind < 0.65:
            return self.crc.colliding(b"c", rng, 0x1234567 + rng.randrange(3))
        if kind < 0.8:
            return b"long-%d-" % rng.randrange(10**6) + b"x" * rng.randrange(60, 230)
        self.counter += 1
        return b"f%d" % self.counter

    def new_path(self, directory=None):
        return os.path.join(directory or self.directory(), self.new_name())

    def data(self, size):
        rng = self.rng
        if rng.random() < 0.5:
            return (b"%08x " % rng.randrange(2**32) * (size // 9 + 1))[:size]
        return rng.randbytes(size)

    def size(self):
        rng = self.rng
        return rng.choice([0, rng.randrange(1, 2000), rng.randrange(1, 5000), 4096 * rng.randrange(1, 20),
                           rng.randrange(1, 300_000)])

    def offset(self, path):
        size = os.path.getsize(path)
        choice = self.rng.random()
        if choice < 0.3:
            return 4096 * self.rng.randrange(size // 4096 + 2)
        if choice < 0.4:
            return size
        return self.rng.randrange(size + 5000)

    @contextlib.contextmanager
    def opened(self, path, flags=os.O_RDWR):
        fd = os.open(path, flags, 0o644)
        try:
            yield fd
        finally:
            os.close(fd)

    # Operations; each returns the paths it touched.

    def create(self):
        path = self.new_path()
        with self.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            kind = self.rng.random()
            if kind < 0.08:
                self.add_flag(fd, FS_NOCOW_FL)
            elif kind < 0.16:
                self.add_flag(fd, FS_COMPR_FL)
            os.write(fd, self.data(self.size()))
        return [path]

    @staticmethod
    def add_flag(fd, flag):
        (present,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("l", 0)))
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", present | flag))

    def overwrite(self):
        path = self.file()
        with self.opened(path) as fd:
            for _ in range(self.rng.randrange(1, 4)):
                os.pwrite(fd, self.data(self.rng.randrange(1, 60_000)), self.offset(path))
        return [path]

    def append(self):
        path = self.file()
        with self.opened(path, os.O_WRONLY | os.O_APPEND) as fd:
            os.write(fd, self.data(self.size()))
        return [path]

    def synchronous_write(self):
        path = self.file()
        with self.opened(path, os.O_WRONLY | self.rng.choice([os.O_SYNC, os.O_DSYNC])) as fd:
            os.pwrite(fd, self.data(self.rng.randrange(1, 30_000)), self.offset(path))
        return [path]

    def mapped_write(self):
        path = self.file()
        size = os.path.getsize(path)
        if not size:
            return []
        with self.opened(path) as fd, mmap.mmap(fd, size) as mapped:
            at = self.rng.randrange(size)
            piece = self.data(min(size - at, self.rng.randrange(1, 20_000)))
            mapped[at:at + len(piece)] = piece
            if self.rng.random() < 0.5:
                mapped.flush()
        return [path]

    def truncate(self):
        path = self.file()
        size = os.path.getsize(path)
        os.truncate(path, self.rng.choice([0, size // 2, self.rng.randrange(size + 1), size + self.rng.randrange(200_000),
                                           size // 4096 * 4096]))
        return [path]

    def allocate(self):
        path = self.file()
        mode = self.rng.choice([0, FALLOC_KEEP_SIZE, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE,
                                FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE,
                                FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE])
        with self.opened(path) as fd:
            checked(libc.fallocate(fd, mode, ctypes.c_int64(self.offset(path)),
                                   ctypes.c_int64(self.rng.randrange(1, 120_000))))
        return [path]

    def clone(self):
        source, target = self.file(), self.file()
        size = os.path.getsize(source)
        start = 4096 * self.rng.randrange(size // 4096 + 1)
        length = self.rng.choice([0, 4096 * self.rng.randrange(1, 10)])
        to = 4096 * self.rng.randrange(30)
        with self.opened(source, os.O_RDONLY) as source_fd, self.opened(target) as fd:
            fcntl.ioctl(fd, FICLONERANGE, struct.pack("=qQQQ", source_fd, start, length, to))
        return [target, source]

    def rename_entry(self):
        source = self.entry() if self.rng.random() < 0.75 else self.inner_directory()
        target = self.new_path(os.path.dirname(source) if self.rng.random() < 0.5 else None)
        os.rename(source, target)
        return [target, os.path.dirname(source), os.path.dirname(target)]

    def rename_over(self):
        source, target = self.entry(), self.entry()
        os.rename(source, target)
        return [target, os.path.dirname(source), os.path.dirname(target)]

    def rename_special(self):
        pick = self.rng.random()
        if pick < 0.5:
            first, second, flags = self.entry(), self.entry(), RENAME_EXCHANGE
        elif pick < 0.8:
            first, second, flags = self.inner_directory(), self.rng.choice([self.entry(), self.inner_directory()]), RENAME_EXCHANGE
        else:
            first, second, flags = self.entry(), self.new_path(), RENAME_WHITEOUT
        checked(libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, flags))
        return [first, second, os.path.dirname(first), os.path.dirname(second)]

    def unlink(self):
        path = self.entry()
        os.unlink(path)
        return [os.path.dirname(path)]

    def replace(self):
        """Unlinks and makes the name anew: another inode under it."""
        path = self.entry()
        os.unlink(path)
        if self.rng.random() < 0.3:
            os.mkdir(path)
        else:
            with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
                os.write(fd, self.data(self.size()))
        return [path, os.path.dirname(path)]

    def remove_tree(self):
        path = self.inner_directory()
        if any(inner.startswith(path + b"/") for inner in self.subvolumes + self.stubs):
            return []
        shutil.rmtree(path)
        return [os.path.dirname(path)]

    def remove_directory(self):
        path = self.inner_directory()
        os.rmdir(path)
        return [os.path.dirname(path)]

    def make_directory(self):
        path = self.new_path()
        os.mkdir(path)
        if self.rng.random() < 0.5:
            path = os.path.join(path, self.new_name())
            os.mkdir(path)
        return [path]

    def link(self):
        source = self.entry()
        target = self.new_path()
        os.link(source, target, follow_symlinks=False)
        return [target, source]

    def many_links(self):
        source, directory = self.file(), self.directory()
        number = self.rng.randrange(10**6)
        for i in range(self.rng.randrange(5, 70)):
            os.link(source, os.path.join(directory, b"many-%d-%d-" % (number, i) + b"y" * self.rng.randrange(100, 220)))
        return [source, directory]

    def unlink_some_links(self):
        path = self.file()
        inode = os.stat(path).st_ino
        removed = []
        for other in self.files:
            if os.path.dirname(other) == os.path.dirname(path) and os.stat(other).st_ino == inode and self.rng.random() < 0.5:
                os.unlink(other)
                removed.append(os.path.dirname(other))
        return [path] + removed

    def symlink(self):
        path = self.new_path()
        os.symlink(b"t" * self.rng.choice([1, 10, 300, 3000]), path)
        return [path]

    def special(self):
        path = self.new_path()
        os.mknod(path, self.rng.choice([0o010600, 0o140644, 0o020600, 0o060640]), os.makedev(7, self.rng.randrange(9)))
        return [path]

    def attribute_name(self):
        if self.rng.random() < 0.3:
            return self.crc.colliding(b"user.", self.rng, 0x7654321)
        return b"%s.a%d" % (self.rng.choice([b"user", b"trusted"]), self.rng.randrange(8))

    def set_attribute(self):
        path = self.rng.choice(self.files + self.directories)
        for _ in range(self.rng.randrange(1, 4)):
            os.setxattr(path, self.attribute_name(), self.data(self.rng.choice([0, 5, 100, 1000])))
        return [path]

    def remove_attribute(self):
        having = [path for path in self.files + self.directories if os.listxattr(path)]
        path = self.rng.choice(having)
        names = os.listxattr(path)
        for name in self.rng.sample(names, self.rng.randrange(1, len(names) + 1)):
            os.removexattr(path, name)
        return [path]

    def change_owner(self):
        path = self.rng.choice(self.files + self.directories)
        os.chmod(path, self.rng.randrange(0o1000) | 0o600)
        os.chown(path, self.rng.randrange(3000), self.rng.randrange(3000))
        if self.rng.random() < 0.5:
            os.utime(path, ns=(self.rng.randrange(10**18), self.rng.randrange(10**18)))
        return [path]

    def temporary_linked(self):
        directory, path = self.directory(), self.new_path()
        with self.opened(directory, os.O_RDWR | os.O_TMPFILE) as fd:
            os.write(fd, self.data(self.size()))
            if self.rng.random() < 0.3:
                os.fsync(fd)
            os.link(b"/proc/self/fd/%d" % fd, path, follow_symlinks=True)
            if self.rng.random() < 0.5:
                os.fsync(fd)
        return [path]

    def unlinked_while_open(self):
        path = self.file()
        fd = os.open(path, os.O_RDWR)
        self.held.append(fd)
        os.unlink(path)
        os.write(fd, self.data(self.size()))
        if self.rng.random() < 0.6:
            os.fsync(fd)
        return [os.path.dirname(path)]

    def fill_directory(self):
        directory = self.directory()
        start = self.rng.randrange(10**6)
        for i in range(self.rng.randrange(10, 120)):
            path = os.path.join(directory, b"fill-%d-%d" % (start, i))
            with self.opened(path, os.O_WRONLY | os.O_CREAT) as fd:
                if i % 7 == 0:
                    os.write(fd, self.data(self.rng.randrange(3000)))
        return [directory, path]

    def thin_out_directory(self):
        directory = self.directory()
        for path in self.files:
            if os.path.dirname(path) == directory and self.rng.random() < 0.6:
                os.unlink(path)
        return [directory]

    OPERATIONS = (
        (create, 12), (overwrite, 8), (append, 5), (synchronous_write, 3), (mapped_write, 3), (truncate, 6), (allocate, 7),
        (clone, 4), (rename_entry, 10), (rename_over, 5), (rename_special, 4), (unlink, 6), (replace, 4), (remove_tree, 1),
        (remove_directory, 2), (make_directory, 6), (link, 7), (many_links, 1), (unlink_some_links, 2), (symlink, 2),
        (special, 1), (set_attribute, 5), (remove_attribute, 3), (change_owner, 2), (temporary_linked, 2),
        (unlinked_while_open, 2), (fill_directory, 1), (thin_out_directory, 1),
    )

    def sync_something(self):
        paths = [path for path in self.recent[-8:] if os.path.lexists(path)]
        path = self.rng.choice(paths) if paths and self.rng.random() < 0.8 else \
            self.rng.choice(self.files + self.directories)
        if os.path.islink(path) or not (os.path.isfile(path) or os.path.isdir(path)):
            path = os.path.dirname(path)
        with self.opened(path, os.O_RDONLY) as fd:
            (os.fsync if self.rng.random() < 0.8 else os.fdatasync)(fd)
        self.journal.append(f"fsync {self.shown(path)}")

    def shown(self, path):
        return os.path.relpath(path, self.top)[:80].decode(errors="replace")

    def step(self, may_sync):
        self.walk()
        if may_sync and self.rng.random() < self.sync_probability:
            self.sync_something()
            return
        operations, weights = zip(*self.operations)
        operation = self.rng.choices(operations, weights)[0]
        try:
            touched = operation(self)
        except (OSError, IndexError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EIO, errno.EROFS, errno.EUCLEAN):
                raise KernelGaveUp from error
            return
        self.recent += touched
        self.journal.append(f"{operation.__name__} {' '.join(map(self.shown, touched))}")

    def close(self):
        for fd in self.held:
            os.close(fd)


@contextlib.contextmanager
def mounted(image, scratch, options):
    device = run("losetup", "--find", "--show", image)
    try:
        directory = tempfile.mkdtemp(dir=scratch, prefix="mount-")
        try:
            run("mount", "-t", "btrfs", "-o", options, device, directory)
            try:
                yield directory
            finally:
                run("umount", directory)
        finally:
            os.rmdir(directory)
    finally:
        subprocess.run(["btrfs", "device", "scan", "--forget", device], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        run("losetup", "--detach", device)


def choose_options(rng):
    mkfs = ["--nodesize", str(rng.choice([4096, 4096, 16384])), "--csum", rng.choice(["crc32c", "crc32c", "xxhash", "sha256"]),
            "-O", rng.choice(["no-holes", "^no-holes"]), "-m", rng.choice(["single", "dup"])]
    mount = rng.choice(["", "", "compress=zstd", "compress-force=lzo", "compress-force=zlib", "nodatacow", "nodatasum",
                        "max_inline=0"])
    return mkfs, ",".join(filter(None, ["commit=300", "noatime", mount]))


def has_log(image):
    with open(image, "rb") as file:
        file.seek(SUPER_OFFSET + LOG_ROOT_OFFSET)
        return struct.unpack("<Q", file.read(8))[0] != 0


def copy_device(image, target):
    with open(image, "rb") as file:
        os.fsync(file.fileno())
    run("cp", "--sparse=always", image, target)


def subvolume_paths(rng, top):
    made = []
    for number in range(rng.randrange(3)):
        path = os.path.join(rng.choice([top, *made]), b"subvolume-%d" % number)
        run("btrfs", "subvolume", "create", os.fsdecode(path))
        made.append(path)
    return made


def make_crashes(arguments, scratch):
    rng = random.Random(arguments.seed)
    mkfs, mount = choose_options(rng)
    image = os.path.join(scratch, "work.img")
    with open(image, "wb") as file:
        file.truncate(512 << 20)
    run("mkfs.btrfs", "--quiet", *mkfs, image)
    crashes = []
    with mounted(image, scratch, mount) as top:
        top = os.fsencode(top)
        work = Workload(rng, top, subvolume_paths(rng, top))
        try:
            for _ in range(rng.randrange(10, 80)):
                work.step(may_sync=False)
            run("btrfs", "filesystem", "sync", os.fsdecode(top))
            if rng.random() < 0.3:
                run("btrfs", "subvolume", "snapshot", os.fsdecode(top), os.fsdecode(top) + "/snapshot")
                work.subvolumes.append(top + b"/snapshot")
                run("btrfs", "filesystem", "sync", os.fsdecode(top))
            for number in range(arguments.crashes):
                work.journal.append("---")
                for _ in range(rng.randrange(2, 40)):
                    work.step(may_sync=True)
                for _ in range(3):
                    with contextlib.suppress(OSError, IndexError):
                        work.walk()
                        work.sync_something()
                name = os.path.join(arguments.out, f"{arguments.seed}-{number}")
                copy_device(image, f"{name}.crash.img")
                crashes.append((name, list(work.journal)))
                if rng.random() < 0.3:
                    run("btrfs", "filesystem", "sync", os.fsdecode(top))
        except KernelGaveUp:
            work.journal.append("the kernel gave up")
        finally:
            work.close()
    for name, journal in crashes:
        replay(name, scratch, {"seed": arguments.seed, "mkfs": mkfs, "mount": mount, "journal": journal})


def replay(name, scratch, facts):
    """Has the kernel replay the log of a copy; read-only, so that nothing else changes."""
    crash, kernel = f"{name}.crash.img", f"{name}.kernel.img"
    run("cp", "--sparse=always", crash, kernel)
    facts["log"] = has_log(crash)
    facts["mounted_at"] = int(time.time()) - 1
    try:
        with mounted(kernel, scratch, "ro,noatime"):
            facts["kernel"] = "mounted"
    except RuntimeError as error:
        facts["kernel"] = str(error)
    with open(f"{name}.json", "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--crashes", type=int, default=4)
    parser.add_argument("--out", required=True)
    parser.add_argument("--scratch", default="/dev/shm")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.inside:
        # Mounts of our own, which end with us.
        again = [sys.executable, os.path.abspath(__file__), "--inside", "--seed", str(arguments.seed),
                 "--crashes", str(arguments.crashes), "--out", arguments.out, "--scratch", arguments.scratch]
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", *again])
    print(f"seed {arguments.seed}", flush=True)
    os.makedirs(arguments.out, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="log-workload-") as scratch:
        make_crashes(arguments, scratch)


if __name__ == "__main__":
    main()
