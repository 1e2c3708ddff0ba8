"""A bad network in the small: a UDP relay that loses, repeats, reorders, delays and damages datagrams.

Every client gets an upstream socket of its own, so that the server sees as many addresses as there are
clients. Decisions come from one seeded generator per direction; when they fall is up to the machine, so a
seed fixes how bad the network is, not the whole run.
"""

import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from dataclasses import dataclass

TO_SERVER = "to_server"
TO_CLIENT = "to_client"

CLIENT_HELLO, SERVER_HELLO, CHALLENGE_RESP, KEEP_ALIVE, DISCONNECT, APP, APP_FRAGMENT = range(1, 8)

#: The package's client raises into the game when these bytes of the header are damaged (magic, type).
RAISING_BYTES = frozenset((0, 1, 2, 3, 12))

#: More datagrams than this under way at once are lost, as in a router.
MAX_UNDER_WAY = 20_000

#: More clients than this are ignored: select() ends at descriptor 1024 in this process.
MAX_CLIENTS = 400


@dataclass
class Link:
    """One direction. Probabilities are per datagram, times in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    #: how much longer a datagram that is being reordered, or the copy of one, takes
    reorder_by: float = 0.03
    delay: float = 0.0
    jitter: float = 0.0
    corrupt: float = 0.0
    #: a hello is never repeated by the package's client; losing it is the end of the attempt
    spare_client_hello: bool = True


@dataclass
class Counts:
    """What became of the datagrams of one direction."""

    seen: int = 0
    lost: int = 0
    dropped_on_order: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0


def kind(datagram):
    """The type of a datagram's first message: it stands in clear."""
    return datagram[12] if len(datagram) > 12 else 0


class Relay:
    """Clients talk to `address`, the relay to the server at `upstream`. A context manager."""

    def __init__(self, upstream, seed=1, to_server=None, to_client=None):
        self.upstream = upstream
        self.links = {TO_SERVER: to_server or Link(), TO_CLIENT: to_client or Link()}
        self.counts = {TO_SERVER: Counts(), TO_CLIENT: Counts()}
        #: datagrams seen, by (direction, type)
        self.kinds = {}
        self._random = {d: random.Random(f"{seed} {d}") for d in (TO_SERVER, TO_CLIENT)}
        self._orders = []
        self._silent = set()
        self._lock = threading.Lock()
        self._heap = []
        self._number = itertools.count()
        self._clients = {}
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._down.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._down.bind(("127.0.0.1", 0))
        self._down.setblocking(False)
        self._selector.register(self._down, selectors.EVENT_READ, None)
        self.address = self._down.getsockname()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)
        for sock in [self._down, *self._clients.values()]:
            sock.close()
        self._selector.close()

    # ---- orders, from any thread

    def drop(self, direction, of_kind, nth=1, count=1):
        """Drops `count` datagrams of a type from the nth one on (from 1, counted from the relay's start)."""
        with self._lock:
            self._orders.append((direction, of_kind, nth, nth + count))

    def silence(self, direction, on=True):
        """Loses everything of one direction until told otherwise."""
        with self._lock:
            (self._silent.add if on else self._silent.discard)(direction)

    def set_links(self, to_server=None, to_client=None):
        with self._lock:
            if to_server:
                self.links[TO_SERVER] = to_server
            if to_client:
                self.links[TO_CLIENT] = to_client

    # ---- the relay's thread

    def _run(self):
        while not self._stop.is_set():
            now = time.monotonic()
            wait = 0.05
            if self._heap:
                wait = min(wait, max(0.0, self._heap[0][0] - now))
            for key, _ in self._selector.select(wait):
                self._read(key.fileobj, key.data)
            self._deliver_due()

    def _read(self, sock, client):
        for _ in range(256):  # then it is the other sockets' turn
            try:
                datagram, source = sock.recvfrom(65535)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                # The server is not there (any more); on loopback the kernel tells.
                continue
            if client is None:
                upstream = self._upstream_of(source)
                if upstream is not None:
                    self._accept(TO_SERVER, datagram, upstream, None)
            else:
                self._accept(TO_CLIENT, datagram, self._down, client)

    def _upstream_of(self, client):
        sock = self._clients.get(client)
        if sock is None:
            if len(self._clients) >= MAX_CLIENTS:
                return None
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.connect(self.upstream)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, client)
            self._clients[client] = sock
        return sock

    def _accept(self, direction, datagram, sock, target):
        counts, rng = self.counts[direction], self._random[direction]
        of_kind = kind(datagram)
        with self._lock:
            link = self.links[direction]
            counts.seen += 1
            number = self.kinds.get((direction, of_kind), 0) + 1
            self.kinds[(direction, of_kind)] = number
            if direction in self._silent or any(
                order[0] == direction and order[1] == of_kind and order[2] <= number < order[3]
                for order in self._orders
            ):
                counts.dropped_on_order += 1
                return
        spared = of_kind == CLIENT_HELLO and link.spare_client_hello
        if not spared and rng.random() < link.loss:
            counts.lost += 1
            return
        if not spared and rng.random() < link.corrupt:
            datagram = self._damage(direction, datagram, rng)
            counts.corrupted += 1
        latest = link.delay + rng.random() * link.jitter
        if rng.random() < link.reorder:
            counts.reordered += 1
            latest += rng.random() * link.reorder_by
        self._enqueue(latest, datagram, sock, target)
        if rng.random() < link.duplicate:
            counts.duplicated += 1
            self._enqueue(latest + rng.random() * link.reorder_by, datagram, sock, target)

    @staticmethod
    def _damage(direction, datagram, rng):
        index = rng.randrange(len(datagram))
        if direction == TO_CLIENT and index in RAISING_BYTES:
            index = len(datagram) - 1
        out = bytearray(datagram)
        out[index] ^= 1 << rng.randrange(8)
        return bytes(out)

    def _enqueue(self, after, datagram, sock, target):
        if len(self._heap) < MAX_UNDER_WAY:
            entry = (time.monotonic() + after, next(self._number), datagram, sock, target)
            heapq.heappush(self._heap, entry)

    def _deliver_due(self):
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            _, _, datagram, sock, target = heapq.heappop(self._heap)
            try:
                sock.sendto(datagram, target) if target else sock.send(datagram)
            except (BlockingIOError, ConnectionRefusedError):
                continue  # full, or nobody there: lost, as networks do
