"""What the benchmarks share: commands, mounts that end with a with block, images made through the kernel."""
import os
import subprocess
import sys
import tempfile
import time


def run(command, **options):
    return subprocess.run(command, check=True, **options)


def shell(command, **options):
    return run(["bash", "-ec", "set -o pipefail; " + command], **options)


def in_private_namespace():
    """Runs this script again in a mount namespace of its own, unless it is in one."""
    if os.environ.get("KARST_BENCH_PRIVATE") != "1":
        os.environ["KARST_BENCH_PRIVATE"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable] + sys.argv)


class Use:
    """What one run of a command took."""

    def __init__(self, command):
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
        self.wall = time.monotonic() - start
        self.cpu = usage.ru_utime + usage.ru_stime
        self.memory = usage.ru_maxrss << 10


class Mount:
    """A kernel loop mount."""

    def __init__(self, image, options="ro"):
        self.image, self.options = image, options

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="karst-bench-")
        run(["mount", "-t", "btrfs", "-o", "loop," + self.options, self.image, self.dir])
        return self.dir

    def __exit__(self, *ignored):
        run(["umount", self.dir])
        os.rmdir(self.dir)


class Fuse:
    """A FUSE mount in the foreground, ended by unmounting it and waiting for its server."""

    def __init__(self, command):
        self.command = command

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="karst-bench-")
        self.server = subprocess.Popen([part.replace("{dir}", self.dir) for part in self.command])
        for _ in range(500):
            if os.path.ismount(self.dir):
                return self.dir
            if self.server.poll() is not None:
                sys.exit("FUSE server ended: " + " ".join(self.command))
            time.sleep(0.01)
        sys.exit("FUSE mount did not appear")

    def peak_memory(self):
        """The server's, in bytes, so far."""
        with open(f"/proc/{self.server.pid}/status") as status:
            return int(status.read().split("VmHWM:")[1].split()[0]) * 1024

    def __exit__(self, *ignored):
        run(["umount", self.dir])
        self.server.wait(timeout=60)
        os.rmdir(self.dir)


def make_image(path, size, options, fill):
    """A fresh btrfs with what fill(directory) puts into it."""
    with open(path, "wb") as file:
        file.truncate(size)
    run(["mkfs.btrfs", "-q", "-f", path], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    with Mount(path, "rw,noatime" + options) as directory:
        fill(directory)


def fill_with_small_files(top, count):
    """A fifth of the files in one directory, the rest in directories of 100; of those one in ten is a hard link."""
    large = os.path.join(top, "large-directory")
    os.mkdir(large)
    for number in range(count // 5):
        with open(f"{large}/file-with-a-longer-name-{number:08d}.dat", "wb") as file:
            file.write(b"x" * (number % 4 * 50))
    for group in range(count * 4 // 5 // 100):
        directory = f"{top}/{group % 40}/{group}"
        os.makedirs(directory)
        for number in range(100):
            path = f"{directory}/some-name-{number:03d}.txt"
            if number % 10 == 9:
                os.link(f"{directory}/some-name-{number - 1:03d}.txt", path)
                continue
            with open(path, "wb") as file:
                if number % 5 == 0:
                    file.write(b"%08d" % group * (number * 37 % 900))
                if number == 0:
                    os.setxattr(file.fileno(), "user.note", b"some words")
    run(["btrfs", "subvolume", "snapshot", top, top + "/snapshot"], stdout=subprocess.DEVNULL)
