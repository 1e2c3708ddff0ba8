"""The server against a client of the native protocol written from PROTOCOL.md alone.

The page is enough, and the server keeps to it.
"""

import os
import select
import struct
import time

import pytest

import gamekeeper
from hosting import Host
from native_checker import BEST_EFFORT, GUARANTEED, ORDERED, PING, SEQUENCED, UNRELIABLE, Unexplained
from native_standard import NativeClient, native_public, reset_token, varint

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


def waiting(client):
    """What waits in a client's socket, taken out unread."""
    datagrams = []
    while select.select([client.socket], [], [], 0.05)[0] and len(datagrams) < 10_000:
        datagrams.append(client.socket.recv(4096))
    return datagrams


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
    # What is late is this client, on a busy machine.
    assert max(clocks) - min(clocks) < 10_000_000
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
    flood = client_of(host)
    end = time.monotonic() + 60
    while True:
        assert time.monotonic() < end, "nobody was asked for a cookie"
        # Hellos of ever new clients, faster than one source may say them. What they bring is no message 1.
        for _ in range(500):
            flood.message_1 = os.urandom(48)
            flood.send_raw(flood.hello())
        client = client_of(host)
        assert client.connect()
        if client.cookies:
            break
    assert len(host.handler.tokens("connect")) >= 1


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
    stranger = NativeClient(host.address, os.urandom(31) + b"\0")
    assert not stranger.pump(lambda: stranger.welcome is not None, seconds=0.6)
    stranger.close()


def test_a_server_that_is_started_anew_says_so(host_with, client_of):
    host = host_with()
    client, _ = connected(host, client_of)
    host.stop()
    # The goodbyes of the old one are lost.
    waiting(client)
    again = Host(root_key=host.root_key)
    again.server = gamekeeper.ThreadedServer(again.ctxt, host.address)
    with again:
        client.send(GUARANTEED, b"are you there")
        assert client.pump(lambda: client.was_reset)
    assert again.handler.tokens("connect") == []


def test_frames_that_are_malformed_end_their_packet_and_nothing_else(host, client_of):
    client, token = connected(host, client_of)
    bad = ["09", "1f", "80", "ff", "02aa", "040000ff", "0400c00000010000000000", "0602", "4409aa", "6c0000", "78"]
    bad += ["420001", "4200010001", "420001000000aa", "420001000202aa", "4200010001a001aa", "2f0001", "2000070000", "20ffff0000"]
    for i, payload in enumerate(bad):
        # A sound message before it arrives, and the packet is acknowledged.
        sound = bytes([0x5C]) + varint(1) + struct.pack(">H", i + 1) + bytes([i])
        number = client._seal(sound + bytes.fromhex(payload))
        assert client.pump(lambda: number in client.acked), payload
    assert host.handler.received(token) == [bytes([i]) for i in range(len(bad))]
    assert client.goodbyes == [] and host.handler.tokens("disconnect") == []


def test_copies_replays_and_forgeries_act_once(host, client_of):
    client, token = connected(host, client_of)
    sent = []
    send_raw, client.send_raw = client.send_raw, lambda datagram: (sent.append(datagram), send_raw(datagram))
    once = bytes([0x58]) + struct.pack(">H", 1) + b"once"
    for _ in range(3):
        client._seal(once)
    datagram = sent[-1]
    for _ in range(5):
        send_raw(datagram)
    # The bytes of the connection id left out: with another one it is no forgery but a stray.
    for place in [0, *range(5, len(datagram))]:
        send_raw(datagram[:place] + bytes([datagram[place] ^ 1]) + datagram[place + 1 :])
    send_raw(datagram + b"x")
    send_raw(datagram[:-1])
    # Numbers need not be shortest for the reader, nor lengths.
    client._seal(bytes([0x5C]) + b"\x80\0\0\x04" + struct.pack(">H", 2) + b"last")
    assert client.pump(lambda: host.handler.received_count(token) >= 2)
    client.pump(seconds=0.2)
    assert host.handler.received(token) == [b"once", b"last"]


