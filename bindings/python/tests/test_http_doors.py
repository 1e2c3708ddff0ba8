"""HTTP doors of Python servers where something is unusual: several routers, hasty clients, failing functions."""

import base64
import concurrent.futures
import ctypes
import os
import socket
import threading

import pytest

import gamekeeper
from gamekeeper import _codes, _ffi
from gamekeeper import Resource, Response, Router, WebSocketOpCode, get, websocket
from playing import PATIENCE, Game, wait_until
from test_http import fetch


class Named(Resource):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.calls = []

    @get("/who")
    def who(self, request):
        return Response(self.name)

    @websocket("/ws")
    def socket(self, request, opcode, payload):
        self.calls.append((opcode, payload))


@pytest.fixture
def start():
    """Starts a server with a door for each router; gives it and the doors' addresses."""
    servers = []

    def start(*routers, game=None):
        server = gamekeeper.ThreadedServer(gamekeeper.ServerContext(game or Game()), ("127.0.0.1", 0))
        for router in routers:
            server.listenTCP(router, ("127.0.0.1", 0))
        servers.append(server)
        server.start()
        return server, ["{}:{}".format(*address) for address in server.http_addresses()]

    yield start
    for server in servers:
        server.stop()


def router(*resources):
    made = Router()
    for resource in resources:
        made.registerRoutes(resource)
    return made


def handshake(path):
    key = base64.b64encode(os.urandom(16))
    lines = [b"GET " + path + b" HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: websocket"]
    return b"\r\n".join(lines + [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key, b"", b""])


def test_a_router_answers_at_its_own_door_only(start):
    admin = router(Named("admin"))
    admin.registerRoutes([("GET", "/secret", lambda request: Response("told"))])
    server, (public, private) = start(router(Named("public")), admin)
    assert (fetch(public, "/who")[2], fetch(private, "/who")[2]) == (b"public", b"admin")
    assert (fetch(public, "/secret")[0], fetch(private, "/secret")[2]) == (404, b"told")


def test_one_router_can_have_two_doors(start):
    both = router(Named("both"))
    server, doors = start(both, both)
    assert [fetch(door, "/who")[2] for door in doors] == [b"both", b"both"]


def test_routes_count_until_the_start_and_are_refused_after_it(start):
    late = Router()
    server = gamekeeper.ThreadedServer(gamekeeper.ServerContext(Game()), ("127.0.0.1", 0))
    server.listenTCP(late, ("127.0.0.1", 0))
    late.registerRoutes(Named("late"))
    server.start()
    try:
        assert fetch("{}:{}".format(*server.http_addresses()[0]), "/who")[2] == b"late"
        with pytest.raises(gamekeeper.StateError):
            late.registerRoutes(Named("too late"))
    finally:
        server.stop()
    late.registerRoutes(Named("for the next server"))
    # A start that fails leaves the router as it was.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failing = gamekeeper.ThreadedServer(gamekeeper.ServerContext(Game()), ("127.0.0.1", 0))
        failing.listenTCP(late, taken.getsockname())
        with pytest.raises(gamekeeper.AddressError):
            failing.start()
    late.registerRoutes([("GET", "/more", lambda request: None)])


def test_a_websocket_that_closes_at_once_is_its_routes(start):
    """The host hears of it when it has closed already, and the library has forgotten the request."""
    gone, stale = threading.Event(), []

    def connect(client):
        assert gone.wait(PATIENCE)

        def forgotten():
            number, length = ctypes.c_uint64(), ctypes.c_size_t()
            assert _ffi.lib.gk_peer_request(client._link.pointer, client._peer, ctypes.byref(number)) == _codes.GK_OK
            result = _ffi.lib.gk_request_method(client._link.pointer, number, None, 0, ctypes.byref(length))
            return result == _codes.GK_ERR_STALE

        wait_until(forgotten, "the end of the request")
        stale.append(client)

    resource, game = Named("ws"), Game(connect=connect)
    server, (door,) = start(router(resource), game=game)
    host, port = door.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as sock:
        sock.sendall(handshake(b"/ws"))
        assert sock.recv(4096).startswith(b"HTTP/1.1 101")
        # A text, "hi", and the end.
        sock.sendall(b"\x81\x82\0\0\0\0hi" + b"\x88\x80\0\0\0\0")
    gone.set()
    wait_until(lambda: game.count("disconnect") == 1, "its end")
    assert len(stale) == 1
    assert resource.calls == [(WebSocketOpCode.Open, b""), (WebSocketOpCode.Text, "hi"), (WebSocketOpCode.Close, b"")]
    assert game.messages == [], "what is for the route is not told to the game"


def test_what_cannot_be_answered_is_an_error_without_its_headers(start):
    class Failing(Resource):
        @get("/status")
        def status(self, request):
            return Response("secret", 99, {"X-Secret": "1", "Set-Cookie": "a=b"})

        @get("/value")
        def value(self, request):
            return Response("secret", 200, {"X-Secret": "1", "X-Bad": "a\r\nb"})

    server, (door,) = start(router(Failing()))
    for path in ("/status", "/value"):
        status, headers, body = fetch(door, path)
        assert (status, headers["X-Secret"], headers["Set-Cookie"]) == (500, None, None), path
        assert b"secret" not in body


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError, concurrent.futures.CancelledError])
def test_a_future_that_fails_in_whatever_way_is_answered(start, error):
    class Later(Resource):
        @get("/later")
        def later(self, request):
            future = concurrent.futures.Future()
            threading.Thread(target=future.set_exception, args=(error(),), daemon=True).start()
            return future

    server, (door,) = start(router(Later()))
    assert fetch(door, "/later")[0] == 500


def test_a_response_can_be_given_twice(start):
    same = Response("a" * 1000, headers={"Content-Type": "application/x-own"}, compress=True)
    server, (door,) = start(router([("GET", "/", lambda request: same)]))
    packed = fetch(door, "/", headers={"Accept-Encoding": "gzip"})
    plain = fetch(door, "/", headers={"Accept-Encoding": "identity"})
    assert packed[1]["Content-Encoding"] == "gzip"
    assert plain[1]["Content-Encoding"] is None and plain[2] == b"a" * 1000


def test_a_password_in_clear_has_to_be_allowed():
    def server(**more):
        context = gamekeeper.ServerContext(Game())
        context.setPassword(b"secret")
        made = gamekeeper.ThreadedServer(context, ("127.0.0.1", 0))
        made.listenTCP(router(Named("ws")), ("0.0.0.0", 0), **more)
        return made

    with pytest.raises(gamekeeper.GamekeeperError, match="password"):
        server().start()
    allowed = server(password_in_clear=True)
    allowed.start()
    try:
        assert "http" in [kind for kind, _ in allowed.addresses()]
    finally:
        allowed.stop()
