"""The control socket of a served pool."""

import json
import socket


def connect(pool):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(pool + ".control")
    connection.settimeout(60)
    return connection


def ask(pool, request):
    """The whole answer, {"ok": …} or {"error": …}."""
    with connect(pool) as connection, connection.makefile("rw") as lines:
        lines.write(json.dumps(request) + "\n")
        lines.flush()
        return json.loads(lines.readline())
