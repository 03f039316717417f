"""Whether this machine can be asked, and a mount namespace of its own to do it in."""

import argparse
import os
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
IMAGES = os.path.join(ROOT, "tests", "images")
SKIPPED = 77
IN_NAMESPACE = "KARST_ORACLE_NAMESPACE"
MIB = 1 << 20
GIB = 1 << 30


def missing_for_us(karst):
    if os.geteuid() != 0:
        return "not root"
    if not os.path.exists(karst):
        return f"no {karst}: build it, or give --karst"
    for tool in ("losetup", "mount", "unshare", "tar", os.environ.get("MKFS_BTRFS", "mkfs.btrfs"),
                 os.environ.get("BTRFS", "btrfs")):
        if not shutil.which(tool):
            return f"no {tool}"
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", "btrfs"], check=False)
    with open("/proc/filesystems") as file:
        if "\tbtrfs\n" not in file.read():
            return "the kernel has no btrfs"
    if subprocess.run(["losetup", "--find"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                      check=False).returncode:
        return "no loop device is free"
    return None


def argument_parser(description):
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--karst", default=os.path.join(ROOT, "build", "release", "bin", "karst"),
                        type=os.path.abspath, help="the binary (default: that of the release build)")
    return parser


def enter(karst):
    """Goes on in a mount namespace of its own, or ends with SKIPPED and the reason."""
    reason = missing_for_us(karst)
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    if IN_NAMESPACE not in os.environ:
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--",
                              sys.executable, *sys.argv])
    # Ended from outside, it still takes away what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))


def print_wrong(wrong):
    """Kind to lines of what is wrong; the first of each."""
    for kind, lines in wrong.items():
        for line in lines[:20]:
            print(f"  {kind}: {line}")
        if len(lines) > 20:
            print(f"  {kind}: and {len(lines) - 20} more")
