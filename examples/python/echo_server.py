#!/usr/bin/env python3
"""An echo server: sends every message back, and ends with Ctrl-C.

    python3 examples/python/echo_server.py [host] [port]

Any mpgameserver client can play on it. The package `gamekeeper` is in bindings/python.
"""

import logging
import sys

from gamekeeper import EventHandler, RetryMode, ServerContext, TwistedServer


class Echo(EventHandler):
    def starting(self):
        print("listening on", *server.bound_address(), flush=True)

    def connect(self, client):
        client.log.info("joined")

    def disconnect(self, client):
        client.log.info("left; latency %.1f ms, %d packets received", 1000 * client.latency, client.stats.received)

    def handle_message(self, client, seqnum, msg=b""):
        client.send(msg, retry=RetryMode.RETRY_ON_TIMEOUT)

    def shutdown(self):
        print("stopped", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    host = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 1474
    server = TwistedServer(ServerContext(Echo()), (host, port))
    server.run()
