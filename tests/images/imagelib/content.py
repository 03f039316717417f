"""Names and file contents: different everywhere, yet compressing well, and made from a seed."""

import random

BLOCK_SIZE = 4096

WORDS = (b"karst sink cave doline polje spring stream limestone flowstone chamber shaft ponor "
         b"column curtain gypsum aquifer siphon boulder passage crystal").split()


def text(label, size):
    """Text in which each 4 KiB block tells its label and number, so that no two are the same."""
    if isinstance(label, str):
        label = label.encode()
    source = random.Random(label)
    phrase = b" ".join(source.choices(WORDS, k=12)) + b"\n"
    blocks = []
    for number in range(-(-size // BLOCK_SIZE)):
        head = b"%s block %d\n" % (label, number)
        turn = number % len(phrase)
        turned = phrase[turn:] + phrase[:turn]
        body = turned * (BLOCK_SIZE // len(turned) + 1)
        blocks.append((head + body)[:BLOCK_SIZE])
    return b"".join(blocks)[:size]


def noise(label, size):
    """Incompressible bytes."""
    return random.Random(label).randbytes(size)


def grain(label, size):
    """Text with an eighth of noise in each block: its compressed extents have several sectors."""
    plain = bytearray(text(label, size))
    for start in range(0, size, BLOCK_SIZE):
        length = min(BLOCK_SIZE // 8, max(0, size - start - 256))
        plain[start + 256:start + 256 + length] = noise(f"{label} {start}", length)
    return bytes(plain)


def crc32c(data, seed=0):
    """CRC-32C register update without inversions, as the kernel's crc32c(seed, data)."""
    register = seed
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register


def name_hash(name):
    """The hash that keys a btrfs directory entry or extended attribute."""
    return crc32c(name, 0xFFFFFFFE)


def colliding_names(count, prefix=b"", length=10):
    """Names that all have the same name_hash, extended-reference hashes included.

    CRC is linear: names of one length collide for any seed when the CRC from zero of
    their difference is zero. The low four bits of each letter of '`'..'o' are free, so
    the differences are the null space of a 32 x 4*length matrix over GF(2).
    """
    bits = [(place, bit) for place in range(length) for bit in range(4)]
    reduced = {}
    null_space = []
    for index, (place, bit) in enumerate(bits):
        difference = bytearray(length)
        difference[place] = 1 << bit
        image, choice = crc32c(difference), 1 << index
        while image:
            pivot = image.bit_length()
            if pivot not in reduced:
                reduced[pivot] = (image, choice)
                break
            image ^= reduced[pivot][0]
            choice ^= reduced[pivot][1]
        else:
            null_space.append(choice)
    names = []
    for number in range(count):
        choice = 0
        for position, vector in enumerate(null_space):
            if number >> position & 1:
                choice ^= vector
        name = bytearray(b"`" * length)
        for index, (place, bit) in enumerate(bits):
            if choice >> index & 1:
                name[place] |= 1 << bit
        names.append(prefix + bytes(name))
    if len(set(names)) != count or len({name_hash(name) for name in names}) != 1:
        raise ValueError(f"{count} colliding names of length {length} are too many")
    return names
