"""This library's client at the package's own server."""

import contextlib
import ctypes
import threading
import time

import mpgameserver
import pytest
from gamekeeper import _codes, _ffi
from hosting import PackageServer, free_address
from players import PATIENCE, payload

#: Events taken at once.
BATCH = 64


class Echo(mpgameserver.EventHandler):
    """Sends everything back, as safely as it can."""

    def __init__(self):
        super().__init__()
        self.is_starting = threading.Event()
        self.clients = []
        self.gone = []
        #: the next update disconnects everybody
        self.kick = False

    def starting(self):
        self.is_starting.set()

    def connect(self, client):
        self.clients.append(client)

    def disconnect(self, client):
        self.gone.append(client)

    def handle_message(self, client, seqnum, msg=b""):
        client.send(bytes(msg), retry=mpgameserver.RetryMode.RETRY_ON_TIMEOUT)

    def update(self, delta_t):
        if self.kick:
            self.kick = False
            for client in self.clients:
                client.disconnect()


@pytest.fixture
def package_server():
    key = mpgameserver.EllipticCurvePrivateKey.new()
    handler = Echo()
    address = free_address()
    server = PackageServer(mpgameserver.ServerContext(handler, key), address)
    server.start()
    assert handler.is_starting.wait(PATIENCE), "the server did not start"
    yield handler, "{}:{}".format(*address), key.getPublicKey()
    server.stop()


class Client:
    """The C functions of a polled client."""

    def __init__(self, address, key=None, handshake_timeout=5.0):
        context = ctypes.c_void_p()
        _ffi.check(_ffi.lib.gk_context_new(ctypes.byref(context)))
        try:
            _ffi.check(_ffi.lib.gk_context_set_wire(context, _codes.GK_WIRE_MPGAMESERVER))
            _ffi.check(_ffi.lib.gk_context_set_max_queued_events(context, 1000))
            _ffi.check(_ffi.lib.gk_context_set_handshake_timeout_us(context, int(handshake_timeout * 1e6)))
            if key is None:
                _ffi.check(_ffi.lib.gk_context_trust_any_server(context))
            else:
                der = key.getBytes()
                _ffi.check(_ffi.lib.gk_context_pin_root_key(context, der, len(der)))
            self.pointer = ctypes.c_void_p()
            _ffi.check(_ffi.lib.gk_client_open(context, address.encode(), ctypes.byref(self.pointer)))
        finally:
            _ffi.lib.gk_context_free(context)
        self.connected = 0
        self.ends = []
        self.received = []

    def close(self):
        _ffi.lib.gk_client_free(self.pointer)

    def send(self, body):
        _ffi.check(_ffi.lib.gk_client_send_guaranteed(self.pointer, body, len(body), None, None))

    def take(self):
        events = (_ffi.gk_event * BATCH)()
        count = ctypes.c_size_t()
        size = ctypes.sizeof(_ffi.gk_event)
        _ffi.check(
            _ffi.lib.gk_client_next_events(self.pointer, events, size, BATCH, ctypes.byref(count))
        )
        for event in events[: count.value]:
            if event.type == _codes.GK_EVENT_CONNECT:
                self.connected += 1
            elif event.type == _codes.GK_EVENT_DISCONNECT:
                self.ends.append(event.code)
            elif event.type == _codes.GK_EVENT_MESSAGE:
                self.received.append(ctypes.string_at(event.data, event.len))

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not come"
            _ffi.check(_ffi.lib.gk_client_poll(self.pointer, 10_000))
            self.take()


@pytest.fixture
def open_client():
    with contextlib.ExitStack() as stack:

        def make(*arguments, **options):
            client = Client(*arguments, **options)
            stack.callback(client.close)
            return client

        yield make


def test_it_joins_talks_and_leaves(package_server, open_client):
    handler, address, key = package_server
    client = open_client(address, key)
    client.until(lambda: client.connected and handler.clients)
    assert _ffi.read_bytes(_ffi.lib.gk_client_server_root_key_der, client.pointer) == key.getBytes()
    bodies = [payload(n, size) for n, size in enumerate((4, 100, 1400, 5_000, 50_000))]
    for body in bodies:
        client.send(body)
    client.until(lambda: len(client.received) >= len(bodies))
    assert sorted(client.received) == sorted(bodies)
    _ffi.check(_ffi.lib.gk_client_disconnect(client.pointer))
    client.until(lambda: client.ends and handler.gone)
    assert client.ends == [_codes.GK_DISCONNECT_LOCAL]
    # The same server once more, from the same port.
    _ffi.check(_ffi.lib.gk_client_reconnect(client.pointer))
    client.until(lambda: client.connected == 2 and len(handler.clients) == 2)
    client.send(b"back again")
    client.until(lambda: client.received[-1] == b"back again")


def test_the_server_ends_it(package_server, open_client):
    handler, address, _ = package_server
    client = open_client(address)
    client.until(lambda: client.connected and handler.clients)
    handler.kick = True
    client.until(lambda: client.ends)
    assert client.ends == [_codes.GK_DISCONNECT_REMOTE]


def test_what_is_queued_is_delivered_before_it_leaves(package_server, open_client):
    handler, address, key = package_server
    client = open_client(address, key)
    client.until(lambda: client.connected and handler.clients)
    for number in range(20):
        client.send(payload(number, 2000))
    _ffi.check(_ffi.lib.gk_client_disconnect_wait(client.pointer, int(PATIENCE * 1e6)))
    client.take()
    assert client.ends == [_codes.GK_DISCONNECT_LOCAL]


def test_another_servers_key_is_not_believed(package_server, open_client):
    handler, address, _ = package_server
    stranger = mpgameserver.EllipticCurvePrivateKey.new().getPublicKey()
    client = open_client(address, stranger, handshake_timeout=1.0)
    client.until(lambda: client.ends)
    assert client.ends == [_codes.GK_DISCONNECT_KEY]
    assert not client.connected and not handler.clients
