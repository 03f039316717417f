"""System calls and structures that Python's standard library has no name for."""

import ctypes
import fcntl
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)

# linux/falloc.h
FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10

# linux/fs.h
FICLONERANGE = 0x4020940D
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FITRIM = 0xC0185879
FS_COMPR_FL = 0x00000004
FS_NOCOW_FL = 0x00800000
RENAME_EXCHANGE = 2
AT_FDCWD = -100

# linux/posix_acl_xattr.h
ACL_VERSION = 2
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER = 1, 2, 4, 8, 16, 32
ACL_UNDEFINED_ID = 0xFFFFFFFF


def check(result, *what):
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), *what)


def fallocate(path, mode, offset, length):
    fd = os.open(path, os.O_RDWR)
    try:
        check(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)), path)
    finally:
        os.close(fd)


def preallocate(path, offset, length, keep_size=False):
    fallocate(path, FALLOC_KEEP_SIZE if keep_size else 0, offset, length)


def punch_hole(path, offset, length):
    fallocate(path, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)


def zero_range(path, offset, length):
    fallocate(path, FALLOC_ZERO_RANGE, offset, length)


def clone_range(source, source_offset, length, target, target_offset):
    """Shares an extent range; length 0 means to the end of the source."""
    source_fd = os.open(source, os.O_RDONLY)
    try:
        target_fd = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.ioctl(target_fd, FICLONERANGE,
                        struct.pack("=qQQQ", source_fd, source_offset, length, target_offset))
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def add_inode_flags(path, flags):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        (present,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("l", 0)))
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", present | flags))
    finally:
        os.close(fd)


def rename_exchange(first, second):
    check(libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE), first)


def trim(directory):
    """Discards all free space, so that old copies of tree blocks do not stay in the image."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FITRIM, struct.pack("=QQQ", 0, 2**64 - 1, 0))
    finally:
        os.close(fd)


def fsync(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def encode_acl(*entries):
    """The value of system.posix_acl_access or _default from (tag, permissions[, id]) tuples."""
    value = struct.pack("<I", ACL_VERSION)
    for tag, permissions, *identity in entries:
        value += struct.pack("<HHI", tag, permissions, *(identity or [ACL_UNDEFINED_ID]))
    return value
