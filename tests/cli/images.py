"""The test images (tests/images), unpacked, and what the stock tool says of them."""
import hashlib
import json
import os
import pathlib
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "images" / "data"
# Dates in dumps are local, messages are in a language.
ENVIRONMENT = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}


def names():
    return sorted(path.name.removesuffix(".tar.zst") for path in DATA.glob("*.tar.zst"))


class Image:
    """One image, unpacked into a directory of its own below `scratch`."""

    def __init__(self, name, scratch):
        self.directory = pathlib.Path(scratch) / name
        if not self.directory.exists():
            self.directory.mkdir(parents=True)
            subprocess.run(["tar", "--zstd", "-xf", DATA / f"{name}.tar.zst", "-C", self.directory], check=True)
        self.info = json.loads((self.directory / f"{name}.info.json").read_text())
        self.files = [device["file"] for device in self.info["devices"]]  # relative to the directory
        self.manifest_path = self.directory / f"{name}.manifest.jsonl"

    @property
    def path(self):
        return str(self.directory / self.files[0])

    def arguments(self):
        """The image and its further devices, for verbs that open it."""
        more = [word for file in self.files[1:] for word in ("--device", file)]
        return [self.files[0], *more]

    def run(self, command):
        return subprocess.run(command, cwd=self.directory, env=ENVIRONMENT, capture_output=True, timeout=60)

    def manifest(self):
        for line in self.manifest_path.read_text().splitlines():
            yield json.loads(line)


def unescape(text):
    """Bytes of a name in a manifest."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


ESCAPES = {7: rb"\a", 8: rb"\b", 27: rb"\e", 12: rb"\f", 10: rb"\n", 13: rb"\r", 9: rb"\t", 11: rb"\v",
           32: rb"\ ", 92: rb"\\"}


def escaped(name):
    return b"".join(ESCAPES.get(c, bytes([c]) if 32 < c < 127 else b"\\%03o" % c) for c in name)


def stock_dump_as_ours(text):
    """What btrfs-progs printed, as we print it: without the line that names the program, and with names of
    subvolumes escaped where they are not UTF-8 (the stock tool escapes all other names)."""
    lines = text.split(b"\n")[1:]
    for number, line in enumerate(lines):
        match = re.fullmatch(rb"(\t\troot (?:back)?ref key dirid \d+ sequence \d+ name )(.*)", line)
        if match:
            try:
                match[2].decode()
            except UnicodeDecodeError:
                lines[number] = match[1] + escaped(match[2])
    return b"\n".join(lines)


def digest(text):
    return hashlib.sha256(text).hexdigest()
