"""Getting in: keys, lost handshake datagrams, the block list."""

import socket
import time

import mpgameserver
import pytest
from mpgameserver import ConnectionStatus
from mpgameserver.connection import SeqNum

import hosting
from players import Player, connect_all, payload, pump, run_for
from relay import APP, CHALLENGE_RESP, KEEP_ALIVE, SERVER_HELLO, TO_CLIENT, TO_SERVER, Link


def exchange(host, player, number=1, others=()):
    """One guaranteed message each way: the connection is good for something."""
    players = [player, *others]
    there, back = payload(number, 100), payload(number + 1, 100)
    player.send(there)
    assert pump(players, lambda: there in host.handler.received(player.token)), "nothing came to the server"
    host.send(player.token, back, "RETRY_ON_TIMEOUT")
    assert pump(players, lambda: back in player.bodies), "nothing came to the client"


def test_right_key(host):
    player = Player(host.address, host.public_key)
    connect_all([player], host.handler)
    exchange(host, player)
    assert player.answers == [True]
    assert host.handler.tokens("connect") == [player.token]
    assert player.token & 0xC0000000 == 0x40000000
    client = host.client(player.token)
    assert client.token == player.token
    assert client.addr[0].startswith("127.") and 0 < client.addr[1] < 65536


def test_no_pinned_key(host):
    player = Player(host.address, None)
    connect_all([player], host.handler)
    exchange(host, player)


def test_key_made_by_the_package(host_with):
    """A PKCS8 PEM of the package's is a root key here, and its public part fits."""
    theirs = mpgameserver.EllipticCurvePrivateKey.new()
    ours = hosting.api.EllipticCurvePrivateKey.fromPEM(theirs.getPrivateKeyPEM())
    host = host_with(root_key=ours)
    player = Player(host.address, theirs.getPublicKey())
    connect_all([player], host.handler)
    exchange(host, player)


def test_wrong_key(host):
    stranger = mpgameserver.EllipticCurvePrivateKey.new().getPublicKey()
    player = Player(host.address, stranger).connect()
    with pytest.raises(mpgameserver.EllipticCurvePublicKey.InvalidSignature):
        pump([player], lambda: False, timeout=10)
    assert player.status == ConnectionStatus.DISCONNECTED
    # It never proves the key, so the host never hears of it, and others come in.
    other = Player(host.address, host.public_key)
    connect_all([other], host.handler)
    assert host.handler.tokens("connect") == [other.token]


@pytest.mark.parametrize(
    "direction, kind, nth, count",
    [
        pytest.param(TO_CLIENT, SERVER_HELLO, 1, 1, id="first server hello"),
        pytest.param(TO_CLIENT, SERVER_HELLO, 1, 2, id="two server hellos"),
        pytest.param(TO_SERVER, CHALLENGE_RESP, 1, 1, id="challenge response"),
        pytest.param(TO_CLIENT, KEEP_ALIVE, 1, 1, id="first server keep-alive"),
        pytest.param(TO_SERVER, KEEP_ALIVE, 1, 1, id="first client keep-alive"),
    ],
)
@pytest.mark.ours_only("one lost handshake datagram ends its attempt")
def test_lost_handshake_datagram(host, relay_to, direction, kind, nth, count):
    relay = relay_to(host)
    relay.drop(direction, kind, nth, count)
    player = Player(relay.address, host.public_key)
    player.udp.setConnectionTimeout(8.0)  # it says False then, and does not mean it
    player.connect()
    assert pump([player], lambda: player.answers and player.token in host.handler.clients, 10)
    exchange(host, player)
    assert player.answers == [True]
    assert pump([player], lambda: relay.counts[direction].dropped_on_order == count), "nothing was lost"
    assert host.handler.tokens("connect") == [player.token]
    assert host.handler.tokens("disconnect") == []


@pytest.mark.ours_only("an unproven connection's messages are dropped although acknowledged")
def test_lost_challenge_response_with_messages_behind_it(host, relay_to):
    """What the client sends while the server does not know it yet arrives all the same, once."""
    relay = relay_to(host)
    relay.drop(TO_SERVER, CHALLENGE_RESP)
    player = Player(relay.address, host.public_key).connect()
    assert pump([player], lambda: player.connected)
    early = [payload(i, 50) for i in range(20)]
    for body in early:
        player.send(body)
    wait_for = lambda: len(host.handler.received(player.token)) >= len(early)  # noqa: E731
    assert pump([player], wait_for)
    run_for([player], 1.0)
    assert sorted(host.handler.received(player.token)) == sorted(early)


