"""The server against a client written from PROTOCOL.md alone: the page is enough, and the server keeps to it."""

import os
import random
import struct
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from standard import APP, APP_FRAGMENT, DISCONNECT, LARGEST_BODY, StandardClient, put_int

pytestmark = pytest.mark.ours_only("the package does not keep to this standard")


@pytest.fixture
def client_of():
    clients = []

    def make(host, **options):
        pem = host.root_key.getPublicKey().getPublicKeyPEM()
        key = load_pem_public_key(pem if isinstance(pem, bytes) else pem.encode())
        root = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        client = StandardClient(host.address, root, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def connected(host, client_of):
    client = client_of(host)
    client.hello()
    assert client.pump(lambda: client.token in host.handler.tokens("connect"))
    return client


def echo(client, seqnum, message):
    client.send_guaranteed(message)


def test_messages_of_every_size_both_ways(host, client_of):
    host.handler.on_message = echo
    client = connected(host, client_of)
    whole = [os.urandom(n) for n in (0, 1, 1432, 1433, LARGEST_BODY)]
    for body in whole:
        client.send((APP, body))
    client.send(*[(APP, bytes([i])) for i in range(200)])
    long = os.urandom(100_000)
    parts = [long[i : i + 1024] for i in range(0, len(long), 1024)]
    order = list(range(len(parts)))
    random.Random(5).shuffle(order)
    for index in order:
        client.send((APP_FRAGMENT, struct.pack(">HHH", 7, index + 1, len(parts)) + parts[index]))
    expected = sorted([*whole, *(bytes([i]) for i in range(200)), long])
    assert client.pump(lambda: len(client.received) >= len(expected))
    assert sorted(body for _, _, body in client.received) == expected
    # All that it was sent is acknowledged within a keep-alive or two, the last ones too.
    sent = client.packets
    assert client.pump(lambda: sent in client.acked)


def test_a_lost_answer_is_repeated_within_the_hellos_bytes(host, client_of):
    client = client_of(host, proves=False)
    start = time.monotonic()
    client.hello()
    # Four answers fit into 1438 bytes; Broken is raised for more. Two seconds later it is forgotten.
    assert client.pump(lambda: len(client.answers) == 4)
    assert time.monotonic() - start >= 1.1
    assert not client.pump(lambda: len(client.answers) > 4, seconds=2.5)
    assert host.handler.tokens("connect") == []


def test_hellos_that_are_not_answered(host, client_of):
    for options in ({"size": 1437}, {"version": 2}, {"point": b"\4" + b"\1" * 64}):
        client = client_of(host)
        client.hello(**options)
        assert not client.pump(lambda: bool(client.answers), seconds=0.4), options


def test_copies_replays_and_forgeries_act_once(host, client_of):
    client = connected(host, client_of)
    client.messages += 1
    once = (client.messages, APP, b"once")
    datagram = client.seal([once])
    for _ in range(5):
        client.send_raw(datagram)
    client.send_raw(client.seal([once]))
    for place in (4, 9, 13, 20, len(datagram) - 1):
        client.send_raw(datagram[:place] + bytes([datagram[place] ^ 1]) + datagram[place + 1 :])
    client.send_raw(datagram + b"x")
    client.send((APP, b"last"))
    assert client.pump(lambda: b"last" in host.handler.received(client.token))
    assert host.handler.received(client.token) == [b"once", b"last"]


def test_what_is_malformed_is_skipped_and_what_is_sound_beside_it_arrives(host, client_of):
    client = connected(host, client_of)
    bad = [struct.pack(">HHH", 3, 0, 2) + b"x", struct.pack(">HHH", 3, 1, 0) + b"x", b"abcdef", b"", b"\xff" * 60]
    client.send(*[(APP_FRAGMENT, body) for body in bad], (9, b"unknown"), (APP, b"sound"))
    client.send_raw(client.seal([(0, APP, b"no number"), (client.messages + 1, APP, b"second")]))
    client.messages += 1
    sent = client.packets
    assert client.pump(lambda: host.handler.received_count(client.token) == 2)
    assert host.handler.received(client.token) == [b"sound", b"second"]
    assert client.pump(lambda: sent in client.acked), "what is malformed is acknowledged all the same"


def test_acknowledgements_name_what_came_and_nothing_else(host, client_of):
    client = connected(host, client_of)
    sent = set()
    for number in range(288):
        if number % 5 in (1, 2) or number % 7 == 0:
            client.skip()
        else:
            sent.add(client.send((APP, b"%d" % number)))
        # As many under way as the 32 bits cover, numbers left out included.
        if number % 24 == 23:
            assert client.pump(lambda: sent <= client.acked, keep_alive=False)


def test_the_proof_can_be_any_datagram(host, client_of):
    client = client_of(host)
    sent = client.send_raw
    client.send_raw = lambda datagram: None  # the CHALLENGE_RESP is lost
    client.hello()
    assert client.pump(lambda: client.aead is not None, keep_alive=False)
    client.send_raw = sent
    client.send((APP, b"proof"))
    assert client.pump(lambda: host.handler.received(client.token) == [b"proof"])
    # And a CHALLENGE_RESP that comes late does nothing.
    client.send((3, struct.pack(">H", 132) + put_int(1) + put_int(client.token)), (APP, b"after"))
    assert client.pump(lambda: host.handler.received(client.token) == [b"proof", b"after"])


def test_an_idle_server_keeps_alive(host, client_of):
    client = connected(host, client_of)
    before = client.empty
    # Ten a second; a machine that is busy may be late, and never early by half.
    assert client.pump(lambda: client.empty >= before + 20, seconds=60)


def test_leaving_from_the_client(host, client_of):
    client = connected(host, client_of)
    goodbye = client.send((APP, b"and"), (DISCONNECT, b""))
    assert client.pump(lambda: client.goodbyes and goodbye in client.acked, keep_alive=False)
    assert client.pump(lambda: client.token in host.handler.tokens("disconnect"))
    assert host.handler.received(client.token) == [b"and"]
    # Four by itself; then one for each datagram, sixteen at most, all under one number.
    assert client.pump(lambda: len(client.goodbyes) >= 4, keep_alive=False)
    for _ in range(30):
        client.send()
        client.pump(seconds=0.03, keep_alive=False)
    assert client.pump(lambda: len(client.goodbyes) >= 10, keep_alive=False)
    client.pump(seconds=0.5, keep_alive=False)
    assert len(client.goodbyes) <= 4 + 16
    assert len({number for _, number in client.goodbyes}) == 1


def test_leaving_from_the_server(host, client_of):
    client = connected(host, client_of)
    host.call(host.client(client.token).disconnect)
    assert client.pump(lambda: len(client.goodbyes) >= 4, keep_alive=False)
    assert len({number for _, number in client.goodbyes}) == 1
    unread = client.send((APP, b"too late"))
    client.pump(seconds=0.3, keep_alive=False)
    assert host.handler.received(client.token) == []
    assert unread not in client.acked, "what reaches nobody is not acknowledged"
