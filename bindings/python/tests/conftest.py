"""What all tests share."""

import faulthandler

import pytest

import gamekeeper
from playing import Game, Player, echo, loopback

#: No test takes this long: one that does hangs. Its stacks are printed and the run ends.
SECONDS_PER_TEST = 150


@pytest.fixture(autouse=True)
def _time_limit():
    faulthandler.dump_traceback_later(SECONDS_PER_TEST, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def serve():
    """Starts servers in background threads; all are stopped at the end.

    `serve(game, configure)` gives the server; `configure` gets its context before the start.
    """
    servers = []

    def start(game, configure=None, key=None, host=None, context=None):
        if context is None:
            context = gamekeeper.ServerContext(game, key)
            # A busy machine may keep a player from its frames for longer than the default 5 s.
            context.setConnectionTimeout(120)
        if configure:
            configure(context)
        server = gamekeeper.ThreadedServer(context, (host or loopback(), 0))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def play():
    """Makes players; all are gone at the end."""
    players = []

    def make(server, **options):
        player = Player(server.addr, **options)
        players.append(player)
        return player

    yield make
    for player in players:
        player.vanish()


@pytest.fixture
def echoing(serve, play):
    """A game that echoes, its server, a player that has joined, and the client object that stands for it."""
    game = Game(message=echo)
    server = serve(game)
    player = play(server).join(game)
    return game, server, player, game.clients[0]
