"""A client's end of a connection, which the blocking and the asynchronous form of a client share."""

import ctypes
import itertools
import math
from typing import Any, Iterator, Optional, Tuple, Union

from . import _codes, _ffi, _fork
from ._files import Files, quota
from ._log import LEVELS, logger
from .client import WIRES, ConnectionStats
from .conditions import Conditions, native
from .enums import ConnectionStatus, Direction
from .keys import EllipticCurvePublicKey
from .stream_client import Stream, use

Address = Tuple[str, int]
NativeKey = Union[bytes, str]

#: Events taken from the library at once.
_BATCH = 64
#: Events that the library keeps while the game is busy. Above it messages are refused without being acknowledged, so
#: that a server which wants them delivered sends them again.
MAX_QUEUED_EVENTS = 20_000

_Events = _ffi.gk_event * _BATCH


def native_key(key: NativeKey) -> bytes:
    """A native key as 32 bytes. Raises ValueError for what is none."""
    if isinstance(key, str):
        try:
            key = bytes.fromhex(key.strip())
        except ValueError:
            raise ValueError("a native key is written in hexadecimal digits alone") from None
    if not isinstance(key, (bytes, bytearray)):
        raise TypeError("the native key is {}, not bytes or text".format(type(key).__name__))
    if len(key) != 32:
        raise ValueError("a native key has 32 bytes, or 64 hexadecimal digits, not {} bytes".format(len(key)))
    return bytes(key)


def root_key_der(key: Any) -> bytes:
    """The DER of a root key: of this package's class, or another with ``getBytes`` or a PEM, such as mpgameserver's."""
    if isinstance(key, EllipticCurvePublicKey):
        return key.getBytes()
    if isinstance(key, (bytes, bytearray)):
        return bytes(key)
    pem = getattr(key, "getPublicKeyPEM", None)
    if pem is None:
        raise TypeError("the server's public key is {}, not an EllipticCurvePublicKey".format(type(key).__name__))
    return EllipticCurvePublicKey.fromPEM(pem()).getBytes()


