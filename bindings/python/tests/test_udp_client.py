"""The client that a game's main loop runs, on both wires and at the real package's server names."""

import inspect
import time

import mpgameserver
import pytest

import gamekeeper
from gamekeeper import (
    Conditions,
    ConnectionStatus,
    Direction,
    EllipticCurvePrivateKey,
    LinkStats,
    RetryMode,
    StateError,
    UdpClient,
    WouldBlock,
)
from playing import PATIENCE, Game, echo, free_port, loopback, wait_until

WIRES = ["mpgameserver", "native"]
PLAIN = [RetryMode.NONE, RetryMode.BEST_EFFORT, RetryMode.RETRY_ON_TIMEOUT]
OWN = [RetryMode.SEQUENCED, RetryMode.ORDERED]


@pytest.fixture
def join():
    """Connects clients and plays until they are connected; all are gone at the end."""
    clients = []

    def connect(server, wire, **options):
        client = client_of(wire, **options)
        clients.append(client)
        answers = []
        client.connect(server.addr, answers.append)
        assert client.status() is ConnectionStatus.CONNECTING and not client.connected()
        play(client, lambda: answers)
        assert answers == [True] and client.connected()
        return client

    yield connect
    for client in clients:
        client.forceDisconnect()


def client_of(wire, **options):
    if wire == "native" and "server_native_key" not in options:
        options["trust_any"] = True
    client = UdpClient(wire=wire, **options)
    # A busy machine may take long for a handshake.
    client.setConnectionTimeout(30)
    client.setMessageTimeout(30)
    return client


def play(client, condition):
    def played():
        client.update(1 / 60)
        return condition()

    wait_until(played)


def test_the_methods_are_the_real_clients():
    theirs = {name for name, _ in inspect.getmembers(mpgameserver.UdpClient, inspect.isfunction) if name[0] != "_"}
    # A private matter of the real one.
    theirs.remove("onDisconnectCallback")
    for name in theirs:
        their = list(inspect.signature(getattr(mpgameserver.UdpClient, name)).parameters)
        ours = list(inspect.signature(getattr(UdpClient, name)).parameters)
        assert ours[: len(their)] == their, name
    default = inspect.signature(mpgameserver.UdpClient.send).parameters["retry"].default
    assert inspect.signature(UdpClient.send).parameters["retry"].default == default
    # A change of import suffices.
    assert UdpClient().status() is ConnectionStatus.DISCONNECTED


@pytest.mark.parametrize("wire", WIRES)
def test_every_mode_comes_back(serve, join, wire):
    game = Game(message=echo)
    client = join(serve(game), wire)
    modes = PLAIN + OWN if wire == "native" else PLAIN
    outcomes = {}
    for mode in modes:
        client.send(b"%d" % mode.value, mode, lambda ok, mode=mode: outcomes.setdefault(mode, []).append(ok))
    received = []
    play(client, lambda: received.extend(client.getMessages()) or (len(received), len(outcomes)) == (len(modes),) * 2)
    assert outcomes == {mode: [True] for mode in modes}
    assert sorted(message for _, message in received) == sorted(b"%d" % mode.value for mode in modes)
    assert client.token() == game.clients[0].token != 0
    assert client.latency() > 0 and client.stats().received > 0
    assert game.clients[0].wire == wire and game.clients[0].stats.migrations == 0


def test_modes_that_the_wire_does_not_have(serve, join):
    client = join(serve(Game()), "mpgameserver")
    for mode in OWN:
        with pytest.raises(ValueError):
            client.send(b"in order", mode, pytest.fail)


def test_ordered_messages_keep_their_order(serve, join):
    def answer(client, message):
        client.send(message, RetryMode.ORDERED, channel=9, priority=2, redundancy=1)

    client = join(serve(Game(message=answer)), "native")
    sent = [b"%d" % number for number in range(200)]
    for message in sent:
        client.send(message, RetryMode.ORDERED, channel=3)
    received = []
    play(client, lambda: received.extend(client.getMessages()) or len(received) == len(sent))
    assert [message for _, message in received] == sent


