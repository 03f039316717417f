"""How manifests write byte strings."""


def escape(raw):
    """Printable ASCII stands for itself; each other byte and the backslash become \\xNN."""
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in raw)
