"""The real package's client, driven.

A game calls `update()` once a frame; each call reads at most one datagram. `pump` does it for many at
once, without a pause while something is left to read, and always ends: at its condition or at its time.
"""

import os
import random
import struct
import time

from mpgameserver import ConnectionStatus, UdpClient

NONE, BEST_EFFORT, RETRY_ON_TIMEOUT = 0, 1, -1
MODES = {"NONE": NONE, "BEST_EFFORT": BEST_EFFORT, "RETRY_ON_TIMEOUT": RETRY_ON_TIMEOUT}

#: Seconds for whatever is not the point of a test; a busy machine may take all of it.
PATIENCE = 120.0 if os.environ.get("INTEROP_SERVER", "gamekeeper") == "gamekeeper" else 15.0


def payload(number, size):
    """`size` bytes that no other number gives (from 4 bytes on)."""
    head = struct.pack(">L", number)[-size:] if size else b""
    return head + random.Random(number).randbytes(size - len(head))


class Player:
    """One client of the real package."""

    def __init__(self, address, key=None, source=None):
        """`source`: the client's own (host, port)."""
        self.address = address
        self.udp = UdpClient(key)
        self.received = []
        #: what of a message is kept in `received`; for tests with a hundred megabytes of them
        self.keep = bytes
        self.answers = []
        self.disconnect_answers = []
        original = self.udp.onDisconnectCallback

        def on_disconnect(success):
            self.disconnect_answers.append(success)
            original(success)

        self.udp.onDisconnectCallback = on_disconnect
        if source:
            make_socket = self.udp._make_socket

            def bound(target):
                sock = make_socket(target)
                sock.bind(source)
                return sock

            self.udp._make_socket = bound

    def connect(self):
        """Starts to connect. What the package reports goes to `answers`."""
        self.udp.connect(self.address, callback=self.answers.append)
        return self

    def update(self):
        """One frame; true if a datagram was read, so that more may be waiting."""
        conn = self.udp.conn
        if conn is None:
            return False
        before = conn.stats.received + conn.stats.dropped
        self.udp.update()
        for number, body in self.udp.getMessages():
            self.received.append((int(number), self.keep(body)))
        return conn.stats.received + conn.stats.dropped != before

    def send(self, body, mode=RETRY_ON_TIMEOUT, callback=None):
        self.udp.send(body, retry=mode, callback=callback)

    @property
    def token(self):
        return self.udp.token()

    @property
    def status(self):
        return self.udp.status()

    @property
    def connected(self):
        return self.udp.connected()

    @property
    def bodies(self):
        return [body for _, body in self.received]

    def datagrams_read(self):
        return self.udp.conn.stats.received + self.udp.conn.stats.dropped

    def leave(self):
        """Says goodbye and waits for the answer; true if it came.

        The package gives up after a second and reports the same whether an answer came or not; here it is
        given longer and asked what it saw.
        """
        self.udp.conn.outgoing_timeout = PATIENCE
        self.udp.disconnect()
        answered = pump([self], lambda: self.disconnect_answers, PATIENCE)
        self.udp.waitForDisconnect()
        return answered and self.disconnect_answers == [True]

    def forget(self):
        """Vanishes without a word."""
        self.udp.forceDisconnect()


def pump(players, until, timeout=PATIENCE, every=1 / 250):
    """Updates all players until the condition holds (true) or the time is over (false)."""
    deadline = time.monotonic() + timeout
    while True:
        busy = False
        for player in players:
            busy |= player.update()
        if until():
            return True
        if time.monotonic() > deadline:
            return False
        if not busy:
            time.sleep(every)


def run_for(players, seconds, every=1 / 250):
    pump(players, lambda: False, seconds, every)


def connect_all(players, handler, timeout=PATIENCE):
    """Connects and waits until the server has all of them too."""
    for player in players:
        player.connect()
    done = pump(
        players,
        lambda: all(p.connected for p in players) and all(p.token in handler.clients for p in players),
        timeout,
    )
    states = [(p.status.name, p.token in handler.clients) for p in players]
    assert done, f"not all connected (client, server): {states}"
    return players


__all__ = [
    "BEST_EFFORT",
    "ConnectionStatus",
    "MODES",
    "NONE",
    "PATIENCE",
    "Player",
    "RETRY_ON_TIMEOUT",
    "connect_all",
    "payload",
    "pump",
    "run_for",
]
