"""Doors for streams, and the server of the select-loop kind."""

import asyncio
import contextlib
import importlib.util
import pathlib
import socket
import subprocess
import threading

import pytest

import gamekeeper
from gamekeeper import Framing, SessionEnded, aio
from gamekeeper.aio import Content, Stream
from playing import Game, wait_until

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


def connect(address):
    return socket.create_connection(address, timeout=30)


@pytest.fixture
def run():
    """Runs servers of the select-loop kind, each on a thread."""
    running = []

    def start(server):
        thread = threading.Thread(target=server.start, daemon=True)
        thread.start()
        running.append((server, thread))
        assert server.wait_started(30)
        return server

    yield start
    for server, thread in running:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


class Shouting(gamekeeper.Server):
    def __init__(self, **more):
        super().__init__("127.0.0.1", 0, Framing.LINES, **more)
        self.seen = []

    def _reconcile(self):
        self.seen.append("reconcile")

    def _new_connection_callback(self, conn, msg):
        self.seen.append(("first", msg))
        self.messages[conn].put(b"welcome " + msg)

    def _new_message_callback(self, conn, msg):
        self.seen.append(("next", msg))
        if msg == b"fail":
            raise RuntimeError("a bug of the host's")
        self.messages[conn].put(msg.upper())

    def _closed_callback(self, conn):
        self.seen.append("closed")


def test_a_first_message_and_others_and_the_end(run):
    server = run(Shouting())
    with connect(server.address) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"ann\nhello\nfail\nand on\n")
        assert [lines.readline() for _ in range(3)] == [b"welcome ann\n", b"HELLO\n", b"AND ON\n"]
        (conn,) = server.messages
        assert (conn.door, conn.wire) == ("stream", "stream")
        # From another thread.
        server.messages[conn].put(b"by the way")
        assert lines.readline() == b"by the way\n"
    wait_until(lambda: "closed" in server.seen, "its end")
    assert not server.messages
    assert server.seen[0] == ("first", b"ann")


def test_a_long_queue_arrives_whole(run):
    class Flood(Shouting):
        def _new_connection_callback(self, conn, msg):
            for number in range(300):
                self.messages[conn].put(b"%d " % number + b"x" * 100000)

    server = run(Flood())
    with connect(server.address) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"go\n")
        for number in range(300):
            assert lines.readline().startswith(b"%d x" % number)


def test_reconcile_comes_again_and_again(run):
    server = run(Shouting(reconcile_interval=0.05))
    wait_until(lambda: server.seen.count("reconcile") >= 3, "three times")
    with pytest.raises(ValueError):
        Shouting(reconcile_interval=0)


def test_what_cannot_be_listened_on_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = gamekeeper.Server("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(gamekeeper.StateError):
            server.address
        with pytest.raises(gamekeeper.AddressError):
            server.start()


def test_three_nodes_gossip(run):
    path = CHECKOUT / "examples" / "python" / "gossip_node.py"
    spec = importlib.util.spec_from_file_location("gossip_node", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    # In a line: the first knows nobody, and hears of the third by the second only.
    nodes = []
    for name in ("ann", "bob", "eve"):
        before = [nodes[-1].address[1]] if nodes else []
        nodes.append(run(example.Node(name, 0, before, interval=0.05)))
    wait_until(lambda: all(set(node.facts) == {"ann", "bob", "eve"} for node in nodes), "all know all")


def test_a_door_beside_the_games(serve):
    game = Game()
    server = serve(game, lambda context: context.listenStream("127.0.0.1:0", Framing.LENGTH))
    addresses = dict(server.addresses())
    assert addresses["udp"] == server.bound_address()
    with connect(addresses["tcp"]) as sock:
        wait_until(lambda: game.clients, "the client")
        sock.sendall(b"\0\0\0\5hello")
        wait_until(lambda: game.messages, "the message")
        assert game.clients[0].door == "stream"
    for wrong in ({"framing": 9}, {"read_bytes": 0}, {"stall_timeout": 0}, {"certificate": "alone.pem"}):
        with pytest.raises(ValueError):
            gamekeeper.ServerContext(game).listenStream("127.0.0.1:0", **wrong)


def test_its_address_is_its_own_doors(run):
    """Also beside other doors of the context that it was given, before and behind it."""
    context = gamekeeper.ServerContext(Game())
    context.listenStream("127.0.0.1:0")
    server = Shouting(ctxt=context)
    context.listenStream("127.0.0.1:0", Framing.LENGTH)
    run(server)
    doors = [address for kind, address in server._server.addresses() if kind == "tcp"]
    assert len(set(doors)) == 3 and server.address == doors[1]
    with connect(server.address) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"ann\n")
        assert lines.readline() == b"welcome ann\n"


def test_who_waits_for_a_start_that_fails_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = gamekeeper.Server("127.0.0.1", taken.getsockname()[1])
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(server.wait_started()), daemon=True)
        waiting.start()
        with pytest.raises(gamekeeper.AddressError):
            server.start()
        waiting.join(30)
        assert answers == [False]