@pytest.mark.parametrize("wire", WIRES)
def test_large_messages(serve, join, wire):
    client = join(serve(Game(message=echo)), wire)
    message = bytes(range(256)) * 2000
    done = []
    client.send_guaranteed(message, done.append)
    play(client, lambda: client.hasMessages() and done)
    assert client.getMessage()[1] == message and done == [True]
    with pytest.raises(IndexError):
        client.getMessage()
    with pytest.raises(gamekeeper.MessageTooLarge):
        client.send(bytes(64 * 1024 * 1024))
    with pytest.raises(TypeError):
        client.send("text")
    with pytest.raises(ValueError):
        client.send(b"", channel=256)


@pytest.mark.parametrize("wire", WIRES)
def test_leaving_delivers_what_is_queued(serve, join, wire):
    game = Game()
    client = join(serve(game), wire)
    done = []
    client.send_guaranteed(b"last words", done.append)
    client.disconnect()
    assert client.status() is ConnectionStatus.DISCONNECTING
    client.send(b"too late", callback=done.append)
    client.waitForDisconnect()
    assert done == [True, False] and client.status() is ConnectionStatus.DISCONNECTED
    wait_until(lambda: "disconnect" in game.events)
    assert [message for _, message in game.messages] == [b"last words"]


@pytest.mark.parametrize("wire", WIRES)
def test_leaving_by_updates_alone(serve, join, wire):
    game = Game()
    client = join(serve(game), wire)
    client.disconnect()
    play(client, lambda: client.status() is ConnectionStatus.DISCONNECTED and "disconnect" in game.events)


@pytest.mark.parametrize("wire", WIRES)
def test_sent_away(serve, join, wire):
    game = Game(message=lambda client, message: client.disconnect())
    client = join(serve(game), wire)
    client.send_guaranteed(b"go")
    play(client, lambda: not client.connected())
    assert client.end_code != 0 and client.end_reason
    done = []
    client.send_guaranteed(b"nobody hears", done.append)
    assert done == []
    play(client, lambda: done)
    assert done == [False]


@pytest.mark.parametrize("wire", WIRES)
def test_every_callback_is_called_once_when_the_session_is_given_up(serve, join, wire):
    client = join(serve(Game()), wire)
    outcomes = []
    for _ in range(20):
        client.send_guaranteed(bytes(5000), outcomes.append)
    client.forceDisconnect()
    assert outcomes == [False] * 20
    client.update()
    assert len(outcomes) == 20


def test_nobody_is_there():
    for wire in WIRES:
        client = client_of(wire)
        client.setConnectionTimeout(0.2)
        answers = []
        client.connect((loopback(), free_port(loopback())), answers.append)
        play(client, lambda: answers)
        assert answers == [False] and client.end_code != 0 and client.end_reason
        client.forceDisconnect()
        assert answers == [False]


def test_keys(serve, join):
    key = EllipticCurvePrivateKey.new()
    server = serve(Game(), key=key)
    assert join(server, "mpgameserver", server_public_key=key.getPublicKey()).connected()
    # The real package's keys do too.
    theirs = mpgameserver.EllipticCurvePublicKey.fromPEM(key.getPublicKey().getPublicKeyPEM())
    assert join(server, "mpgameserver", server_public_key=theirs).connected()
    native = join(server, "native").server_native_key()
    assert join(server, "native", server_native_key=native).server_native_key() == native
    assert join(server, "native", server_native_key=native.hex().upper()).connected()
    other = join(serve(Game()), "native").server_native_key()
    wrong = [
        client_of("mpgameserver", server_public_key=EllipticCurvePrivateKey.new().getPublicKey()),
        client_of("native", server_native_key=other),
    ]
    for client in wrong:
        client.setConnectionTimeout(0.5)
        answers = []
        client.connect(server.addr, answers.append)
        play(client, lambda: answers)
        assert answers == [False] and not client.connected()
        client.forceDisconnect()


def test_whom_to_believe_must_be_said():
    key = EllipticCurvePrivateKey.new().getPublicKey()
    for arguments in (
        dict(wire="native"),
        dict(wire="native", server_native_key=bytes(32), trust_any=True),
        dict(wire="native", server_public_key=key),
        dict(wire="native", server_native_key=bytes(31)),
        dict(wire="native", server_native_key="z" * 64),
        dict(wire="mpgameserver", server_native_key=bytes(32)),
        dict(wire="carrier pigeon"),
        dict(wire="native", trust_any=True, password=b"swordfish"),
        dict(password=b"swordfish"),
        dict(join_data=b"a name"),
    ):
        with pytest.raises(ValueError):
            UdpClient(**arguments)
    with pytest.raises(TypeError):
        UdpClient("a key")


