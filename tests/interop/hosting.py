"""The server under test, run inside this process.

INTEROP_SERVER=gamekeeper (the default) hosts it with the Python binding; INTEROP_SERVER=mpgameserver
hosts the package's own server in its place, so that a test which fails can be held against the original.
"""

import os
import socket
import threading
import time
from collections import Counter

import mpgameserver

MODE = os.environ.get("INTEROP_SERVER", "gamekeeper")
if MODE == "gamekeeper":
    import gamekeeper as api
elif MODE == "mpgameserver":
    api = mpgameserver
else:
    raise SystemExit(f"INTEROP_SERVER is {MODE!r}; allowed: gamekeeper, mpgameserver")

OURS = MODE == "gamekeeper"


def free_address(host=None):
    """An address with a free port; without a host on this process's own corner of the loopback network,
    so that nobody else takes the port before the server does."""
    pid = os.getpid()
    host = host or f"127.{1 + pid // 65025 % 250}.{pid // 255 % 255}.{1 + pid % 254}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[:2]


class Recorder(api.EventHandler):
    """Writes down what the server tells, and runs what the test wants run on the server's thread."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.is_starting = threading.Event()
        self.events = []
        self.clients = {}
        self.messages = {}
        self.threads = set()
        #: called on the server's thread after the event is written down
        self.on_connect = self.on_message = self.on_update = None
        self._calls = []

    def _note(self, *event):
        with self.lock:
            self.threads.add(threading.get_ident())
            self.events.append(event)

    def starting(self):
        self._note("starting")
        self.is_starting.set()

    def shutdown(self):
        self._note("shutdown")

    def connect(self, client):
        with self.lock:
            self.clients[client.token] = client
            self.messages[client.token] = []
        self._note("connect", client.token)
        if self.on_connect:
            self.on_connect(client)

    def disconnect(self, client):
        self._note("disconnect", client.token)

    def handle_message(self, client, seqnum, msg=b""):
        with self.lock:
            self.messages[client.token].append((int(seqnum), bytes(msg)))
        if self.on_message:
            self.on_message(client, seqnum, bytes(msg))

    def update(self, delta_t):
        with self.lock:
            calls, self._calls = self._calls, []
        for call in calls:
            call()
        if self.on_update:
            self.on_update(delta_t)

    # ---- for the test's thread

    def run_on_server(self, function):
        with self.lock:
            self._calls.append(function)

    def tokens(self, name):
        with self.lock:
            return [event[1] for event in self.events if event[0] == name]

    def names(self):
        with self.lock:
            return [event[0] for event in self.events]

    def received(self, token):
        """The bodies of the messages of one client, in the order of their arrival."""
        with self.lock:
            return [body for _, body in self.messages.get(token, [])]

    def received_count(self, token):
        with self.lock:
            return len(self.messages.get(token, ()))


class PackageServer:
    """The package's server loop on a plain socket: its reactor could be run only once per process."""

    def __init__(self, ctxt, address):
        self.ctxt = ctxt
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(address)
        self.sock.settimeout(0.2)
        self.loop = mpgameserver.server.UdpServerThread(self.sock, ctxt)
        self.reader = threading.Thread(target=self._read, daemon=True)

    def start(self):
        self.loop.start()
        self.reader.start()

    def _read(self):
        while self.ctxt._active:
            try:
                datagram, source = self.sock.recvfrom(2048)
                if source[0] not in self.ctxt.blocklist:
                    header = mpgameserver.connection.PacketHeader.from_bytes(True, datagram)
                    self.loop.append(source, header, datagram)
            except Exception:  # noqa: BLE001 (a bad datagram, or no datagram for a while)
                continue

    def stop(self):
        self.ctxt.shutdown()
        self.loop._wake()
        self.loop.join(10)
        self.reader.join(10)
        self.sock.close()


class Host:
    """A running server. `configure` gets the ServerContext before the start."""

    def __init__(self, configure=None, root_key=None, host=None):
        self.root_key = root_key or api.EllipticCurvePrivateKey.new()
        self.handler = Recorder()
        self.ctxt = api.ServerContext(self.handler, self.root_key)
        if configure:
            configure(self.ctxt)
        self.address = free_address(host)
        self.server = (api.ThreadedServer if OURS else PackageServer)(self.ctxt, self.address)
        self._stopped = False

    def __enter__(self):
        self.server.start()
        assert self.handler.is_starting.wait(20), "the server did not start"
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if not self._stopped:
            self._stopped = True
            self.server.stop()

    @property
    def public_key(self):
        """As the package's client takes it."""
        pem = self.root_key.getPublicKey().getPublicKeyPEM()
        return mpgameserver.EllipticCurvePublicKey.fromPEM(pem)

    def client(self, token):
        return self.handler.clients[token]

    def call(self, function, timeout=20):
        """Runs a function on the server's thread and gives back what it returns or raises.

        Only while somebody is connected: the package's loop sleeps otherwise.
        """
        done = threading.Event()
        result = {}

        def run():
            try:
                result["value"] = function()
            except BaseException as error:  # noqa: BLE001 (handed to the caller)
                result["error"] = error
            done.set()

        self.handler.run_on_server(run)
        assert done.wait(timeout), "the server's update is not called"
        if "error" in result:
            raise result["error"]
        return result["value"]

    def send(self, token, payload, retry="NONE", callback=None):
        self.send_all([(token, payload, retry, callback)])

    def send_all(self, messages):
        """Sends (token, payload, retry mode, callback or None) in one tick: no client is updated meanwhile."""

        def run():
            for token, payload, retry, callback in messages:
                self.client(token).send(payload, retry=getattr(api.RetryMode, retry), callback=callback)

        self.call(run)


class Outcomes:
    """Counts what completion callbacks report, by message."""

    def __init__(self):
        self.lock = threading.Lock()
        self.reports = {}
        self.asked = 0

    def callback(self, name):
        self.asked += 1

        def report(success):
            with self.lock:
                self.reports.setdefault(name, []).append((bool(success), time.monotonic()))

        return report

    def of(self, name):
        with self.lock:
            return [success for success, _ in self.reports.get(name, [])]

    def total(self):
        with self.lock:
            return Counter(success for reports in self.reports.values() for success, _ in reports)

    def all_reported(self):
        with self.lock:
            return len(self.reports) == self.asked

    def only_once(self):
        with self.lock:
            return {name: len(r) for name, r in self.reports.items() if len(r) != 1} == {}
