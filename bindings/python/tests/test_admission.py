"""Who comes in, and who hears what."""

import pytest

import gamekeeper
from gamekeeper import ConnectionStatus, RetryMode
from playing import Game, wait_until


class Door(Game):
    """A game that decides."""

    def __init__(self, decide, **todo):
        super().__init__(**todo)
        self.decide = decide
        self.asked = []

    def authorise(self, client, data):
        assert client.status is ConnectionStatus.JOINING and data == b""
        self.asked.append(client)
        return self.decide(client)


def asking(context):
    context.setAuthorise(True)


def test_let_in_at_once(serve, play):
    game = Door(lambda client: True)
    player = play(serve(game, asking))
    player.join(game)
    # The object that was asked about is the one that joins.
    assert game.clients == game.asked and game.clients[0].status is ConnectionStatus.CONNECTED
    assert not game.clients[0].accept() and not game.clients[0].refuse("too late")


def test_let_in_later(serve, play):
    game = Door(lambda client: None)
    player = play(serve(game, asking))
    player.play_until(lambda: game.asked, "the question")
    assert not game.clients
    assert game.asked[0].accept()
    player.join(game)
    assert game.clients == game.asked


def test_refused(serve, play):
    def fails(client):
        raise RuntimeError("a bug of the game's")

    for decide in (lambda client: False, lambda client: not client.refuse("no", 1001), fails):
        game = Door(decide)
        server = serve(game, asking)
        player = play(server)
        player.play_until(lambda: game.asked and not player.udp.connected(), "the refusal")
        assert game.asked[0].status is ConnectionStatus.DISCONNECTED
        server.stop()
        assert game.events == ["starting", "shutdown"]


def test_groups(serve, play):
    game = Door(lambda client: True, connect=lambda client: client.join_group("красный"))
    server = serve(game, asking)
    first, second = play(server), play(server)
    first.join(game)
    second.join(game)
    wait_until(lambda: len(game.clients) == 2, "both")
    one = first.client_of(game)
    assert server.server.send_group("красный", b"to all", RetryMode.RETRY_ON_TIMEOUT) == (2, 0)
    assert server.server.send_group("красный", b"to one", RetryMode.RETRY_ON_TIMEOUT, without=one) == (1, 0)
    assert server.server.send_group("red", b"to nobody") == (0, 0)
    second.play_until(lambda: sorted(second.received) == [b"to all", b"to one"], "both messages")
    first.play_until(lambda: first.received == [b"to all"], "its message")
    one.leave_group("красный")
    assert server.server.send_group("красный", b"") == (1, 0)
    for bad in ("", "a\0b", "n" * 65, "é" * 33):
        for call in (one.join_group, one.leave_group, lambda name: server.server.send_group(name, b"")):
            with pytest.raises(ValueError):
                call(bad)
    one.join_group("é" * 32)
    assert server.server.send_group("é" * 32, b"") == (1, 0)
    assert (server.server.broadcast(b""), server.server.broadcast(b"", without=one)) == (2, 1)


def test_a_password_is_checked():
    context = gamekeeper.ServerContext(Game())
    for wrong in (b"", bytes(257)):
        try:
            context.setPassword(wrong)
        except ValueError:
            continue
        raise AssertionError("taken: {!r}".format(wrong))
    context.setPassword(b"swordfish")
    context.setPassword(None)
    context.setSendRates(client=50_000)
    context.setDiscoveryInfo(b"a server")