class Config:
    """What a client needs to know before it connects."""

    def __init__(
        self,
        wire: str,
        server_public_key: Any = None,
        server_native_key: Optional[NativeKey] = None,
        trust_any: bool = False,
        join_data: Optional[bytes] = None,
        password: Optional[bytes] = None,
        stream: Optional[Stream] = None,
        files: bool = False,
    ) -> None:
        if stream is not None:
            if wire != "native":
                raise ValueError("a stream takes the place of a wire: no wire {!r} beside it".format(wire))
            self._open_stream(stream, server_public_key, server_native_key, trust_any, join_data, password, files)
            return
        if wire not in WIRES:
            raise ValueError("the wire is {!r}, there are 'native' and 'mpgameserver'".format(wire))
        native = wire == "native"
        if (server_public_key if native else server_native_key) is not None:
            other = "server_native_key" if native else "server_public_key"
            raise ValueError("the wire {!r} knows a server by its {}".format(wire, other))
        pinned = server_public_key is not None or server_native_key is not None
        if pinned == trust_any:
            raise ValueError("give the server's key or trust_any=True, one of the two")
        if password is not None and not (native and server_native_key is not None):
            raise ValueError("a password is given to none but a server whose server_native_key is known")
        if join_data and not native:
            raise ValueError("the wire 'mpgameserver' carries no join_data")
        self._free = _ffi.lib.gk_context_free
        self._pointer = ctypes.c_void_p()
        _ffi.check(_ffi.lib.gk_context_new(ctypes.byref(self._pointer)))
        self._set("gk_context_set_wire", WIRES[wire])
        self._set("gk_context_set_max_queued_events", MAX_QUEUED_EVENTS)
        if trust_any:
            self._set("gk_context_trust_any_server")
        if server_native_key is not None:
            self._set_bytes("gk_context_pin_native_key", native_key(server_native_key))
        if server_public_key is not None:
            self._set_bytes("gk_context_pin_root_key", root_key_der(server_public_key))
        if join_data is not None:
            self._set_bytes("gk_context_set_join_data", join_data)
        if password is not None:
            self._set_bytes("gk_context_set_password", password)
        if files:
            self.allow_files()

    def _open_stream(
        self,
        stream: Stream,
        server_public_key: Any,
        server_native_key: Optional[NativeKey],
        trust_any: bool,
        join_data: Optional[bytes],
        password: Optional[bytes],
        files: bool,
    ) -> None:
        if server_public_key is not None or server_native_key is not None:
            raise ValueError("in a stream no key proves a server: the stream's tls_ca or tls_certificate does")
        if stream.tls == trust_any:
            raise ValueError("a stream without TLS needs trust_any=True, and one with TLS says itself whom to believe")
        if join_data:
            raise ValueError("a stream carries no join_data")
        self._free = _ffi.lib.gk_context_free
        self._pointer = ctypes.c_void_p()
        _ffi.check(_ffi.lib.gk_context_new(ctypes.byref(self._pointer)))
        self._set("gk_context_set_max_queued_events", MAX_QUEUED_EVENTS)
        if trust_any:
            self._set("gk_context_trust_any_server")
        if files:
            self.allow_files()
        use(self._pointer, stream, files)
        if password is not None:
            self._set_bytes("gk_context_set_password", password)

    def __del__(self) -> None:
        # Where the constructor has failed early there is nothing to free.
        pointer = getattr(self, "_pointer", None)
        if pointer:
            self._free(pointer)

    def set_seconds(self, name: str, seconds: float) -> None:
        """Sets a time of the library's by its name there, without the unit."""
        if not (math.isfinite(seconds) and 0 <= seconds <= 1e6):
            raise ValueError("{!r} is not a number of seconds from 0 to 1000000".format(seconds))
        self._set("gk_context_set_{}_us".format(name), round(seconds * 1e6))

    def set_send_rate(self, bytes_per_second: int) -> None:
        """Sets how many bytes per second the server is sent; 0: no limit."""
        self._set("gk_context_set_peer_send_rate", bytes_per_second)

    def allow_files(self) -> None:
        """Lets files be sent and received."""
        self._set("gk_context_set_files", ctypes.byref(quota(0, 4, 0, 64, 0)))

    def open(self, addr: Address) -> "Session":
        """Begins to connect."""
        pointer = ctypes.c_void_p()
        text = _ffi.c_text(format_address(addr))
        _ffi.check(_ffi.lib.gk_client_open(self._pointer, text, ctypes.byref(pointer)))
        return Session(pointer)

    def _set(self, function: str, *values: Any) -> None:
        _ffi.check(getattr(_ffi.lib, function)(self._pointer, *values))

    def _set_bytes(self, function: str, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("{} is not bytes".format(type(data).__name__))
        self._set(function, data, len(data))


class Session:
    """A client of the library's that is polled. It is freed, and says goodbye, with the last reference to it."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self.pointer = pointer
        self._free = _ffi.lib.gk_client_free
        _fork.watch(pointer)
        self._events = _Events()
        self.tags: Iterator[int] = itertools.count(1)
        self.files = Files("client", pointer)

    def __del__(self) -> None:
        self._free(self.pointer)

    def poll(self) -> None:
        """Does what is due, without waiting."""
        _ffi.check(_ffi.lib.gk_client_poll(self.pointer, 0))

    def take(self) -> Iterator[Any]:
        """Up to one batch of events. Each is good until the next batch is taken. Log lines are logged here."""
        count = ctypes.c_size_t()
        size = ctypes.sizeof(_ffi.gk_event)
        _ffi.check(
            _ffi.lib.gk_client_next_events(self.pointer, self._events, size, _BATCH, ctypes.byref(count))
        )
        for index in range(count.value):
            event = self._events[index]
            if event.type == _codes.GK_EVENT_LOG:
                logger.log(LEVELS.get(event.code, 20), "%s", text_of(event))
            yield event

    def send(self, payload: bytes, options: _ffi.gk_send_options) -> bool:
        """Queues a message; False where there is no session."""
        if not isinstance(payload, bytes):
            raise TypeError("the payload is {}, not bytes".format(type(payload).__name__))
        result = _ffi.lib.gk_client_send(self.pointer, payload, len(payload), ctypes.byref(options))
        if result in (_codes.GK_OK, _codes.GK_ERR_STATE):
            return bool(result == _codes.GK_OK)
        raise _ffi.error(result)

    def disconnect(self) -> None:
        """Ends the session at once."""
        result = _ffi.lib.gk_client_disconnect(self.pointer)
        if result not in (_codes.GK_OK, _codes.GK_ERR_STATE):
            raise _ffi.error(result)

    def disconnect_wait(self, seconds: float) -> bool:
        """Ends the session when all is delivered, and waits for that; False: it took longer."""
        result = _ffi.lib.gk_client_disconnect_wait(self.pointer, round(seconds * 1e6))
        if result not in (_codes.GK_OK, _codes.GK_ERR_STATE, _codes.GK_ERR_TIMEOUT):
            raise _ffi.error(result)
        return bool(result == _codes.GK_OK)

    def stop(self) -> None:
        """Ends the client: nothing is sent any more."""
        _ffi.check(_ffi.lib.gk_client_stop(self.pointer))

    @property
    def status(self) -> ConnectionStatus:
        return ConnectionStatus(self._number("gk_client_status", ctypes.c_int32()))

    @property
    def token(self) -> int:
        return self._number("gk_client_token", ctypes.c_uint32())

    @property
    def latency(self) -> float:
        return self._number("gk_client_latency_us", ctypes.c_uint64()) / 1e6

    @property
    def has_queued(self) -> bool:
        """Whether messages wait to be acknowledged. Empty ones count too, which have no bytes."""
        return bool(self._stats().queued_messages)

    @property
    def stats(self) -> ConnectionStats:
        stats = ConnectionStats()
        stats._fill(self._stats())
        stats._read_series(_ffi.lib.gk_client_series, self.pointer)
        return stats

    def _stats(self) -> _ffi.gk_peer_stats_t:
        raw = _ffi.gk_peer_stats_t(struct_size=ctypes.sizeof(_ffi.gk_peer_stats_t))
        _ffi.check(_ffi.lib.gk_client_stats(self.pointer, ctypes.byref(raw)))
        return raw

    @property
    def server_clock(self) -> Optional[float]:
        clock = self._told("gk_client_server_clock_us", ctypes.c_uint64())
        return None if clock is None else clock / 1e6

    @property
    def server_tick(self) -> Optional[float]:
        return self._told("gk_client_server_tick", ctypes.c_double())

    def simulate(self, direction: Union[Direction, int], conditions: Optional[Conditions]) -> None:
        _ffi.check(_ffi.lib.gk_client_simulate(self.pointer, Direction(direction).value, native(conditions)))

    @property
    def native_key(self) -> bytes:
        return _ffi.read_bytes(_ffi.lib.gk_client_server_native_key, self.pointer)

    def _told(self, function: str, out: Any) -> Optional[float]:
        """What the server tells; None while it has not."""
        result = getattr(_ffi.lib, function)(self.pointer, ctypes.byref(out))
        if result == _codes.GK_ERR_STATE:
            return None
        _ffi.check(result)
        return float(out.value)

    def _number(self, function: str, out: Any) -> int:
        _ffi.check(getattr(_ffi.lib, function)(self.pointer, ctypes.byref(out)))
        return int(out.value)


def text_of(event: Any) -> str:
    """An event's text."""
    return (event.text or b"").decode("utf-8", "replace")


def data_of(event: Any) -> bytes:
    """A copy of an event's bytes."""
    return ctypes.string_at(event.data, event.len) if event.len else b""


def format_address(addr: Address) -> str:
    """(host, port) as a client of the library reads it. It looks names up itself."""
    host, port = addr
    if not 0 < port <= 0xFFFF:
        raise ValueError("the port is {}, allowed is 1 to 65535".format(port))
    return "[{}]:{}".format(host, port) if ":" in host else "{}:{}".format(host, port)