def test_a_message_looks_at_the_queues_that_changed_only(run):
    server = run(Shouting())
    with contextlib.ExitStack() as stack:
        # With a first message each, so that the server knows them.
        socks = [stack.enter_context(connect(server.address)) for _ in range(20)]
        files = [stack.enter_context(sock.makefile("rb")) for sock in socks]
        for sock, file in zip(socks, files):
            sock.sendall(b"one\n")
            assert file.readline() == b"welcome one\n"
        looked, drain = [], server._slices._drain

        def counted(client, waiting):
            looked.append(client)
            drain(client, waiting)

        server._slices._drain = counted
        for _ in range(10):
            socks[0].sendall(b"hello\n")
            assert files[0].readline() == b"HELLO\n"
        assert len(looked) == 10 and len(set(looked)) == 1


def test_what_several_threads_put_arrives_whole_and_in_order(run):
    server = run(Shouting())
    with connect(server.address) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"go\n")
        assert lines.readline() == b"welcome go\n"
        (outgoing,) = server.messages.values()

        def put(name):
            for number in range(3000):
                outgoing.put(b"%s %d" % (name, number))

        threads = [threading.Thread(target=put, args=(name,)) for name in (b"a", b"b", b"c")]
        for thread in threads:
            thread.start()
        seen = {b"a": [], b"b": [], b"c": []}
        for _ in range(9000):
            name, number = lines.readline().split()
            seen[name].append(int(number))
        assert all(numbers == list(range(3000)) for numbers in seen.values())


class Telling(Game):
    """Answers with a content of its own, and with none."""

    def __init__(self):
        super().__init__()
        self.told = []

    def handle_message(self, client, seqnum, msg=b""):
        self.told.append(client.content)
        client.send(msg, content=Content("binary/numbers", byteorder="big"))
        client.send(msg)


async def play(address, stream, messages=2, **more):
    async with aio.connect(address, stream=stream, **more) as client:
        client.post(b"{}", content=Content("text/json"))
        answers = []
        async for event in client:
            if isinstance(event, aio.Message):
                answers.append(event)
                if len(answers) == messages:
                    return answers
        raise AssertionError("it ended: {}".format(answers))


def test_what_messages_are_is_told_both_ways(serve):
    game = Telling()
    server = serve(game, lambda context: context.listenStream("127.0.0.1:0", Framing.JSON))
    address = dict(server.addresses())["tcp"]
    first, second = asyncio.run(asyncio.wait_for(play(address, Stream(Framing.JSON), trust_any=True), 30))
    assert game.told == [Content("text/json", "utf-8", "little")] and game.clients[0].content is None
    assert first.content == Content("binary/numbers", "binary", "big")
    assert second.content == Content("application/octet-stream", "binary", "little")
    # Where it cannot be told nobody is.
    server = serve(Telling(), lambda context: context.listenStream("127.0.0.1:0", Framing.LENGTH))
    address = dict(server.addresses())["tcp"]
    first, _ = asyncio.run(asyncio.wait_for(play(address, Stream(Framing.LENGTH), trust_any=True), 30))
    assert (first.data, first.content) == (b"{}", None)


def test_a_client_speaks_tls(serve, tmp_path):
    files = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    subprocess.run(new + names + ["-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    door = {"private_key": files[0], "certificate": files[1]}
    server = serve(Telling(), lambda context: context.listenStream("127.0.0.1:0", Framing.JSON, **door))
    address = dict(server.addresses())["tcp"]
    for stream in (
        Stream(Framing.JSON, tls_ca=files[1], server_name="localhost"),
        Stream(Framing.JSON, tls_certificate=tmp_path / "cert.pem"),
        Stream(Framing.JSON, tls_insecure=True),
    ):
        assert len(asyncio.run(asyncio.wait_for(play(address, stream), 30))) == 2
    # The certificate is for no address.
    with pytest.raises(SessionEnded):
        asyncio.run(asyncio.wait_for(play(address, Stream(Framing.JSON, tls_ca=files[1])), 30))
    for wrong, more in (
        (Stream(), {}),
        (Stream(tls_insecure=True), {"trust_any": True}),
        (Stream(server_name="localhost"), {"trust_any": True}),
        (Stream(tls_insecure=True, tls_ca=files[1]), {}),
        (Stream(read_bytes=0), {"trust_any": True}),
    ):
        with pytest.raises(ValueError):
            aio.connect(address, stream=wrong, **more)
    with pytest.raises(ValueError, match="wire"):
        aio.connect(address, wire="mpgameserver", stream=Stream(), trust_any=True)
