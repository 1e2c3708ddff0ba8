"""Games on bad networks."""

import pytest

import gamekeeper
from gamekeeper import (
    Conditions,
    ConnectionStatus,
    Direction,
    LinkStats,
    ServerContext,
    StateError,
    ThreadedServer,
)
from playing import Game, loopback, wait_until

BAD = Conditions(loss=0.1, delay=0.02, jitter=0.01, duplicate=0.1, reorder=0.1, reorder_delay=0.03, corrupt=0.02, seed=3)


def test_defaults_are_the_librarys():
    theirs = gamekeeper._ffi.gk_conditions()
    size = gamekeeper._ffi.sizeof(theirs)
    gamekeeper._ffi.check(gamekeeper._ffi.lib.gk_conditions_init(gamekeeper._ffi.byref(theirs), size))
    assert bytes(Conditions()._native()) == bytes(theirs)


def test_guaranteed_messages_pass_a_bad_network(echoing):
    game, server, player, client = echoing
    for direction in Direction:
        server.simulate(direction, BAD)
    said = {b"%d" % number for number in range(10)}
    for message in said:
        player.send(message)
    player.play_until(lambda: said <= set(player.received), "the echoes")
    assert {message for _, message in game.messages} == said
    for direction in Direction:
        server.simulate(direction, None)
    player.send(b"well again")
    player.play_until(lambda: b"well again" in player.received, "the last echo")


def test_a_client_that_is_cut_off(serve, play):
    game = Game()
    server = serve(game, lambda context: context.setConnectionTimeout(0.5))
    player = play(server)
    player.join(game)
    client = game.clients[0]
    client.simulate(Direction.RECEIVE, Conditions(loss=1))
    assert client.wire == "mpgameserver"
    player.play_until(lambda: client.stats.simulated_receive.dropped > 0, "a datagram that is lost")
    assert client.stats.simulated_send == LinkStats() and client.stats.migrations == 0
    player.play_until(lambda: game.count("disconnect"), "the disconnect")
    assert client.status is ConnectionStatus.DROPPED
    client.simulate(Direction.SEND, Conditions(loss=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.5},
        {"loss": float("nan")},
        {"burst_length": 0},
        {"delay": -1},
        {"delay": 61},
        {"jitter": float("nan")},
        {"rate": -1},
        {"queue_bytes": 2**64},
        {"queue_bytes": 2**26},
        {"seed": -1},
    ],
)
def test_values_out_of_range(echoing, wrong):
    _, server, _, client = echoing
    for simulate in (server.simulate, client.simulate):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            simulate(Direction.SEND, Conditions(**wrong))
        with pytest.raises(ValueError):
            simulate(7, None)


def test_before_and_after():
    server = ThreadedServer(ServerContext(Game()), (loopback(), 0))
    with pytest.raises(StateError):
        server.simulate(Direction.SEND, BAD)
    server.start()
    server.simulate(Direction.SEND, BAD)
    server.stop()
    wait_until(lambda: not server.is_alive(), "the end")
    with pytest.raises(StateError):
        server.simulate(Direction.SEND, BAD)
