"""Runs a server without signal handlers until Ctrl-C, which must leave run() as KeyboardInterrupt.

Usage: interrupted_server.py <host>
"""

import sys

import gamekeeper


class Game(gamekeeper.EventHandler):
    def starting(self):
        print("listening", *server.bound_address(), flush=True)

    def connect(self, client):
        print("connect", flush=True)

    def disconnect(self, client):
        print("disconnect", flush=True)

    def shutdown(self):
        print("shutdown", flush=True)


server = gamekeeper.TwistedServer(gamekeeper.ServerContext(Game()), (sys.argv[1], 0), install_signals=False)
try:
    server.run()
except KeyboardInterrupt:
    print("interrupted", flush=True)
