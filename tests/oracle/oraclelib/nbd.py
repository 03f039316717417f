"""A small NBD client, so that what a server sends is judged by something that is not ours or its library's.

Fixed newstyle handshake, simple replies, and structured ones for block status.
Source: the NBD protocol, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
"""

import socket
import struct

OPT_EXPORT_NAME, OPT_LIST, OPT_GO = 1, 3, 7
REP_ACK, REP_SERVER, REP_INFO = 1, 2, 3
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES = 0, 1, 2, 3, 4, 6
FLAG_FUA, FLAG_NO_HOLE = 1, 2
# What an export can do: bits of its transmission flags.
READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN = 2, 4, 8, 32, 64, 256


class NbdError(Exception):
    def __init__(self, code):
        super().__init__(f"NBD error {code}")
        self.code = code


class Client:
    def __init__(self, path, export=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.socket.connect(path)
        magic, option_magic, _ = struct.unpack(">QQH", self._receive(18))
        assert magic == 0x4E42444D41474943 and option_magic == 0x49484156454F5054, "not a newstyle NBD server"
        self.socket.sendall(struct.pack(">I", 3))  # fixed newstyle, no zeroes
        self.handle = 0
        if export is not None:
            self.go(export)

    def _receive(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the NBD server closed the connection")
            data += piece
        return bytes(data)

    def _option(self, option, payload):
        self.socket.sendall(struct.pack(">QII", 0x49484156454F5054, option, len(payload)) + payload)
        replies = []
        while True:
            _, _, kind, length = struct.unpack(">QIII", self._receive(20))
            data = self._receive(length)
            if kind & 0x80000000:
                raise NbdError(kind)
            if kind == REP_ACK:
                return replies
            replies.append((kind, data))

    def exports(self):
        names = []
        for kind, data in self._option(OPT_LIST, b""):
            if kind == REP_SERVER:
                length = struct.unpack(">I", data[:4])[0]
                names.append(data[4:4 + length].decode())
        return names

    def go(self, export):
        """Chooses the export."""
        name = export.encode()
        self.size = self.flags = None
        self.minimum, self.preferred = 1, 4096
        wanted = struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, INFO_BLOCK_SIZE)
        for kind, data in self._option(OPT_GO, wanted):
            if kind == REP_INFO:
                what = struct.unpack(">H", data[:2])[0]
                if what == INFO_EXPORT:
                    self.size, self.flags = struct.unpack(">QH", data[2:12])
                elif what == INFO_BLOCK_SIZE:
                    self.minimum, self.preferred, _ = struct.unpack(">III", data[2:14])

    def _command(self, command, offset, length, flags=0, data=b"", expect=0):
        self.handle += 1
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, self.handle, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self._receive(16))
        assert magic == 0x67446698 and handle == self.handle, "not the reply to this request"
        if error:
            raise NbdError(error)
        return self._receive(expect)

    def read(self, offset, length):
        return self._command(CMD_READ, offset, length, expect=length)

    def write(self, offset, data, fua=False):
        self._command(CMD_WRITE, offset, len(data), FLAG_FUA if fua else 0, data)

    def flush(self):
        self._command(CMD_FLUSH, 0, 0)

    def trim(self, offset, length, fua=False):
        self._command(CMD_TRIM, offset, length, FLAG_FUA if fua else 0)

    def zero(self, offset, length, hole=True):
        self._command(CMD_WRITE_ZEROES, offset, length, 0 if hole else FLAG_NO_HOLE)

    def close(self):
        try:
            self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, CMD_DISC, 0, 0, 0))
        except OSError:
            pass
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
