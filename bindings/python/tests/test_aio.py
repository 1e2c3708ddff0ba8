"""Clients and servers in an event loop of asyncio."""

import asyncio
import contextlib
import functools
import pathlib
import re
import socket

import pytest

import gamekeeper
from gamekeeper import Conditions, Direction, LinkStats, RetryMode, SessionEnded, StateError, _aio, _codes, aio
from playing import PATIENCE, Game, free_port, loopback

WIRES = ["native", "mpgameserver"]
PLAIN = [RetryMode.NONE, RetryMode.BEST_EFFORT, RetryMode.RETRY_ON_TIMEOUT]
#: A busy machine may take long for anything.
PATIENT = dict(handshake_timeout=30, connection_timeout=120, message_timeout=30)


def looped(test):
    """Runs a test in an event loop, which must have nothing to complain of."""

    @functools.wraps(test)
    def run(*arguments, **named):
        complaints = []

        async def limited():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            await asyncio.wait_for(test(*arguments, **named), PATIENCE)

        asyncio.run(limited())
        assert not complaints

    return run


def patient():
    context = gamekeeper.ServerContext(gamekeeper.EventHandler())
    context.setConnectionTimeout(120)
    return context


@contextlib.asynccontextmanager
async def serving(react=None, context=None, **options):
    """A server, and the list of its events, to each of which a function reacts."""
    events = []
    if context is None and not options:
        context = patient()

    async def run(server):
        async for event in server:
            events.append(event)
            if react is not None:
                react(event)

    async with aio.serve((loopback(), 0), context=context, **options) as server:
        task = asyncio.ensure_future(run(server))
        yield server, events
    # Closed: the iteration comes to its end by itself.
    await task


def echo(event):
    if isinstance(event, aio.Message):
        event.peer.post(event.data, RetryMode.RETRY_ON_TIMEOUT)


def join(server, wire="native", **options):
    pinned = "server_native_key" in options or "server_public_key" in options
    return aio.connect(server.addr, wire=wire, trust_any=not pinned, **dict(PATIENT, **options))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.002)


def kinds(events):
    return [type(event) for event in events]


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_every_mode_comes_back(wire):
    async with serving(echo) as (server, events), join(server, wire) as client:
        modes = list(RetryMode) if wire == "native" else PLAIN
        for mode in modes:
            assert await client.send(b"%d" % mode.value, mode) is True
        received = [(await client.__anext__()).data for _ in modes]
        assert sorted(received) == sorted(b"%d" % mode.value for mode in modes)
        assert client.token == server.peers()[0].token and client.latency > 0 and client.stats.received > 0
        if wire == "native":
            told = {event.data: event.mode for event in events if isinstance(event, aio.Message)}
            assert told == {b"%d" % mode.value: mode.value for mode in modes}
        else:
            with pytest.raises(ValueError):
                await client.send(b"in order", RetryMode.ORDERED)
            with pytest.raises(ValueError):
                client.post(b"in order", RetryMode.SEQUENCED)
    assert kinds(events) == [aio.Connected] + [aio.Message] * len(modes) + [aio.Disconnected]


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_large_messages(wire):
    message = bytes(range(256)) * 4000
    async with serving(echo) as (server, _), await join(server, wire) as client:
        assert await client.send(message)
        async for event in client:
            assert event.data == message and event.peer is client
            break
        with pytest.raises(gamekeeper.MessageTooLarge):
            await client.send(bytes(64 * 1024 * 1024))
        with pytest.raises(TypeError):
            await client.send("text")


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_the_server_waits_for_a_client(wire):
    async with serving() as (server, events), join(server, wire) as client:
        await until(lambda: server.peers())
        assert await server.peers()[0].send(b"hello") is True
        assert (await client.__anext__()).data == b"hello"


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_leaving_delivers_what_is_queued(wire):
    async with serving() as (server, events):
        client = await join(server, wire)
        client.post(bytes(200000), RetryMode.RETRY_ON_TIMEOUT)
        await client.disconnect(timeout=PATIENCE)
        await client.disconnect()
        with pytest.raises(SessionEnded):
            await client.send(b"too late")
        with pytest.raises(SessionEnded):
            client.post(b"too late")
        assert kinds([event async for event in client]) == [aio.Disconnected]
        await until(lambda: aio.Disconnected in kinds(events))
        assert kinds(events) == [aio.Connected, aio.Message, aio.Disconnected]
        with pytest.raises(SessionEnded):
            await events[0].peer.send(b"nobody hears")


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_sent_away(wire):
    def react(event):
        if isinstance(event, aio.Message):
            event.peer.disconnect()

    async with serving(react) as (server, events):
        client = await join(server, wire)
        client.post(b"go", RetryMode.RETRY_ON_TIMEOUT)
        end = [event async for event in client][-1]
        assert isinstance(end, aio.Disconnected) and end.code and end.reason
        with pytest.raises(SessionEnded) as ended:
            await client.send(b"nobody hears")
        assert ended.value.reason == end.code and isinstance(ended.value, ConnectionError)
        await client.disconnect()


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_a_send_that_the_end_cancels(wire):
    async with serving() as (server, events):
        client = await join(server, wire)
        sends = [asyncio.ensure_future(client.send(bytes(1000000))) for _ in range(3)]
        given_up = asyncio.ensure_future(client.send(bytes(1000000)))
        await asyncio.sleep(0)
        given_up.cancel()
        await client.disconnect(timeout=0)
        outcomes = await asyncio.gather(*sends, given_up, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SessionEnded] * 3 + [asyncio.CancelledError]


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_the_server_is_gone(wire):
    server = await aio.serve((loopback(), 0), context=patient())
    client = await join(server, wire)
    await until(lambda: server.peers())
    peer = server.peers()[0]
    waiting = asyncio.ensure_future(peer.send(bytes(4000000)))
    await asyncio.sleep(0)
    await server.close()
    await server.close()
    with pytest.raises(SessionEnded):
        await waiting
    assert kinds([event async for event in server]) == [aio.Connected, aio.Disconnected]
    with pytest.raises(SessionEnded):
        peer.post(b"nobody hears")
    last = [event async for event in client][-1]
    assert isinstance(last, aio.Disconnected) and last.code
    await client.disconnect()


