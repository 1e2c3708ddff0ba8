"""A server's configuration."""

import ctypes
import logging
import math
import os
import threading
from typing import TYPE_CHECKING, Any, Dict, Iterable, Optional, Set, Tuple, Union

from . import _codes, _ffi, _fork
from ._files import quota
from ._link import Link
from ._log import logger
from .client import Client
from .enums import Framing
from .handler import EventHandler
from .keys import EllipticCurvePrivateKey

if TYPE_CHECKING:
    from .server import TwistedServer

#: Events that the library keeps while the game is busy. Above it messages are refused without being
#: acknowledged, so that a client which wants them delivered sends them again.
_MAX_QUEUED_EVENTS = 100_000


class ServerContext:
    """What a server needs to know before it runs.

    A server takes its configuration when it starts: what is set later counts for the servers started
    after that. Only the block list counts at once, for running servers too. One context may serve
    several servers. Times are in seconds. A value out of its range raises ValueError.
    """

    def __init__(self, handler: EventHandler, root_key: Optional[EllipticCurvePrivateKey] = None) -> None:
        """
        :param handler: the game
        :param root_key: the key that proves the server's identity to clients which know its public part.
            None: a new one, which no client can know beforehand.
        """
        self.handler = handler
        if root_key is None:
            logger.info("no root key given: made a new one, which clients cannot know beforehand")
            root_key = EllipticCurvePrivateKey.new()
        #: The key pair; its public part is ``server_root_key.getPublicKey()``.
        self.server_root_key = root_key
        self.log: logging.Logger = logger

        self.interval = 1 / 60
        self.keep_alive_interval = 0.1
        self.connection_timeout = 5.0
        self.temp_connection_timeout = 2.0
        self.outgoing_timeout = 1.0
        self.blocklist: Set[str] = set()

        # Guards the library's context, which is not to be changed while a server starts from it, and the set.
        # One thread may take it twice: a signal's handler may call shutdown() wherever the thread is.
        self._lock = threading.RLock()
        _fork.renew(self)
        self._servers: "Set[TwistedServer]" = set()
        #: How many doors for streams there are.
        self._stream_doors = 0
        self._active = True
        self._free = _ffi.lib.gk_context_free
        self._pointer = ctypes.c_void_p()
        _ffi.check(_ffi.lib.gk_context_new(ctypes.byref(self._pointer)))
        self._set("gk_context_set_root_key", root_key._key.pointer)
        self._set("gk_context_set_max_queued_events", _MAX_QUEUED_EVENTS)

    def _forked(self) -> None:
        """In a process that was forked: the servers run in the other one."""
        self._lock = threading.RLock()
        self._servers = set()

    def __del__(self) -> None:
        # Where the constructor has failed early there is nothing to free.
        pointer = getattr(self, "_pointer", None)
        if pointer:
            self._free(pointer)

    @property
    def connections(self) -> Dict[Tuple[str, int], Client]:
        """The connected clients by address, of all running servers of this context: a copy."""
        with self._lock:
            servers = list(self._servers)
        return {client.addr: client for server in servers for client in server.clients()}

    def setInterval(self, interval: float) -> None:
        """Seconds between two ticks. Default 1/60, range 0.0001 to 1."""
        if not (math.isfinite(interval) and interval > 0):
            raise ValueError("the interval is {!r}, not a positive number of seconds".format(interval))
        self._set("gk_context_set_tick_rate_hz", 1.0 / interval)
        self.interval = interval

    def setKeepAliveInterval(self, interval: float) -> None:
        """Seconds without any datagram to a client after which it gets an empty one. Default 0.1,
        range 0.01 to 60."""
        self._set_seconds("gk_context_set_keep_alive_interval_us", interval)
        self.keep_alive_interval = interval

    def setConnectionTimeout(self, timeout: float) -> None:
        """Seconds without a valid datagram from a client after which it is dropped. Default 5, range 0.1
        to 3600."""
        self._set_seconds("gk_context_set_connection_timeout_us", timeout)
        self.connection_timeout = timeout

    def setTempConnectionTimeout(self, timeout: float) -> None:
        """Seconds in which a handshake must be completed. Default 2, range 0.1 to 60."""
        self._set_seconds("gk_context_set_handshake_timeout_us", timeout)
        self.temp_connection_timeout = timeout

    def setMessageTimeout(self, timeout: float) -> None:
        """Seconds without acknowledgement after which a message that is not guaranteed counts as lost.
        Default 1, range 0.05 to 60."""
        self._set_seconds("gk_context_set_message_timeout_us", timeout)
        self.outgoing_timeout = timeout

    def setAuthorise(self, enabled: bool, timeout: float = 10.0) -> None:
        """Sets whether ``EventHandler.authorise`` decides about every client; off until it is set.

        :param timeout: seconds after which a client about which nothing was decided is refused; 0.1 to 3600
        """
        self._set_seconds("gk_context_set_authorise_timeout_us", timeout)
        self._set("gk_context_set_authorise", 1 if enabled else 0)

    def listenStream(
        self,
        address: str,
        framing: Union[Framing, int] = Framing.RAW,
        read_bytes: int = 4096,
        max_connections: int = 0,
        stall_timeout: float = 30.0,
        password_in_clear: bool = False,
        certificate: Optional[str] = None,
        private_key: Optional[str] = None,
        files: bool = False,
        max_connections_per_source: int = 0,
    ) -> None:
        """Adds a door for streams (TCP), beside the one for datagrams. Whoever comes in by it is a client like any
        other, whose ``door`` is "stream". With a password set, the first message of each must be it.

        :param address: "127.0.0.1:9000", ":9000" for all interfaces; port 0: a free one, see ``addresses``
        :param read_bytes: bytes that one read takes at most, 1 to 1,048,576: the longest message of a raw stream
        :param max_connections: at once; 0: as many as the server takes clients
        :param max_connections_per_source: of those from one address at most (an IPv6 /64); 0: a quarter, at least 16
        :param stall_timeout: seconds for which a message that has begun may stand still, 0.1 to 3600
        :param certificate: the file, PEM, with the certificate by which the door speaks TLS; ``private_key``: its key
        :param password_in_clear: takes the password also where others can read it on the way
        :param files: files come in, too (``setFiles`` first): with ``Framing.LENGTH`` from clients that ask for it, with
            ``Framing.RAW`` each connection is one plain file, its name, a space and its bytes
        """
        options = _ffi.gk_stream_options(
            struct_size=ctypes.sizeof(_ffi.gk_stream_options),
            read_bytes=read_bytes,
            max_connections=max_connections,
            password_in_clear=1 if password_in_clear else 0,
            stall_timeout_us=_microseconds(stall_timeout),
            certificate=None if certificate is None else _ffi.c_text(certificate),
            private_key=None if private_key is None else _ffi.c_text(private_key),
            max_connections_per_source=max_connections_per_source,
        )
        with self._lock:
            _ffi.check(
                (_ffi.lib.gk_context_listen_stream_files if files else _ffi.lib.gk_context_listen_stream_with)(
                    self._pointer, _ffi.c_text(address), Framing(framing).value, ctypes.byref(options)
                )
            )
            self._stream_doors += 1

    def setPassword(self, password: Optional[bytes]) -> None:
        """Sets what a client must know to come in, 1 to 256 bytes; None: nothing. mpgameserver's clients have no
        way to give one: they are refused, unless ``setAuthorise`` lets the game decide."""
        length = 0 if password is None else len(password)
        with self._lock:
            _ffi.check(_ffi.lib.gk_context_set_password(self._pointer, password, length))

    def setSendRates(self, client: int = 0, server: int = 0) -> None:
        """Sets how many bytes per second a client, and all together, are sent at most; 0: no limit, else 1000 to
        1,000,000,000. What is above it waits in the queues."""
        self._set("gk_context_set_peer_send_rate", client)
        self._set("gk_context_set_server_send_rate", server)

    def setIo(self, batched: bool) -> None:
        """Sets whether datagrams pass between the server and the system many per system call (on Linux, where it is
        the default) or one. What is delivered is the same."""
        self._set("gk_context_set_io", _codes.GK_IO_BATCHED if batched else _codes.GK_IO_PORTABLE)

    def setBusyPoll(self, time: float) -> None:
        """Seconds after the last datagram in which the server does not sleep, so that it answers sooner. It costs a
        whole core while it lasts. Default 0, range 0 to 1."""
        self._set_seconds("gk_context_set_busy_poll_us", time)

    def setDiscoveryInfo(self, info: Optional[bytes]) -> None:
        """Sets what those who look for servers are told, at most 1187 bytes; None: no answer."""
        length = 0 if info is None else len(info)
        with self._lock:
            _ffi.check(_ffi.lib.gk_context_set_discovery_info(self._pointer, info, length))

    def setFiles(
        self,
        max_file_bytes: int = 0,
        files_per_peer: int = 4,
        bytes_per_peer: int = 0,
        files_total: int = 64,
        bytes_total: int = 0,
        count_per_peer: int = 65536,
        count_total: int = 0,
    ) -> None:
        """Lets files be sent to clients that allow it too, on the native wire and at doors of ``listenStream(files=True)``,
        and received from them as ``EventHandler.file_offered`` decides. Of bytes and counts 0 is no bound.

        :param max_file_bytes: the longest file
        :param files_per_peer: files of one client at once, those included that wait for a decision
        :param bytes_per_peer: bytes of one client while it is connected
        :param files_total: files of all clients at once
        :param bytes_total: bytes of all clients since the start
        :param count_per_peer: files taken of one client while it is connected, however short
        :param count_total: files taken of all clients since the start
        """
        given = quota(
            max_file_bytes, files_per_peer, bytes_per_peer, files_total, bytes_total, count_per_peer, count_total
        )
        self._set("gk_context_set_files", ctypes.byref(given))

    def setDashboard(self, addr: Optional[Tuple[str, int]], token: Optional[str] = None) -> None:
        """Sets where a server shows what it does, in any browser and for Prometheus; None: nowhere. Where it is in
        fact tells ``dashboard_address()`` of the server.

        :param addr: (host, port). Port 0: a free one
        :param token: what who looks must know, 16 to 256 printable ASCII characters. An address that is not of the
            loopback needs one: without it the server does not start.
        """
        from .server import _format_address  # That module needs this one.

        address = None if addr is None else _ffi.c_text(_format_address(addr))
        self._set("gk_context_set_dashboard_token", None if token is None else _ffi.c_text(token))
        self._set("gk_context_set_dashboard", address)

    def setBlockList(self, blocklist: Iterable[str]) -> None:
        """Replaces the addresses whose datagrams are dropped unread; takes effect at once, and sends
        away connected clients that are on it. On any thread.

        :param blocklist: addresses ("192.0.2.1") and ranges ("198.51.100.0/24", "2001:db8::/32"). They are
            copied: to change the list, call this again.
        """
        if isinstance(blocklist, (str, bytes)):
            raise TypeError("the block list is one text, not a set of texts")
        entries = set(blocklist)
        array, count = _ffi.c_texts(sorted(entries))
        with self._lock:
            _ffi.check(_ffi.lib.gk_context_set_block_list(self._pointer, array, count))
            self.blocklist = entries
            for server in self._servers:
                server._set_block_list(array, count)

    def enableAccessLogs(self, path: "Union[str, os.PathLike[str], None]") -> None:
        """Names a file that gets one line for each connect, refusal and disconnect; None: no such log.
        The folder is made when it does not exist; the file is written to from its end and never rotated."""
        encoded = None
        if path:
            folder = os.path.dirname(os.fspath(path))
            if folder:
                os.makedirs(folder, exist_ok=True)
            encoded = _ffi.c_path(path)
        self._set("gk_context_set_access_log", encoded)

    def shutdown(self) -> None:
        """Asks the context's servers to stop, on any thread, and does not wait. A server that is run with
        this context afterwards stops at once."""
        self._active = False
        with self._lock:
            servers = list(self._servers)
        for server in servers:
            server._request_stop()

    def _set(self, function: str, value: Any) -> None:
        with self._lock:
            _ffi.check(getattr(_ffi.lib, function)(self._pointer, value))

    def _set_seconds(self, function: str, seconds: float) -> None:
        self._set(function, _microseconds(seconds))

    def _open(self, server: "TwistedServer", address: str) -> Link:
        """Binds a server of this configuration, which from now on hears of the block list and of shutdown."""
        pointer = ctypes.c_void_p()
        with self._lock:
            # The doors are the server's own, what else stands in the context is everybody's.
            server._http.configure(self._pointer)
            _ffi.check(_ffi.lib.gk_server_open(self._pointer, _ffi.c_text(address), ctypes.byref(pointer)))
            link = Link(pointer)
            server._http.opened()
            self._servers.add(server)
        return link

    def _closed(self, server: "TwistedServer") -> None:
        with self._lock:
            self._servers.discard(server)
            server._http.closed()


def _microseconds(seconds: float) -> int:
    if not (math.isfinite(seconds) and 0 <= seconds <= 1e6):
        raise ValueError("{!r} is not a number of seconds from 0 to 1000000".format(seconds))
    return round(seconds * 1e6)