@pytest.mark.ours_only("one lost handshake datagram ends its attempt")
def test_connect_through_a_bad_network(host, relay_to):
    """Everything but the hello, which the client says only once, may be lost; most attempts succeed."""
    bad = Link(loss=0.25, duplicate=0.1, reorder=0.2, delay=0.02, jitter=0.03, corrupt=0.05)
    relay = relay_to(host, seed=9, to_server=bad, to_client=bad)
    waiting = [Player(relay.address, host.public_key) for _ in range(10)]
    inside = []
    for _ in range(6):
        for player in waiting:
            player.connect()
        pump([*waiting, *inside], lambda: all(p.answers for p in waiting))
        inside += [p for p in waiting if p.connected]
        waiting = [Player(relay.address, host.public_key) for p in waiting if not p.connected]
        if not waiting:
            break
    assert not waiting
    for player in inside:
        exchange(host, player, others=[p for p in inside if p is not player])
    assert {p.token for p in inside} <= set(host.handler.tokens("connect"))
    assert all(p.connected for p in inside)


def test_repeated_handshake_datagrams(host, relay_to):
    """Every datagram twice, a little later: one connection, one connect event."""
    twice = Link(duplicate=1.0, reorder_by=0.1)
    relay = relay_to(host, to_server=twice, to_client=twice)
    player = Player(relay.address, host.public_key)
    connect_all([player], host.handler)
    exchange(host, player)
    run_for([player], 1.0)
    assert host.handler.tokens("connect") == [player.token]
    assert host.handler.tokens("disconnect") == []
    assert player.connected and player.answers == [True]
    assert relay.kinds[(TO_SERVER, APP)] >= 1


@pytest.mark.ours_only("takes a copy of a message more than 256 behind the newest as a new one")
def test_packet_numbers_leap_and_wrap(host):
    """A client near the end of its numbers (nothing that a long game does not reach) goes on from 1."""
    player = Player(host.address, host.public_key)
    connect_all([player], host.handler)
    sent = []
    # Each leap is newer by less than half the ring, as after a very long loss.
    for start in (20_000, 45_000, 65_530):
        player.udp.conn.seq_sending = SeqNum(start)
        player.udp.conn.seq_message = SeqNum(start)
        for number in range(12):
            sent.append(payload(start + number, 40))
            player.send(sent[-1])
            assert pump([player], lambda: len(host.handler.received(player.token)) == len(sent))
    assert int(player.udp.conn.seq_sending) < 20_000, "the packet numbers did not wrap"
    assert host.handler.received(player.token) == sent
    exchange(host, player)


def test_block_list(host_with):
    """A blocked address gets no answer at all; once off the list it connects."""
    blocked = "127.0.0.77"
    host = host_with(lambda ctxt: ctxt.setBlockList({blocked}))
    player = Player(host.address, host.public_key, source=(blocked, 0)).connect()
    other = Player(host.address, host.public_key, source=("127.0.0.78", 0))
    connect_all([other], host.handler)
    assert pump([player, other], lambda: player.answers == [False]), "its attempt does not end"
    run_for([player, other], 1.0)
    assert player.datagrams_read() == 0
    assert host.handler.tokens("connect") == [other.token]

    host.ctxt.setBlockList(set())
    again = Player(host.address, host.public_key, source=(blocked, 0))
    connect_all([again], host.handler)
    exchange(host, again)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine's loopback")
@pytest.mark.parametrize("listen, targets", [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"])])
@pytest.mark.ours_only("cannot log an IPv6 client's address")
def test_ipv6(host_with, listen, targets):
    """An IPv6 server, and one for both: IPv4 clients are told as such."""
    host = host_with(host=listen)
    players = [Player((target, host.address[1]), host.public_key) for target in targets]
    connect_all(players, host.handler)
    for player, target in zip(players, targets):
        exchange(host, player, others=[p for p in players if p is not player])
        assert host.client(player.token).addr[0] == target


@pytest.mark.ours_only("takes a live address's second hello for its old client's")
def test_new_client_from_a_live_address(host_with):
    """A client that died comes back from the same port before the server has missed it."""
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(60.0))
    old = Player(host.address, host.public_key)
    connect_all([old], host.handler)
    exchange(host, old)
    token, source = old.token, tuple(host.client(old.token).addr[:2])
    old.forget()
    new = Player(host.address, host.public_key, source=source)
    connect_all([new], host.handler)
    exchange(host, new)
    assert new.token != token
    assert pump([new], lambda: token in host.handler.tokens("disconnect"))
    assert host.handler.tokens("connect") == [token, new.token]
    assert host.handler.tokens("disconnect") == [token]


def test_timeout_of_an_unproven_handshake(host_with, relay_to):
    """A client that never answers the server hello is forgotten without an event, and can come again."""
    host = host_with(lambda ctxt: ctxt.setTempConnectionTimeout(0.5))
    relay = relay_to(host)
    relay.silence(TO_CLIENT)
    player = Player(relay.address, host.public_key).connect()
    assert pump([player], lambda: player.answers == [False])
    assert host.handler.tokens("connect") == []
    relay.silence(TO_CLIENT, False)
    time.sleep(0.6)
    player.forget()
    player = Player(relay.address, host.public_key)
    connect_all([player], host.handler)
    exchange(host, player)