@looped
async def test_nobody_is_there():
    for wire in WIRES:
        address = (loopback(), free_port(loopback()))
        with pytest.raises(SessionEnded) as ended:
            await aio.connect(address, wire=wire, trust_any=True, handshake_timeout=0.2)
        assert ended.value.reason and str(ended.value)
    # Giving up is possible while it is under way.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((loopback(), 0))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_connected(silent.getsockname()), 0.05)


async def _connected(address):
    async with aio.connect(address, trust_any=True, handshake_timeout=60):
        pytest.fail("connected to nobody")


@looped
async def test_keys():
    key = gamekeeper.EllipticCurvePrivateKey.new()
    async with serving(root_key=key) as (server, _), serving() as (other, _):
        async with join(server, "mpgameserver", server_public_key=key.getPublicKey()):
            pass
        async with join(server) as client, join(other) as somebody:
            right, wrong = client.server_native_key, somebody.server_native_key
        async with join(server, server_native_key=right.hex()) as client:
            assert client.server_native_key == right
        for arguments in (
            dict(server_native_key=wrong),
            dict(wire="mpgameserver", server_public_key=gamekeeper.EllipticCurvePrivateKey.new().getPublicKey()),
        ):
            with pytest.raises(SessionEnded):
                await join(server, handshake_timeout=0.5, **arguments)
    with pytest.raises(ValueError):
        await aio.connect(server.addr)


@looped
async def test_passwords():
    root = gamekeeper.EllipticCurvePrivateKey.new()
    async with serving(root_key=root) as (server, _), join(server) as client:
        key = client.server_native_key
    async with serving(root_key=root, password=b"swordfish") as (server, _):
        async with join(server, server_native_key=key, password=b"swordfish") as client:
            assert client.status is gamekeeper.ConnectionStatus.CONNECTED
        for arguments in ({}, dict(server_native_key=key, password=b"halibut")):
            with pytest.raises(SessionEnded) as ended:
                await join(server, **arguments)
            assert ended.value.reason == _codes.GK_DISCONNECT_REFUSED


