"""The server's role for the Python package mpgameserver: the application of game.rs, under the package's own loop.

    python python_server.py <workload> <unreliable|guaranteed>

Speaks the lines of control.rs. Defaults of the package throughout, but for the tick of the workloads that have one.
"""

import os
import resource
import socket
import sys
import threading
import time

from mpgameserver import EllipticCurvePrivateKey, EventHandler, RetryMode, ServerContext, TwistedServer

TICK_HZ = 20.0
PIECE = bytes(200)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Game(EventHandler):
    def __init__(self, work, retry):
        super().__init__()
        self.work = work
        self.retry = retry
        self.clients = {}
        self.messages = self.measured = self.ticks = self.sent = 0
        self.times = []

    def connect(self, client):
        self.clients[client.token] = client

    def disconnect(self, client):
        self.clients.pop(client.token, None)

    def handle_message(self, client, seqnum, msg=b""):
        self.messages += 1
        if self.work == "echo":
            client.send(bytes(msg), retry=self.retry)
            self.sent += 1
        elif self.work == "listen" and msg[8] == 1:
            self.measured += 1
            self.times.append((time.monotonic_ns() - int.from_bytes(msg[:8], "big")) // 1000)

    def update(self, delta_t):
        self.ticks += 1
        # As in game.rs: the game begins when somebody plays.
        if self.work == "tick" and self.messages:
            for client in list(self.clients.values()):
                client.send(PIECE)
                self.sent += 1

    def values(self, base):
        times = sorted(self.times)
        values = {
            "messages": self.messages,
            "measured": self.measured,
            "ticks": self.ticks,
            "sent": self.sent,
            "refused": 0,
            "peers": len(self.clients),
            "base": base,
            "resident": resident(),
            "wall": time.monotonic_ns(),
            "cpu": time.process_time_ns(),
        }
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("longest", 1.0)):
            if times:
                values[name] = times[min(int(len(times) * share), len(times) - 1)] / 1000
        return " ".join(f"{name}={value}" for name, value in values.items())


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def control(game, base, ready):
    """Answers marks until the end of standard input, which ends the process."""
    # The package tells of a start when its loop runs; the socket is bound a moment later.
    time.sleep(0.5)
    print(ready, flush=True)
    for line in sys.stdin:
        if line.strip() != "mark":
            break
        print("mark", game.values(base), flush=True)
    os._exit(0)


def main(workload, delivery, base):
    works = {"echo": "echo", "ping": "echo", "tick": "tick"}
    retry = RetryMode.RETRY_ON_TIMEOUT if delivery == "guaranteed" else RetryMode.NONE
    game = Game(works.get(workload, "listen"), retry)
    root = EllipticCurvePrivateKey.new()
    context = ServerContext(game, root)
    if game.work == "tick":
        context.setInterval(1.0 / TICK_HZ)
    address = ("127.0.0.1", free_port())
    # The key of the native wire, which the package does not have, stands first.
    key = bytes(32) + root.getPublicKey().getBytes()
    ready = f"ready {address[0]}:{address[1]} {key.hex()}"
    threading.Thread(target=control, args=(game, base, ready), daemon=True).start()
    TwistedServer(context, address, install_signals=False).run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], resident())
