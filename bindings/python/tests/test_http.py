"""HTTP and WebSockets of Python servers, met by real clients: curl, websockets, Node's ws, wrk."""

import asyncio
import concurrent.futures
import gzip
import io
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
import websockets

import gamekeeper
from gamekeeper import (
    ErrorResponse,
    HTTPServer,
    JsonResponse,
    Request,
    Resource,
    Response,
    Router,
    WebSocketOpCode,
    delete,
    get,
    header,
    param,
    path_join_safe,
    post,
    put,
    websocket,
)
from playing import PATIENCE, Game, echo, wait_until


def tool(name):
    """The path of a program; without it the test is skipped, and fails where everything is to be tested."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("{} is missing".format(name))
    return path or pytest.skip("{} is missing".format(name))


class Everything(Resource):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.thread = None
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    @get("/hello/:name")
    @header("X-Name")
    @param("greeting")
    def hello(self, request):
        self.thread = threading.get_ident()
        greeting = request.params.get("greeting", ["hello"])[0]
        return Response("{} {}".format(greeting, request.matches["name"]), headers={"Content-Type": "text/plain"})

    @get("/headers")
    def headers(self, request):
        return JsonResponse({name.decode(): [v.decode() for v in values] for name, values in request.headers.items()})

    @put("/small/:path+", max_content_length=10)
    def small(self, request):
        return JsonResponse({"path": request.matches["path"], "length": len(request.stream.read())})

    @post("/json")
    def json(self, request):
        return JsonResponse({"got": request.json(), "from": request.client_address[0]}, 201)

    @delete("/thing/:id?")
    def thing(self, request):
        return Response(status_code=204) if request.matches["id"] else ErrorResponse("which?", 400)

    @get("/later")
    def later(self, request):
        return self.pool.submit(lambda: Response("from " + threading.current_thread().name[:10]))

    @get("/broken")
    def broken(self, request):
        raise RuntimeError("on purpose")

    @get("/nothing")
    def nothing(self, request):
        return None

    @get("/wrong")
    def wrong(self, request):
        return Response("x", status_code=99)

    @get("/long")
    def long(self, request):
        return Response(io.BytesIO(b"a" * 100_000), headers={"Content-Type": "application/x-own"}, compress=True)

    @websocket("/ws/:room?")
    def socket(self, request, opcode, payload):
        self.calls.append((request.uid, opcode, payload))
        if opcode in (WebSocketOpCode.Text, WebSocketOpCode.Binary):
            if payload == "close":
                request.close(4001, "asked for")
            else:
                request.send(payload)


@pytest.fixture
def site(serve):
    """A game server with a resource: the resource, its game, and the address of its pages."""
    resource, game, router = Everything(), Game(message=echo), Router()
    router.registerRoutes(resource)
    context = gamekeeper.ServerContext(game)
    server = gamekeeper.ThreadedServer(context, ("127.0.0.1", 0))
    server.listenTCP(router, ("127.0.0.1", 0))
    server.start()
    with pytest.raises(gamekeeper.StateError):
        server.listenTCP(router, ("127.0.0.1", 0))
    yield resource, game, "127.0.0.1:{}".format(server.http_addresses()[0][1])
    server.stop()


def fetch(address, path, method="GET", body=None, headers=None):
    """(status, headers, body)"""
    request = urllib.request.Request("http://" + address + path, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_routes_get_what_was_asked_and_answer_it(site):
    resource, game, address = site
    assert fetch(address, "/hello/a%20b?greeting=good+day")[2] == b"good day a b"
    assert resource.thread in game.threads, "it is the server's thread"
    assert json.loads(fetch(address, "/headers", headers={"X-Own": "1"})[2])["X-OWN"] == ["1"]
    assert json.loads(fetch(address, "/small/a/b", "PUT", b"12345")[2]) == {"path": "a/b", "length": 5}
    assert fetch(address, "/small/a", "PUT", b"12345678901")[0] == 413
    status, headers, body = fetch(address, "/json", "POST", b'{"a": [1]}')
    assert (status, json.loads(body)) == (201, {"got": {"a": [1]}, "from": "127.0.0.1"})
    assert headers["Content-Type"] == "application/json"
    assert fetch(address, "/thing/7", "DELETE")[0] == 204
    assert fetch(address, "/thing", "DELETE")[0] == 400
    assert fetch(address, "/later")[2] == b"from ThreadPool"
    for path, status in [("/broken", 500), ("/nothing", 500), ("/wrong", 500), ("/absent", 404), ("/json", 405)]:
        assert fetch(address, path)[0] == status, path
    status, headers, body = fetch(address, "/long", headers={"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == b"a" * 100_000
    assert fetch(address, "/long")[2] == b"a" * 100_000


def test_a_websocket_is_a_client_and_speaks_text_and_bytes(site):
    resource, game, address = site

    async def talk():
        async with websockets.connect("ws://{}/ws/hall".format(address), subprotocols=["own"]) as socket:
            assert socket.subprotocol == "own"
            for message in ("grüß", b"\0\xff", "x" * 100_000, ""):
                await socket.send(message)
                assert await asyncio.wait_for(socket.recv(), PATIENCE) == message
            await (await socket.ping())
            await socket.send("close")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), PATIENCE)
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "asked for")

    asyncio.run(talk())
    wait_until(lambda: resource.calls[-1][1] == WebSocketOpCode.Close, "the close")
    opcodes = [opcode.name for _, opcode, _ in resource.calls]
    assert opcodes == ["Open", "Text", "Binary", "Text", "Text", "Text", "Close"]
    assert len({uid for uid, _, _ in resource.calls}) == 1
    assert game.events == ["starting", "connect", "disconnect"]


def test_players_and_pages_are_peers_of_one_server(site, play):
    resource, game, address = site

    async def talk():
        async with websockets.connect("ws://{}/ws".format(address)) as socket:
            await socket.send("a")
            assert await asyncio.wait_for(socket.recv(), PATIENCE) == "a"
            assert game.count("connect") == 1
            game.clients[0].send(b"to the page")
            assert await asyncio.wait_for(socket.recv(), PATIENCE) == b"to the page"

    asyncio.run(talk())


def test_curl_is_served(site):
    resource, game, address = site
    curl = tool("curl")

    def run(*arguments):
        done = subprocess.run([curl, "-sS", "-m", "60", *arguments], capture_output=True, timeout=PATIENCE * 2)
        assert done.returncode == 0, done.stderr
        return done.stdout

    base = "http://" + address
    assert run(base + "/hello/curl") == b"hello curl"
    assert run("--compressed", base + "/long") == b"a" * 100_000
    assert run("-T", "-", "-H", "Expect:", base + "/small/x") == b'{"path": "x", "length": 0}\n'
    # Two requests on one connection.
    assert run("-w", "%{num_connects}", base + "/hello/a", base + "/hello/b") == b"hello a1hello b0"
    assert run("-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", base + "/../../etc/passwd") == b"404"
    big = b"0" * (5 * 1024 * 1024 + 1)
    done = subprocess.run([curl, "-sS", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", base + "/json"], input=big, capture_output=True)
    assert done.stdout == b"413"


def certificate(folder, name):
    """A key and a certificate that it is signed with."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    parts = [
        [tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
        ["-days", "2", "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        ["-keyout", str(key) + ".new", "-out", str(cert) + ".new"],
    ]
    subprocess.run(sum(parts, []), check=True, capture_output=True)
    os.replace(str(key) + ".new", key)
    os.replace(str(cert) + ".new", cert)
    return str(key), str(cert)


def test_tls_and_a_certificate_that_changes_while_somebody_is_connected(tmp_path):
    key, cert = certificate(tmp_path, "first")
    server = HTTPServer(("127.0.0.1", 0), key, cert)
    resource = Everything()
    server.registerRoutes(resource)
    assert [route.pattern for route in server.routes()] == [route.pattern for route in resource.routes()]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(server.http_addresses, "the door")
        port = server.http_addresses()[0][1]
        trusting = ssl.create_default_context(cafile=cert)
        curl = [tool("curl"), "-sS", "-m", "60", "--cacert", cert, "https://localhost:{}/hello/tls".format(port)]
        assert subprocess.run(curl, capture_output=True, check=True).stdout == b"hello tls"

        def subject():
            lines = subprocess.run(
                [tool("openssl"), "s_client", "-connect", "127.0.0.1:{}".format(port)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
            ).stdout
            return re.search(rb"subject=CN ?= ?(\w+)", lines).group(1)

        async def talk():
            async with websockets.connect("wss://localhost:{}/ws".format(port), ssl=trusting) as socket:
                assert await asyncio.to_thread(subject) == b"first"
                # Nonsense is not taken, and the one before stays.
                await asyncio.to_thread((tmp_path / "cert.pem").write_text, "nonsense")
                await asyncio.sleep(3)
                assert await asyncio.to_thread(subject) == b"first"
                await asyncio.to_thread(certificate, tmp_path, "second")
                end = time.monotonic() + PATIENCE
                while await asyncio.to_thread(subject) != b"second":
                    assert time.monotonic() < end, "the new certificate is not shown"
                    await asyncio.sleep(0.2)
                await socket.send("still here")
                assert await asyncio.wait_for(socket.recv(), PATIENCE) == "still here"

        asyncio.run(talk())
    finally:
        server.stop()
        thread.join(PATIENCE)


def test_nodes_ws_talks(site, tmp_path):
    resource, game, address = site
    node, npm = tool("node"), tool("npm")
    installed = subprocess.run([npm, "install", "--no-audit", "--no-fund", "ws@8"], cwd=tmp_path, capture_output=True)
    assert installed.returncode == 0, installed.stderr
    script = """
        const WebSocket = require("ws");
        const socket = new WebSocket("ws://%s/ws");
        let left = 200;
        socket.on("open", () => socket.send("0"));
        socket.on("message", (data, binary) => {
          if (--left === 0) return socket.close(4000, "enough");
          socket.send(left %% 2 ? Buffer.from(data) : data.toString() + "x");
        });
        socket.on("close", (code) => { console.log("closed", code, left); });
    """
    done = subprocess.run([node, "-e", script % address], cwd=tmp_path, capture_output=True, timeout=PATIENCE * 2)
    assert done.stdout == b"closed 4000 0\n", done


def test_wrk_loads_it_and_the_game_ticks_on(site):
    resource, game, address = site
    ticks = game.ticks
    command = [tool("wrk"), "-t1", "-c32", "-d3s", "http://{}/hello/load".format(address)]
    output = subprocess.run(command, capture_output=True, timeout=PATIENCE * 2, check=True).stdout.decode()
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    print("wrk: {} requests in 3 s, {} ticks meanwhile".format(requests, game.ticks - ticks))
    assert requests > 50 and "Non-2xx" not in output and "Socket errors: connect" not in output
    assert game.ticks - ticks > 10


def test_the_router_finds_the_first_route_that_matches():
    class Shapes(Resource):
        @get("/abc")
        def plain(self, request):
            return Response("plain")

        @get("/one/:a")
        def one(self, request):
            return Response("one " + request.matches["a"])

        @get("/opt/:a?")
        def opt(self, request):
            return Response("opt {}".format(request.matches["a"]))

        @get("/plus/:a+")
        def plus(self, request):
            return Response("plus " + request.matches["a"])

        @get("/star/:a*")
        def star(self, request):
            return Response("star {}".format(request.matches["a"]))

    router = Router()
    shapes = Shapes()
    router.registerRoutes(shapes)
    router.registerRoutes([("POST", "/abc", lambda request: Response("posted"))])
    assert [route.name for route in shapes.routes()] == ["shapes." + n for n in ("plain", "one", "opt", "plus", "star")]
    for method, path, expected in [
        ("GET", "/abc", b"plain"),
        ("GET", "/abc/", b"plain"),
        ("POST", "/abc", b"posted"),
        ("GET", "/one/x%2Fy", b"one x/y"),
        ("GET", "/one", None),
        ("GET", "/one/x/y", None),
        ("GET", "/opt", b"opt None"),
        ("GET", "/opt/x", b"opt x"),
        ("GET", "/opt/x/y", None),
        ("GET", "/plus", None),
        ("GET", "/plus/x/y", b"plus x/y"),
        ("GET", "/star", b"star None"),
        ("GET", "/star/x/y/z", b"star x/y/z"),
        ("GET", "/star/x//z", None),
        ("GET", "/", None),
    ]:
        response = router.dispatch(Request(("::1", 1), method, path, {}, "", {b"a": [b"b"]}, None))
        assert (response.payload if response.status_code == 200 else None) == expected, path
    with pytest.raises(ValueError):
        router.registerRoutes([("PATCH", "/", None)])


def test_paths_are_joined_within_their_root(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_text("")
    root = str(tmp_path / "root")
    if hasattr(os, "symlink"):
        os.symlink(str(tmp_path / "secret"), os.path.join(root, "link"))
    assert path_join_safe(root, "a/b.txt") == os.path.join(root, "a", "b.txt")
    for name in ("../secret", "a/../../secret", "..\\secret", "./a", "/etc/passwd", "a\0", "link", ""):
        with pytest.raises(ValueError):
            path_join_safe(root, name)


def test_the_chat_pages_talk_to_each_other_and_to_the_game():
    import sys

    from test_programs import CHECKOUT, Program

    from browser import Browser, program

    path = program() or tool("chromium")
    assert sys.version_info >= (3, 9)
    chat = Program(CHECKOUT / "examples/python/chat/chat.py", "127.0.0.1", 0, 0)
    try:
        wait_until(lambda: len(chat.lines) >= 2, "the chat")
        address = chat.lines[1].split()[1]
        browser = Browser(path)
        try:
            asyncio.run(_converse(browser, address))
        finally:
            browser.close()
    finally:
        chat.process.terminate()
        chat.process.wait(PATIENCE)


async def _converse(browser, address):
    ann = await browser.page(address + "#ann")
    log = "document.getElementById('log') && document.getElementById('log').innerText || ''"
    await ann.until("({}).includes('is here')".format(log))
    bob = await browser.page(address + "#bob")
    await bob.until("({}).includes('is here')".format(log))
    say = "document.getElementById('text').value = {}; document.getElementById('form').requestSubmit()"
    await ann.run(say.format(json.dumps("hello <b>bob</b>")))
    await bob.until("({}).includes('ann hello <b>bob</b>') || ({}).includes('annhello <b>bob</b>')".format(log, log))
    await bob.run(say.format(json.dumps("hello ann ü")))
    await ann.until("({}).includes('hello ann ü')".format(log))
    assert "2 here" in await ann.run("document.getElementById('state').innerText")
    assert await ann.run("fetch('/who').then((answer) => answer.json()).then((who) => who.pages.join())") == "ann,bob"
    assert await ann.run("fetch('/static/..%2fchat.py').then((answer) => answer.status)") == 404
    await bob.call("Page.close")
    await ann.until("({}).includes('has left')".format(log))
