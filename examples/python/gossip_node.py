#!/usr/bin/env python3
"""A node of a peer-to-peer network that gossips: what one knows, all come to know.

    python3 examples/python/gossip_node.py NAME PORT [NEIGHBOUR_PORT...]

Every few seconds a node tells each neighbour all that it knows, over a connection of its own, and hears in return what
the neighbour knows. A line of JSON is a message: {"port": of the sender's node, "facts": {key: value}}. The package
`gamekeeper` is in bindings/python.
"""

import json
import socket
import sys

from gamekeeper import Framing, Server


class Node(Server):
    def __init__(self, name, port, neighbours=(), interval=5.0):
        super().__init__("127.0.0.1", port, Framing.LINES, reconcile_interval=interval)
        self.facts = {name: "is here"}
        self.neighbours = set(neighbours)

    def _reconcile(self):
        for port in sorted(self.neighbours):
            try:
                self._learn(self._ask(port))
            except (OSError, ValueError) as error:
                print("neighbour", port, "cannot be asked:", error, file=sys.stderr, flush=True)

    def _ask(self, port):
        """A round of gossip with a neighbour: says what it knows, and returns what the neighbour does."""
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(self._news() + b"\n")
            with connection.makefile("rb") as answer:
                return answer.readline()

    def _new_connection_callback(self, conn, msg):
        self._learn(msg)
        self.messages[conn].put(self._news())

    _new_message_callback = _new_connection_callback

    def _news(self):
        return json.dumps({"port": self.address[1], "facts": self.facts}).encode()

    def _learn(self, line):
        news = json.loads(line)
        for key, value in news["facts"].items():
            if key not in self.facts:
                self.facts[key] = value
                print("learned that", key, value, flush=True)
        if news["port"] != self.address[1]:
            self.neighbours.add(news["port"])


if __name__ == "__main__":
    name, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]
    Node(name, ports[0], ports[1:]).start()
