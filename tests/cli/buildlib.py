"""What tests of `karst btrfs build` and `mkfs` share: a scratch directory with a tree, and ways to build and look.

A test script ends with main(__doc__), which takes KARST as its first argument.
"""
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

import schema

KARST = ""
SCHEMAS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "json"
BTRFS = os.environ.get("BTRFS") or shutil.which("btrfs") or shutil.which("btrfs", path="/usr/sbin:/sbin")


class BuildCase(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="karst-build-")))
        self.image = self.scratch / "image"
        self.tree = self.scratch / "tree"
        (self.tree / "dir" / "deep").mkdir(parents=True)
        (self.tree / "small").write_bytes(b"small\n")
        (self.tree / "dir" / "large").write_bytes(b"0123456789abcdef" * 300_000)
        (self.tree / "dir" / "deep" / "noise").write_bytes(os.urandom(200_000))
        os.link(self.tree / "small", self.tree / "dir" / "hard")
        os.symlink("dir/large", self.tree / "soft")
        with open(self.tree / "sparse", "wb") as file:
            file.truncate(50_000_000)
            file.seek(20_000_000)
            file.write(b"island")

    def karst(self, *words, status=0, **options):
        options = {"capture_output": True, "timeout": 120, **options}
        run = subprocess.run([KARST, "btrfs", *map(str, words)], **options)
        self.assertEqual(run.returncode, status, run.stderr.decode(errors="replace"))
        return run

    def build(self, *words, **options):
        return self.karst("build", "-o", self.image, *words, **options)

    def write_plan(self, *entries):
        path = self.scratch / "plan.json"
        path.write_text(json.dumps({"version": 1, "entries": entries}))
        return path

    def write_tar(self, name, *members, **options):
        """A pax archive of (name, content, changes of its TarInfo)."""
        path = self.scratch / name
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, **options) as tar:
            for name, content, changes in members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                for key, value in changes.items():
                    setattr(member, key, value)
                tar.addfile(member, io.BytesIO(content))
        return path

    def members(self, *options):
        """What karst reads back, as tarfile has it."""
        archive = self.karst("export", "-o", "-", *options, self.image).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            return {member.name.removeprefix("./").rstrip("/"): member for member in tar}

    def check(self, image=None):
        self.karst("check", "--check-data-csum", image or self.image)
        if BTRFS:
            run = subprocess.run([BTRFS, "check", "--check-data-csum", image or self.image], capture_output=True)
            self.assertEqual(run.returncode, 0, run)
            self.assertIn(b"no error found", run.stdout + run.stderr)

    def assert_fits(self, report, verb):
        fits = json.loads((SCHEMAS / f"{verb}.schema.json").read_text())
        self.assertEqual(list(schema.problems(report, fits)), [])

    def contents(self, *options):
        """What karst reads back: names with types, and contents, link counts and times."""
        archive = self.karst("export", "-o", "-", *options, self.image).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            return {member.name.removeprefix("./").rstrip("/"): (member.type, member.linkname, member.mode, float(member.mtime),
                                              tar.extractfile(member).read() if member.isreg() else None)
                    for member in tar}

    def assert_holds_tree(self):
        found = self.contents()
        seen = {}
        for path in sorted(self.tree.rglob("*")):
            name = str(path.relative_to(self.tree))
            with self.subTest(name):
                kind, target, mode, _, content = found.pop(name)
                status = path.lstat()
                if path.is_symlink():
                    self.assertEqual((kind, target), (tarfile.SYMTYPE, os.readlink(path)))
                elif path.is_file():
                    if kind == tarfile.LNKTYPE:
                        target = target.removeprefix("./")
                        content = (found.get(target) or seen[target])[4]
                    self.assertEqual(hashlib.sha256(content).digest(), hashlib.sha256(path.read_bytes()).digest())
                    self.assertEqual(mode, status.st_mode & 0o7777)
                seen[name] = (kind, target, mode, 0, content)
        self.assertEqual(set(found) - {"", "."}, set())


def main(usage):
    global KARST
    if len(sys.argv) < 2:
        sys.exit(usage)
    KARST = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