def test_password_and_join_data(serve, join):
    class Door(Game):
        def authorise(self, client, data):
            self.data = data
            return True

    game, root = Door(), EllipticCurvePrivateKey.new()
    server = serve(game, lambda context: context.setAuthorise(True), key=root)
    key = join(server, "native", join_data=b"a name").server_native_key()
    assert game.data == b"a name"
    strict = serve(Game(), lambda context: context.setPassword(b"swordfish"), key=root)
    join(strict, "native", server_native_key=key, password=b"swordfish")
    client = client_of("native", server_native_key=key, password=b"halibut")
    answers = []
    client.connect(strict.addr, answers.append)
    play(client, lambda: answers)
    assert answers == [False] and client.end_code == gamekeeper._codes.GK_DISCONNECT_REFUSED
    client.forceDisconnect()


def test_a_callback_that_connects_anew(serve, join):
    server = serve(Game(message=echo))
    client = join(server, "native")
    again = []

    def anew(ok):
        client.connect(server.addr, again.append)
        raise RuntimeError("a bug of the game's")

    client.send_guaranteed(b"x", anew)
    play(client, lambda: again and client.connected())
    assert again == [True]


def test_a_full_queue_tells(serve, join):
    client = join(serve(Game()), "native")
    with pytest.raises(WouldBlock):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            client.send_guaranteed(bytes(4_000_000), lambda ok: None)


def test_the_server_is_gone(serve, join):
    for wire in WIRES:
        server = serve(Game())
        client = join(server, wire)
        server.stop()
        play(client, lambda: not client.connected())
        assert client.end_code != 0


@pytest.mark.parametrize("wire", WIRES)
def test_a_bad_network(serve, join, wire):
    server = serve(Game(message=echo))
    with pytest.raises(StateError):
        UdpClient().simulate(Direction.SEND, Conditions(loss=1))
    client = join(server, wire)
    for direction in Direction:
        client.simulate(direction, Conditions(loss=0.2, delay=0.01, seed=5))
    said = {b"%d" % number for number in range(10)}
    received = set()
    for message in said:
        client.send(message)
    play(client, lambda: received.update(message for _, message in client.getMessages()) or received == said)
    stats = client.stats()
    assert stats.simulated_send.pushed > 0 and stats.simulated_receive.pushed > 0
    assert stats.simulated_send.dropped <= stats.simulated_send.pushed
    client.simulate(Direction.SEND, Conditions(loss=1))
    before = client.stats().simulated_send.dropped
    client.send(b"lost")
    play(client, lambda: client.stats().simulated_send.dropped > before)
    for direction in Direction:
        client.simulate(direction, None)
    assert client.stats().simulated_send == client.stats().simulated_receive == LinkStats()
    with pytest.raises(ValueError, match="loss"):
        client.simulate(Direction.SEND, Conditions(loss=2))
    with pytest.raises(ValueError):
        client.simulate(7, None)


def test_the_handshake_passes_it_too(serve):
    server = serve(Game())
    client = client_of("native")
    client.connect(server.addr)
    client.simulate(Direction.SEND, Conditions(loss=1))
    play(client, lambda: client.stats().simulated_send.dropped > 1)
    assert client.status() is ConnectionStatus.CONNECTING
    client.simulate(Direction.SEND, None)
    play(client, client.connected)
    client.forceDisconnect()


@pytest.mark.parametrize("wire", WIRES)
def test_the_servers_time(serve, join, wire):
    assert UdpClient().server_clock() is None and UdpClient().server_tick() is None
    started = time.monotonic()
    client = join(serve(Game(message=echo)), wire)
    if wire == "mpgameserver":
        assert client.server_clock() is None and client.server_tick() is None
        return
    play(client, lambda: (client.server_tick() or 0) > 0)
    first = client.server_clock()
    # The server started after `started`; the estimate can be off by a round trip.
    assert 0 <= first <= time.monotonic() - started + PATIENCE
    play(client, lambda: client.server_clock() > first)
