"""A recording game on a gamekeeper server, and the real mpgameserver client to play on it."""

import logging
import os
import socket
import threading
import time
from collections import Counter

import mpgameserver

import gamekeeper

#: Seconds for whatever is not the point of a test. A busy machine may take all of it.
PATIENCE = 60.0

# The package's client logs a late acknowledgement as an error; it is none.
logging.getLogger("mpgameserver").setLevel(logging.CRITICAL)


def wait_until(condition, what="it", patience=PATIENCE):
    """Waits for a condition; fails the test when it does not come."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "waited {} s in vain for {}".format(patience, what)
        time.sleep(0.002)


def loopback():
    """A loopback address of this process's own, so that nobody else takes the ports on it."""
    pid = os.getpid()
    return "127.{}.{}.{}".format(1 + pid // 65025 % 250, pid // 255 % 255, 1 + pid % 254)


def free_port(host):
    """A UDP port that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Game(gamekeeper.EventHandler):
    """Writes down what it is told; a test may give it something to do at each event."""

    def __init__(self, **todo):
        self.events = []
        self.clients = []
        self.messages = []
        self.threads = set()
        self.ticks = 0
        self.seconds = 0.0
        #: what to do at an event, after it is written down: its name -> a function of its arguments
        self.todo = todo

    def _note(self, name, *arguments):
        self.threads.add(threading.get_ident())
        self.events.append(name)
        if name in self.todo:
            self.todo[name](*arguments)

    def count(self, name):
        return Counter(self.events)[name]

    def starting(self):
        self._note("starting")

    def shutdown(self):
        self._note("shutdown")

    def connect(self, client):
        self.clients.append(client)
        self._note("connect", client)

    def disconnect(self, client):
        self._note("disconnect", client)

    def update(self, delta_t):
        # Not into the events: there are many.
        self.threads.add(threading.get_ident())
        self.ticks += 1
        self.seconds += delta_t
        if "update" in self.todo:
            self.todo["update"](delta_t)

    def handle_message(self, client, seqnum, msg=b""):
        self.messages.append((seqnum, msg))
        self._note("message", client, msg)

    def writable(self, client):
        self._note("writable", client)


def echo(client, message):
    """To do at a message: send it back, whatever happens on the way."""
    client.send_guaranteed(message)


class Player:
    """The real package's client. It reads one datagram a frame, so a frame costs no time here."""

    def __init__(self, address, key=None):
        self.answers = []
        self.received = []
        #: Others who get a frame whenever this one does, so that they do not fall silent.
        self.friends = []
        pinned = None
        if key is not None:
            pem = key.getPublicKey().getPublicKeyPEM()
            pinned = mpgameserver.EllipticCurvePublicKey.fromPEM(pem)
        self.udp = mpgameserver.UdpClient(pinned)
        self.udp.connect(address, callback=self.answers.append)

    def frame(self):
        for player in [self] + self.friends:
            player.udp.update()
            player.received += [message for _, message in player.udp.getMessages()]

    def play_until(self, condition, what="it", patience=PATIENCE):
        def played():
            self.frame()
            return condition()

        wait_until(played, what, patience)

    def join(self, game=None):
        """Connects; with a game, until that has been told. The client counts itself connected one datagram
        before the server can know."""
        self.play_until(self.udp.connected, "the connection")
        if game is not None:
            self.play_until(lambda: self.client_of(game), "the news of the connection")
        return self

    def client_of(self, game):
        """The game's object for this player, or None."""
        return next((client for client in game.clients if client.token == self.udp.token()), None)

    def send(self, message, retry=mpgameserver.RetryMode.RETRY_ON_TIMEOUT):
        self.udp.send(message, retry=retry)

    def ask(self, message):
        """Sends a message and gives the next one that comes."""
        before = len(self.received)
        self.send(message)
        self.play_until(lambda: len(self.received) > before, "an answer")
        return self.received[before]

    @property
    def address(self):
        """Where the server sees it. The system gives every loopback datagram this source."""
        host = "::1" if self.udp.sock.family == socket.AF_INET6 else "127.0.0.1"
        return host, self.udp.sock.getsockname()[1]

    def leave(self):
        """Says goodbye and waits for the answer, as a game would."""
        self.udp.disconnect()
        self.udp.waitForDisconnect()

    def vanish(self):
        """Leaves without a word."""
        self.udp.forceDisconnect()
