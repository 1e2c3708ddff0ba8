"""The server against a client of the native protocol written from PROTOCOL.md alone: the page is enough, and the server keeps to it."""

import os
import struct

import pytest

import gamekeeper
from hosting import Host
from native_checker import (
    BEST_EFFORT, GUARANTEED, ORDERED, SEQUENCED, UNRELIABLE, HELLO_LEN, Unexplained, hkdf, mac,
)
from native_standard import NativeClient, native_public

pytestmark = pytest.mark.ours_only("the package does not speak this protocol", run=False)

MODES = (UNRELIABLE, SEQUENCED, BEST_EFFORT, GUARANTEED, ORDERED)


@pytest.fixture
def client_of():
    clients = []

    def make(host, pinned=True, **options):
        key = native_public(host.root_key.getPrivateKeyPEM().encode()) if pinned else None
        clients.append(NativeClient(host.address, key, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def echo(client, seqnum, message):
    client.send(message, retry=gamekeeper.RetryMode.RETRY_ON_TIMEOUT)


def connected(host, client_of, **options):
    client = client_of(host, **options)
    assert client.connect()
    token = client.welcome["token"]
    assert client.pump(lambda: token in host.handler.tokens("connect"))
    return client, token


@pytest.mark.parametrize("pinned", [True, False])
def test_every_mode_and_size_both_ways(host, client_of, pinned):
    host.handler.on_message = echo
    client, token = connected(host, client_of, pinned=pinned)
    assert client.server_key == native_public(host.root_key.getPrivateKeyPEM().encode())
    bodies = []
    for mode in MODES:
        # One of each mode at a time: what is newest drops nothing then.
        for length in (0, 1, 63, 64, 1167, 1168, 5000):
            body = os.urandom(length)
            bodies.append(body)
            client.send(mode, body, channel=mode)
            assert client.pump(lambda: host.handler.received_count(token) == len(bodies))
    assert sorted(host.handler.received(token)) == sorted(bodies)
    assert client.pump(lambda: len(client.received) == len(bodies) and client.is_idle())
    assert sorted(data for _, _, data in client.received) == sorted(bodies)
    assert {mode for mode, _, _ in client.received} == {GUARANTEED}
    assert client.leave(code=9, text=b"done")
    assert token in host.handler.tokens("disconnect") or client.pump(
        lambda: token in host.handler.tokens("disconnect")
    )


def test_the_server_sends_its_modes(host, client_of):
    client, token = connected(host, client_of)
    for retry in ("NONE", "BEST_EFFORT", "RETRY_ON_TIMEOUT"):
        host.send(token, retry.encode() * 300, retry)
    assert client.pump(lambda: len(client.received) == 3)
    assert {mode for mode, _, _ in client.received} == {UNRELIABLE, BEST_EFFORT, GUARANTEED}


def test_losses_cost_nothing_that_is_promised(host, client_of):
    host.handler.on_message = echo
    client, token = connected(host, client_of, loss=0.15)
    bodies = [struct.pack(">I", i) * (1 + i % 700) for i in range(150)]
    for i, body in enumerate(bodies):
        client.send(ORDERED if i % 2 else GUARANTEED, body, channel=5)
    assert client.pump(lambda: len(client.received) >= len(bodies) and client.is_idle(), seconds=60)
    received = host.handler.received(token)
    assert sorted(received) == sorted(bodies)
    ordered = [body for body in received if struct.unpack(">I", body[:4])[0] % 2]
    assert ordered == bodies[1::2]
    assert sorted(data for _, _, data in client.received) == sorted(bodies)


def test_a_client_that_moves_stays_the_same(host, client_of):
    host.handler.on_message = echo
    client, token = connected(host, client_of)
    for i in range(3):
        client.move()
        client.send(GUARANTEED, b"from %d" % i)
        assert client.pump(lambda: len(client.received) == i + 1)
        assert client.challenges > i
    assert host.handler.tokens("connect") == [token]


def test_key_phases_follow_each_other(host, client_of):
    client, token = connected(host, client_of, phase_every=5)
    for i in range(40):
        client.send(GUARANTEED, b"%d" % i)
        assert client.pump(lambda: host.handler.received_count(token) == i + 1)
    assert client.phase_first > 20


def test_an_idle_connection_stays_and_tells_the_time(host, client_of):
    client, token = connected(host, client_of)
    assert client.pump(lambda: len(client.times) >= 3, seconds=30)
    clocks = [clock - now for now, _, _, clock in client.times]
    assert max(clocks) - min(clocks) < 2_000_000
    assert all(b[1] >= a[1] for a, b in zip(client.times, client.times[1:]))
    assert host.handler.tokens("disconnect") == []


def test_passwords(host_with, client_of):
    host = host_with(lambda ctxt: ctxt.setPassword(b"sesame"))
    for password, code in ((None, 4), (b"wrong", 5)):
        client = client_of(host, password=password)
        assert not client.connect()
        assert client.goodbyes[0][:2] == (1, code)
        assert client.welcome["flags"] == 1
    connected(host, client_of, password=b"sesame")
    assert len(host.handler.tokens("connect")) == 1


def test_many_at_once_bring_cookies_back(host, client_of):
    first = client_of(host)
    flood = [client_of(host) for _ in range(3)]
    # More hellos of ever new clients than one source may say: from then on a cookie is asked for.
    for _ in range(6000):
        first.message_1 = os.urandom(32) + bytes(16)
        flood[0].send_raw(first.hello())
    assert flood[1].connect()
    assert flood[1].cookies >= 1


def test_hellos_that_get_no_welcome(host, client_of):
    other = client_of(host)
    other.send_raw(other.hello(version=9))
    other.hellos = 1
    other.hello = lambda version=1, hello=other.hello: hello(9)
    assert other.pump(lambda: other.versions == [1])
    for spoil in (lambda h: h[:-1], lambda h: h + b"\0", lambda h: h[:5] + b"\2" + h[6:], lambda h: h[:-1] + b"\1"):
        client = client_of(host)
        good = client.hello()
        client.hello = lambda: spoil(good)
        assert not client.pump(lambda: client.welcome is not None, seconds=0.6)
    assert len(other.hello()) == HELLO_LEN
    stranger = NativeClient(host.address, os.urandom(31) + b"\0")
    assert not stranger.pump(lambda: stranger.welcome is not None, seconds=0.6)
    stranger.close()


def test_a_server_that_is_started_anew_says_so(host_with, client_of):
    host = host_with()
    client, _ = connected(host, client_of)
    host.server.stop = lambda stop=host.server.stop: stop()
    # The goodbyes of the old one are lost.
    client.loss = 1.0
    client.pump(lambda: False, seconds=0.05)
    host.stop()
    again = Host(root_key=host.root_key)
    again.address = host.address
    again.server = gamekeeper.ThreadedServer(again.ctxt, host.address)
    with again:
        while client.socket.recv(4096) if _readable(client) else b"":
            pass
        client.loss = 0.0
        client.send(GUARANTEED, b"are you there")
        assert client.pump(lambda: client.was_reset, seconds=20)
    assert again.handler.tokens("connect") == []


def _readable(client):
    import select

    return bool(select.select([client.socket], [], [], 0.05)[0])


def test_the_client_itself_can_fail(host, client_of):
    client, _ = connected(host, client_of)
    with pytest.raises(Unexplained):
        client._acked((0x20, client.sent + 5, 0, 0, []))
    with pytest.raises(Unexplained):
        client._take(client._now(), b"\x80\x01" + bytes(40))
