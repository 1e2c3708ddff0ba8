"""A server written from mpgameserver's documentation alone. A test runs it on that package and, with
only the import changed, on gamekeeper.

Usage: documented_server.py <host> <port> <private key file> <access log>
"""

import logging
import sys

from mpgameserver import EllipticCurvePrivateKey, EventHandler, RetryMode, ServerContext, TwistedServer


def say(*words):
    print(*words, flush=True)


class Lobby(EventHandler):
    """Answers what it is asked, and tells everybody of newcomers."""

    def __init__(self):
        super().__init__()
        self.clients = {}
        self.time = 0.0
        self.ready = False

    def starting(self):
        say("starting")

    def shutdown(self):
        say("shutdown", len(self.clients))

    def connect(self, client):
        host, port = client.addr
        client.log.info("joined, latency %s", client.latency)
        for other in self.clients.values():
            other.send_guaranteed(b"joined")
        self.clients[client.token] = client
        say("connect", host, client.stats.received > 0, len(self.clients))

    def disconnect(self, client):
        del self.clients[client.token]
        say("disconnect", len(self.clients))

    def update(self, delta_t: float):
        self.time += delta_t

    def handle_message(self, client: EventHandler.Client, seqnum, msg: bytes = b""):
        word, _, rest = msg.partition(b" ")
        say("message", word.decode(), seqnum.newer_than(0))
        if word == b"echo":
            client.send(rest, retry=RetryMode.BEST_EFFORT)
        elif word == b"sure":
            client.send_guaranteed(rest, self.told)
        elif word == b"once":
            client.send(rest)
        elif word == b"number":
            client.send(rest, retry=-1)
        elif word == b"all":
            for other in self.clients.values():
                other.send(rest, retry=RetryMode.RETRY_ON_TIMEOUT, callback=None)
        elif word == b"time":
            client.send_guaranteed(b"running" if self.time > 0 else b"stands")
        elif word == b"stats":
            stats = client.stats
            lengths = {
                len(one) <= 300
                for one in (stats.pkts_sent, stats.pkts_recv, stats.bytes_sent, stats.bytes_recv, stats.latency)
            }
            good = stats.received > 0 and stats.assembled > 0 and stats.acked > 0 and stats.sent > 0
            client.send_guaranteed(repr((good, lengths)).encode())
        elif word == b"type":
            try:
                client.send("text")
            except TypeError:
                client.send_guaranteed(b"TypeError")
        elif word == b"fail":
            client.log.warning("about to fail")
            raise RuntimeError("on purpose")
        elif word == b"kick":
            client.disconnect()

    def told(self, success):
        say("told", success)


def main():
    host, port, key_file, access_log = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    with open(key_file) as file:
        key = EllipticCurvePrivateKey.fromPEM(file.read())
    context = ServerContext(Lobby(), key)
    context.setInterval(1 / 30)
    context.setKeepAliveInterval(0.1)
    context.setConnectionTimeout(5.0)
    context.setTempConnectionTimeout(2.0)
    context.setMessageTimeout(1.0)
    context.setBlockList({"192.0.2.1"})
    context.enableAccessLogs(access_log)
    server = TwistedServer(context, (host, int(port)))
    server.run()
    say("ended")


if __name__ == "__main__":
    main()