@looped
async def test_the_game_decides():
    names = {}

    def react(event):
        if isinstance(event, aio.JoinRequest):
            event.peer.name = event.data
            if event.data.startswith(b"good"):
                assert event.peer.accept() and not event.peer.accept()
            else:
                assert event.peer.refuse("not you")
        elif isinstance(event, aio.Connected):
            # The object that was asked about is the one that joins.
            names[event.peer.token] = event.peer.name

    async with serving(react, authorise=True) as (server, events):
        async with join(server, join_data=b"good one") as client:
            await until(lambda: names)
            assert names == {client.token: b"good one"}
            with pytest.raises(SessionEnded) as ended:
                await join(server, join_data=b"bad one")
            assert ended.value.reason == _codes.GK_DISCONNECT_REFUSED and str(ended.value) == "not you"
            server.peers()[0].join_group("red")
            assert server.post_group("red", b"to the group", RetryMode.RETRY_ON_TIMEOUT) == (1, 0)
            assert server.post_group("red", b"to nobody", without=server.peers()[0]) == (0, 0)
            assert (await client.__anext__()).data == b"to the group"
            assert not server._accepted and not server._link.accepted


@looped
async def test_events_that_nobody_takes_stay_bounded():
    async with serving() as (server, _), join(server) as client:
        await until(lambda: server.peers())
        peer, most = server.peers()[0], _aio._MAX_EVENTS + _aio._BATCH
        sent = 0
        while len(client._inbox.events) < _aio._MAX_EVENTS:
            for _ in range(200):
                with contextlib.suppress(gamekeeper.WouldBlock):
                    peer.post(b"%d" % sent, RetryMode.ORDERED)
                    sent += 1
            await asyncio.sleep(0.001)
            assert len(client._inbox.events) <= most
        # And none is lost.
        peer.post(b"the last", RetryMode.ORDERED)
        count = 0
        async for event in client:
            if event.data == b"the last":
                break
            assert event.data == b"%d" % count
            count += 1
        assert count == sent


@looped
async def test_stopped_through_its_context():
    context = patient()
    async with serving(context=context) as (server, events):
        async with join(server) as client:
            context.setBlockList({"127.0.0.0/8"})
            last = [event async for event in client][-1]
            assert isinstance(last, aio.Disconnected)
        context.shutdown()
        await until(lambda: server._closed)
    assert kinds(events) == [aio.Connected, aio.Disconnected]
    with pytest.raises(gamekeeper.AddressError):
        await aio.serve(("192.0.2.1", 1))
    with pytest.raises(gamekeeper.AddressError):
        await aio.serve(("127.0.0.1", 70000))


def test_one_that_is_never_awaited(serve):
    # Neither a socket nor a warning is left behind.
    aio.connect(("127.0.0.1", 1), trust_any=True)
    aio.serve(("127.0.0.1", 0))


@looped
async def test_at_a_server_on_a_thread(serve):
    game = Game(message=lambda client, message: client.send_guaranteed(message))
    server = serve(game)
    for wire in WIRES:
        async with join(server, wire) as client:
            assert await client.send(b"hello")
            assert (await client.__anext__()).data == b"hello"


def test_the_documented_example(capfd):
    readme = pathlib.Path(__file__).resolve().parents[1] / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "asyncio.run" in block]
    exec(compile(example, str(readme), "exec"), {"__name__": "example"})
    assert "data=b'hello'" in capfd.readouterr().out


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_a_bad_network_and_the_servers_time(wire):
    async with serving(echo) as (server, _), join(server, wire) as client:
        for direction in Direction:
            client.simulate(direction, Conditions(loss=0.2, delay=0.01, seed=5))
        for number in range(10):
            await client.send(b"%d" % number)
            assert (await client.__anext__()).data == b"%d" % number
        assert client.stats.simulated_send.pushed > 0 and client.stats.simulated_receive.pushed > 0
        peer = server.peers()[0]
        assert peer.wire == wire and peer.stats.simulated_send == LinkStats()
        for direction in Direction:
            client.simulate(direction, None)
        with pytest.raises(ValueError, match="jitter"):
            client.simulate(Direction.SEND, Conditions(jitter=61))
        if wire == "native":
            await until(lambda: (client.server_tick or 0) > 0)
            first = client.server_clock
            await until(lambda: client.server_clock > first)
        else:
            assert client.server_clock is None and client.server_tick is None
    with pytest.raises(StateError):
        client.simulate(Direction.SEND, None)
