"""Many clients, long against short, slow handlers, numbers that wrap."""

import json
import pathlib
import subprocess
import sys
import threading
import time

import pytest

import hosting
from players import NONE, PATIENCE, payload, pump, run_for

SWARM = pathlib.Path(__file__).parent / "swarm.py"


@pytest.mark.slow
def test_two_hundred_clients(host):
    """Four processes of fifty; each client gets ten messages echoed, once each."""
    host.handler.on_message = lambda client, number, body: client.send_guaranteed(body)
    processes = []
    for index in range(4):
        task = {
            "address": host.address,
            "clients": 50,
            "first": index * 100_000,
            "messages": 10,
            "pem": host.public_key.getPublicKeyPEM(),
            "seconds": 80,
            "size": 64,
        }
        command = [sys.executable, str(SWARM), json.dumps(task)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    try:
        results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
    summary = [{key: r[key] for key in ("connected", "right", "still", "again")} for r in results]
    assert [r["connected"] for r in results] == [50] * 4, summary
    assert [r["right"] for r in results] == [50] * 4, summary
    assert [r["still"] for r in results] == [50] * 4, summary
    tokens = [token for r in results for token in r["tokens"]]
    assert len(set(tokens)) == 200
    assert set(tokens) <= set(host.handler.tokens("connect"))
    # They said goodbye; one whose goodbye was lost is dropped for its silence.
    deadline = time.monotonic() + PATIENCE
    while not set(tokens) <= set(host.handler.tokens("disconnect")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert set(tokens) <= set(host.handler.tokens("disconnect"))


@pytest.mark.ours_only("judges the silence of its clients before it reads what came")
def test_handler_that_blocks(host_with, join):
    """The connection timeout is shorter than the block: what came meanwhile counts, nobody is lost."""
    host = host_with(lambda ctxt: ctxt.setConnectionTimeout(1.5))
    players = join(host, 5)
    blocked, released = threading.Event(), threading.Event()

    def block(client, number, body):
        if body == b"block":
            blocked.set()
            time.sleep(2.5)
            released.set()

    host.handler.on_message = block
    players[0].send(b"block")
    assert pump(players, blocked.is_set)
    for number, player in enumerate(players):
        for copy in range(10):
            player.send(payload(100 * number + copy, 50))
    assert pump(players, released.is_set)
    assert pump(players, lambda: sum(host.handler.received_count(p.token) for p in players) >= 51)
    run_for(players, 1.0)
    assert host.handler.tokens("disconnect") == []
    assert all(p.connected for p in players)
    for number, player in enumerate(players):
        bodies = [body for body in host.handler.received(player.token) if body != b"block"]
        assert sorted(bodies) == sorted(payload(100 * number + copy, 50) for copy in range(10))


@pytest.mark.slow
@pytest.mark.ours_only("sends thirty fragments a second, too few for this test's time")
def test_short_messages_overtake_a_long_one_to_the_client(host, join):
    (player,) = join(host)
    long = payload(1, 1_000_000)
    host.send(player.token, long, "RETRY_ON_TIMEOUT")
    sent = []

    def tick(_):
        if len(sent) < 60:
            sent.append(payload(100 + len(sent), 20))
            host.client(player.token).send(sent[-1], retry=hosting.api.RetryMode.RETRY_ON_TIMEOUT)

    host.handler.on_update = tick
    assert pump([player], lambda: len(sent) == 60 and len(player.received) >= 61, 2 * PATIENCE)
    bodies = player.bodies
    assert sorted(bodies) == sorted(sent + [long])
    assert bodies.index(long) >= 10, "the short ones waited for the long one"


def test_short_messages_overtake_a_long_one_to_the_server(host, join):
    (player,) = join(host)
    long = payload(1, 200_000)
    player.send(long, NONE)
    sent = [payload(100 + number, 20) for number in range(40)]
    for body in sent:
        player.send(body, NONE)
        run_for([player], 0.02)
    assert pump([player], lambda: host.handler.received_count(player.token) >= 41)
    bodies = host.handler.received(player.token)
    assert sorted(bodies) == sorted(sent + [long])
    assert bodies.index(long) >= 10


#: More than the 65,535 numbers there are.
MANY = 66_000


@pytest.mark.slow
def test_message_numbers_wrap_to_the_server(host, join):
    (player,) = join(host)
    first = int(player.udp.conn.seq_message) + 1
    sent = 0
    # At most 159 of four bytes fit a datagram, and the client's queue is searched from its start.
    while sent < MANY:
        for _ in range(min(150, MANY - sent)):
            player.send(sent.to_bytes(4, "big"), NONE)
            sent += 1
        assert pump([player], lambda: not player.udp.conn.outgoing_messages, every=1 / 500)
    pump([player], lambda: host.handler.received_count(player.token) >= MANY)
    got = host.handler.messages[player.token]
    assert [body for _, body in got] == [n.to_bytes(4, "big") for n in range(MANY)]
    assert [number for number, _ in got] == [(first - 1 + n) % 65535 + 1 for n in range(MANY)]


@pytest.mark.slow
def test_message_numbers_wrap_to_the_client(host, join):
    (player,) = join(host)
    player.udp.setKeepAliveInterval(0.0)  # acknowledges with every frame
    client = host.client(player.token)
    sent, open_ones = [0], [0]

    def done(_success):
        open_ones[0] -= 1

    def tick(_):
        # Bounded, as the server's queue is. All of this runs on the server's thread.
        while sent[0] < MANY and open_ones[0] < 600:
            client.send(sent[0].to_bytes(4, "big"), retry=hosting.api.RetryMode.NONE, callback=done)
            sent[0] += 1
            open_ones[0] += 1

    host.handler.on_update = tick
    pump([player], lambda: len(player.received) >= MANY, 2.5 * PATIENCE, every=1 / 1000)
    assert len(player.received) == MANY
    assert player.bodies == [n.to_bytes(4, "big") for n in range(MANY)]
    numbers = [number for number, _ in player.received]
    assert all(b == a % 65535 + 1 for a, b in zip(numbers, numbers[1:]))


@pytest.mark.slow
@pytest.mark.ours_only("loses datagrams when they come this fast, and then takes copies as new messages")
def test_packet_numbers_wrap_to_the_server(host, join):
    """Every one of the 65,535 is sent: the client is let off its sixty a second."""
    (player,) = join(host)
    conn = player.udp.conn
    conn.send_interval = 0.0
    player.udp.setKeepAliveInterval(0.0)
    bodies = []
    deadline = time.monotonic() + 2 * PATIENCE
    while conn.stats.assembled < MANY and time.monotonic() < deadline:
        if conn.stats.assembled >= 100 * len(bodies):
            bodies.append(payload(len(bodies), 30))
            player.send(bodies[-1])
        player.update()
    assert conn.stats.assembled >= MANY, "this machine is too slow for the test's time"
    conn.send_interval = 1 / 60
    player.udp.setKeepAliveInterval(0.1)
    assert pump([player], lambda: host.handler.received_count(player.token) >= len(bodies))
    run_for([player], 1.5)
    # A datagram may be lost where the kernel's buffer is short: then a later copy comes out of order.
    assert sorted(host.handler.received(player.token)) == sorted(bodies)
    assert player.connected and host.handler.tokens("disconnect") == []


@pytest.mark.slow
@pytest.mark.ours_only("sends one datagram a tick: it would take eighteen minutes", run=False)
def test_packet_numbers_wrap_to_the_client(host, join):
    """Full datagrams, which leave as fast as they are acknowledged."""
    (player,) = join(host)
    player.udp.conn.send_interval = 0.0
    player.udp.setKeepAliveInterval(0.0)
    client = host.client(player.token)
    filling = payload(1, 1428)
    player.keep = lambda body: body[:4] if body[4:] == filling else b"damaged"
    sent, open_ones = [0], [0]

    def fill():
        while sent[0] < MANY and open_ones[0] < 400:
            body = sent[0].to_bytes(4, "big") + filling
            sent[0] += 1
            open_ones[0] += 1
            client.send(body, retry=hosting.api.RetryMode.NONE, callback=done)

    def done(_success):
        open_ones[0] -= 1
        if open_ones[0] < 200:
            fill()

    host.call(fill)
    pump([player], lambda: len(player.received) >= MANY, 3 * PATIENCE, every=1 / 2000)
    assert client.stats.assembled >= MANY
    assert player.bodies == [n.to_bytes(4, "big") for n in range(MANY)]
    assert player.connected and host.handler.tokens("disconnect") == []
