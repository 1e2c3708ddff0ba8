"""The client of HTTP that a game's main loop runs."""

import io
import socket
import ssl
import threading

import pytest

import gamekeeper
from gamekeeper import ErrorResponse, HTTPClient, JsonResponse, Response
from gamekeeper.mpgameserver import Serializable, SerializableResponse
from playing import PATIENCE, wait_until
from test_http import certificate


class Thing(Serializable):
    value: int = 0


class Site(gamekeeper.Resource):
    @gamekeeper.get("/hello/:name")
    def hello(self, request):
        return Response("{} {}".format(request.params.get("greeting", ["-"]), request.matches["name"]))

    @gamekeeper.post("/json")
    def json(self, request):
        return JsonResponse({"got": request.json(), "x": request.headers[b"X-Own"][0].decode()}, 201)

    @gamekeeper.put("/thing")
    def thing(self, request):
        return SerializableResponse(Thing(value=request.message().value + 1))

    @gamekeeper.put("/bytes")
    def bytes(self, request):
        return Response(request.stream.read())

    @gamekeeper.delete("/refused")
    def refused(self, request):
        return JsonResponse({"error": "no"}, 403)


@pytest.fixture
def served():
    """Serves the site; gives its address."""
    running = []

    def serve(*tls):
        server = gamekeeper.HTTPServer(("127.0.0.1", 0), *tls)
        server.registerRoutes(Site())
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        wait_until(server.http_addresses, "the door")
        return server.http_addresses()[0]

    yield serve
    for server, thread in running:
        server.stop()
        thread.join(PATIENCE)


@pytest.fixture
def client():
    """Makes clients; all are stopped at the end."""
    clients = []

    def make(address, **more):
        made = HTTPClient(address, **more)
        clients.append(made)
        return made

    yield make
    for made in clients:
        made.stop()


@pytest.fixture
def canned():
    """Servers of few words: each answers with what it is given, piece by piece, and collects what it was sent."""
    ended, threads = threading.Event(), []

    def start(pieces, pause=0.0):
        door, heard = socket.create_server(("127.0.0.1", 0)), []

        def serve():
            with door:
                while not ended.is_set():
                    try:
                        sock, _ = door.accept()
                    except OSError:
                        return
                    with sock:
                        try:
                            talk(sock)
                        except OSError:
                            pass

        def talk(sock):
            data = b""
            while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length_in(data):
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            heard.append(data)
            for piece in pieces:
                sock.sendall(piece)
                if ended.wait(pause):
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        threads.append((door.getsockname(), thread))
        return door.getsockname(), heard

    yield start
    ended.set()
    for address, thread in threads:
        with socket.socket() as last:
            # Whoever waits for somebody sees that it is over.
            last.connect_ex(address)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def length_in(head):
    for line in head.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def drops():
    """A body that comes byte by byte and does not end."""
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        yield b"x"


def head_drops():
    """The same of a head."""
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while True:
        yield b"x"


def answer(client, handle):
    wait_until(lambda: handle.ready, "the response")
    client.update()
    return handle.response


def test_all_methods_ask_and_responses_are_what_they_are(served, client):
    ours = client(served())
    before = ours.get("/hello/ann", {"greeting": ["a&b", "ü c"]})
    assert ours.pending() == 1 and not before.ready
    ours.start()
    assert answer(ours, before).payload == "['a&b', 'ü c'] ann".encode() and ours.pending() == 0
    told = answer(ours, ours.post("/json", {"a": [1]}, headers={"X-Own": "7"}))
    assert isinstance(told, JsonResponse) and (told.status_code, told.payload) == (201, {"got": {"a": [1]}, "x": "7"})
    told = answer(ours, ours.put("/thing", Thing(value=41)))
    assert isinstance(told, SerializableResponse) and told.payload.value == 42
    file = io.BytesIO(b"from a file")
    assert answer(ours, ours.put("/bytes", file)).payload == b"from a file" and file.closed
    told = answer(ours, ours.delete("/refused"))
    assert isinstance(told, ErrorResponse) and (told.status_code, told.payload) == (403, {"error": "no"})
    assert answer(ours, ours.get("/absent")).status_code == 404


def test_callbacks_come_when_responses_are_taken(served, client):
    ours, told = client(served()), []
    ours.start()
    handles = [ours.get("/hello/{}".format(n), callback=told.append) for n in range(5)]
    wait_until(lambda: all(handle.ready for handle in handles), "all responses")
    assert told == []
    assert [handle.hid for handle in ours.getResponses()] == [handle.hid for handle in handles]
    assert [response.payload[-1:] for response in told] == [b"0", b"1", b"2", b"3", b"4"]
    assert list(ours.getResponses()) == []