def test_ordered_messages_are_held_back_and_sequenced_ones_dropped(host, client_of):
    def ordered(number, place, data):
        return bytes([0x65]) + varint(1) + struct.pack(">HBH", number, 9, place) + data

    client, token = connected(host, client_of)
    client._seal(ordered(1, 3, b"3") + ordered(2, 2, b"2"))
    number = client._seal(bytes([PING]))
    assert client.pump(lambda: number in client.acked)
    assert host.handler.received(token) == []
    client._seal(ordered(3, 1, b"1"))
    assert client.pump(lambda: host.handler.received_count(token) == 3)
    assert host.handler.received(token) == [b"1", b"2", b"3"]
    # A sequenced message in an older packet, which comes later.
    late = []
    send_raw, client.send_raw = client.send_raw, late.append
    older = client._seal(bytes([0x49, 7]) + b"older")
    client.send_raw = send_raw
    client._seal(bytes([0x49, 7]) + b"newer")
    assert client.pump(lambda: host.handler.received_count(token) == 4)
    client.send_raw(late[0])
    number = client._seal(bytes([PING]))
    assert client.pump(lambda: number in client.acked and older in client.acked)
    assert host.handler.received(token)[3:] == [b"newer"]


def test_nothing_comes_in_before_the_join_and_the_join_is_answered_again(host, client_of):
    client = client_of(host)
    # The welcome is read and not answered: the next packet is the test's.
    assert client.pump(lambda: client.welcome is not None)
    early = client._seal(bytes([0x58]) + struct.pack(">H", 1) + b"early")
    assert client.pump(lambda: client.is_in)
    assert client.pump(lambda: client.newest_acked > early)
    assert early not in client.acked
    # Refused is not received: the same message comes in another packet.
    again = client._seal(bytes([0x58]) + struct.pack(">H", 1) + b"early")
    assert client.pump(lambda: again in client.acked)
    token = client.welcome["token"]
    assert host.handler.received(token) == [b"early"]
    client.is_in = False  # as if the ACCEPT had been lost
    assert client.pump(lambda: client.is_in)
    assert host.handler.tokens("connect") == [token]


def test_a_goodbye_that_nobody_answers_is_said_six_times(host, client_of):
    client, token = connected(host, client_of)
    client.answers_goodbyes = False
    host.call(host.client(token).disconnect)
    assert client.pump(lambda: len(client.goodbyes) == 6)
    client.pump(seconds=2.5)
    assert len(client.goodbyes) == 6 and client.goodbyes[0][0] == 2


def test_a_goodbye_that_is_answered_is_said_no_more(host, client_of):
    client, token = connected(host, client_of)
    host.call(host.client(token).disconnect)
    assert client.pump(lambda: bool(client.goodbyes))
    client.pump(seconds=0.3)
    # Others may have been under way.
    before = len(client.goodbyes)
    client.pump(seconds=2.0)
    assert len(client.goodbyes) == before < 6


def test_who_looks_for_servers_is_answered(host_with, client_of):
    info = b"a server of many words"
    client = client_of(host_with(lambda ctxt: ctxt.setDiscoveryInfo(info)))
    nonce, head = os.urandom(8), b"\xc5GKQ1"
    shortest = 13 + len(info)
    for unanswered in (head + nonce[:7], b"\xc5GKQ2" + nonce + bytes(100), (head + nonce).ljust(shortest - 1, b"\0")):
        client.send_raw(unanswered)
    # Padding is not looked at.
    client.send_raw((head + nonce).ljust(shortest, b"\xaa"))
    assert waiting(client) == [b"\xc6GKQ1" + nonce + info]


def test_data_for_nobody_are_answered_by_the_token_of_their_id(host, client_of):
    stranger, ident = client_of(host), os.urandom(4)
    token = reset_token(host.root_key.getPrivateKeyPEM().encode(), ident)
    for _ in range(2):
        stranger.send_raw((b"\x80" + ident).ljust(23, b"\0"))
        assert waiting(stranger) == [b"\xc4" + token]
    stranger.send_raw((b"\x80" + ident).ljust(17, b"\0"))
    assert waiting(stranger) == []


def test_what_is_of_no_version_gets_no_answer(host, client_of):
    client, stranger = connected(host, client_of)[0], client_of(host)
    for first in (*range(0x80, 0xC0), *range(0xC1, 0xC5), *range(0xC6, 0x100)):
        # Longer data packets of nobody may be answered by RESET.
        for length in (1, 4, 17, 40, 1200) if first >= 0xC0 else (1, 4, 17):
            stranger.send_raw(bytes([first]).ljust(length, b"\x5a"))
    stranger.send_raw(b"")
    assert waiting(stranger) == []
    number = client._seal(bytes([PING]))
    assert client.pump(lambda: number in client.acked) and host.handler.tokens("disconnect") == []


def test_the_client_itself_can_fail(host, client_of):
    client, _ = connected(host, client_of)
    with pytest.raises(Unexplained):
        client._acked((0x20, client.sent + 5, 0, 0, []))
    with pytest.raises(Unexplained):
        client._take(client._now(), b"\x80\x01" + bytes(40))
