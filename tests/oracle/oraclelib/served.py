"""A pool that karst serves, for as long as a with block lasts."""

import json
import os
import signal
import subprocess
import time

from oraclelib.nbd import Client


class Served:
    def __init__(self, karst, pool, *words):
        self.karst, self.pool, self.words = karst, pool, words
        self.socket = pool + ".nbd"

    def __enter__(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.log = open(self.pool + ".log", "w+b")
        self.server = subprocess.Popen([self.karst, "thin", "serve", self.pool, "-U", self.socket, *self.words],
                                       stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        limit = time.monotonic() + 60
        while not (os.path.exists(self.socket) and os.path.exists(self.pool + ".control")):
            if self.server.poll() is not None or time.monotonic() > limit:
                self.log.seek(0)
                raise RuntimeError(f"the pool is not served: {self.log.read().decode(errors='replace')[:500]}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, how=signal.SIGTERM):
        if self.server.poll() is None:
            self.server.send_signal(how)
        self.server.wait(timeout=120)
        self.log.close()

    def client(self, export):
        return Client(self.socket, export)

    def ask(self, *words):
        """A verb of karst thin that speaks to the pool, and what it printed."""
        done = subprocess.run([self.karst, "thin", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"karst thin {' '.join(words)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def status(self):
        return json.loads(self.ask("status", "--json", self.pool))