def test_a_server_that_does_not_answer_is_an_error_response(client):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ours = client(closed.getsockname())
        ours.start()
        told = answer(ours, ours.get("/"))
    assert isinstance(told, ErrorResponse) and told.status_code == 418
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ours = client(silent.getsockname(), timeout=0.2)
        ours.start()
        assert answer(ours, ours.get("/")).status_code == 418


def test_what_was_given_up_is_not_handed_out(served, client):
    ours, told = client(served()), []
    given_up, kept = ours.get("/hello/a", callback=told.append), ours.get("/hello/b", callback=told.append)
    given_up.cancel()
    assert given_up.cancelled() and not kept.cancelled() and ours.pending() == 1
    ours.start()
    answer(ours, kept)
    assert [response.payload for response in told] == [b"['-'] b"]
    ours.stop()
    for call in (ours.start, lambda: ours.get("/")):
        with pytest.raises(gamekeeper.StateError):
            call()


def test_a_body_says_what_it_is(canned, client):
    address, heard = canned([b"HTTP/1.1 204 No Content\r\n\r\n"])
    ours = client(address)
    ours.start()
    for payload, more, kind in (
        (b"raw", {}, b"application/octet-stream"),
        (io.BytesIO(b"file"), {}, b"application/octet-stream"),
        ("text", {}, b"text/plain; charset=utf-8"),
        ([1], {}, b"application/json"),
        (b"own", {"content-type": "image/png"}, b"image/png"),
    ):
        assert answer(ours, ours.post("/a", payload, headers=more)).status_code == 204
        lines = [line.partition(b":") for line in heard.pop().split(b"\r\n")]
        kinds = [value.strip() for name, _, value in lines if name.lower() == b"content-type"]
        assert kinds == [kind]
    answer(ours, ours.get("/a#b", {"c": "#"}))
    assert heard[0].startswith(b"GET /a?c=%23 HTTP/1.1\r\n") and b"content-type" not in heard[0].lower()


def test_no_redirect_is_followed_and_no_proxy_asked(canned, client, monkeypatch):
    elsewhere, led_astray = canned([b"HTTP/1.1 200 OK\r\n\r\n"])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://{}:{}".format(*elsewhere))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    there = "http://{}:{}/there".format(*elsewhere)
    address, heard = canned(["HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 2\r\n\r\nno".format(there).encode()])
    ours = client(address)
    ours.start()
    told = answer(ours, ours.get("/", headers={"Authorization": "secret"}))
    assert (told.status_code, told.headers["Location"], told.payload) == (302, there, b"no")
    assert not isinstance(told, ErrorResponse) and len(heard) == 1 and led_astray == []


def test_equal_headers_are_one(canned, client):
    head = b"HTTP/1.1 200 OK\r\nX-Own: a\r\nx-own: b\r\nSet-Cookie: c=1\r\nSet-Cookie: d=2\r\nConnection: close\r\n\r\n"
    ours = client(canned([head])[0])
    ours.start()
    told = answer(ours, ours.get("/")).headers
    assert (told["X-Own"], told["Set-Cookie"]) == ("a, b", "c=1\nd=2")


@pytest.mark.parametrize("pieces", [drops, head_drops])
def test_a_server_that_goes_on_and_on_is_given_up(canned, client, pieces):
    ours = client(canned(pieces(), pause=0.05)[0], timeout=1.0, deadline=2.0)
    ours.start()
    told = answer(ours, ours.get("/"))
    assert (told.status_code, told.payload) == (418, b"timed out")


def test_who_stops_does_not_wait_for_an_answer_without_end(canned, client):
    address, heard = canned(drops(), pause=0.05)
    ours = client(address, timeout=PATIENCE * 10, deadline=PATIENCE * 10)
    ours.start()
    ours.get("/")
    wait_until(lambda: heard, "the request")
    stopping = threading.Thread(target=ours.stop, daemon=True)
    stopping.start()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()


def test_an_answer_that_is_cut_short_is_none(canned, client):
    ours = client(canned([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])[0])
    ours.start()
    assert answer(ours, ours.get("/")).status_code == 418


def test_over_tls_only_who_is_trusted_is_believed(served, client, tmp_path):
    key, cert = certificate(tmp_path, "localhost")
    host, port = served(key, cert)
    doubting = client(("localhost", port), protocol="https")
    trusting = client(("localhost", port), protocol="https", context=ssl.create_default_context(cafile=cert))
    doubting.start()
    trusting.start()
    assert answer(doubting, doubting.get("/hello/tls")).status_code == 418
    assert answer(trusting, trusting.get("/hello/tls")).payload == b"['-'] tls"


def test_bad_arguments_are_refused(client):
    with pytest.raises(ValueError):
        HTTPClient(("127.0.0.1", 1), protocol="file")
    ours = client(("127.0.0.1", 1))
    with pytest.raises(ValueError):
        ours.get("no slash")
    with pytest.raises(TypeError):
        ours.get("/", {"a": [b"bytes"]})
