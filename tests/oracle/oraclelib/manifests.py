"""Manifests of mounted file systems (tests/images/kernel-manifest) and where two of them differ."""

import collections
import json
import os

from imagelib.rig import run

from .machine import IMAGES


def manifest_of(directory, *without):
    command = [os.path.join(IMAGES, "kernel-manifest"), directory]
    if without:
        command += ["--without", ",".join(without)]
    lines = run(*command).decode().splitlines()
    return {entry["path"]: entry for entry in map(json.loads, lines)}


def link_groups(manifest):
    groups = collections.defaultdict(list)
    for path, entry in manifest.items():
        if entry["type"] != "dir" and entry["nlink"] > 1:
            groups[entry.get("subvolid"), entry["ino"]].append(path)
    return sorted(sorted(group) for group in groups.values())


def differences(expected, found, left_out=(), of_directories=()):
    lines = []
    for path in sorted(expected.keys() | found.keys()):
        if path not in found or path not in expected:
            lines.append(f"{path}: only {'expected' if path in expected else 'found'}")
            continue
        ours, kernels = found[path], expected[path]
        for field in kernels.keys() | ours.keys():
            if field in left_out or (kernels["type"] == "dir" and field in of_directories):
                continue
            # Times that the kernel makes up are not in its manifest.
            if field in ("mtime", "ctime", "btime") and field not in kernels:
                continue
            if ours.get(field) != kernels.get(field):
                lines.append(f"{path}: {field} is {ours.get(field)!s:.200}, "
                             f"expected {kernels.get(field)!s:.200}")
    return lines
