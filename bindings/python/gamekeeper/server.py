"""The servers: one that runs on the calling thread, one with a thread of its own."""

import atexit
import contextlib
import ctypes
import ipaddress
import signal
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union

from . import _batch, _codes, _ffi, _fork
from ._files import FileOffer
from ._link import Link
from ._log import LEVELS, logger
from .client import Client
from .conditions import Conditions, native
from .context import ServerContext
from .enums import Direction, RetryMode, SeqNum
from .errors import AddressError, GamekeeperError, StateError, from_code
from .handler import EventHandler, Messages
from .http import Doors, Router
from .stream_client import content_of

Address = Tuple[str, int]

#: Events taken from the library at once.
_BATCH = 1024
#: Longest wait inside the library, in µs: how late a signal, or a Ctrl-C, may be noticed.
_LONGEST_POLL_US = 50_000
#: Seconds that the end of the process waits for servers in background threads to say goodbye.
_EXIT_GRACE_S = 2.0

_Events = _ffi.gk_event * _BATCH

#: The kind of an event that is a message of a WebSocket; no number of the library's, which are far smaller.
_WEBSOCKET_MESSAGE = 255

#: Of many messages: those that were queued, or whose client is gone or has no room, which is no reason to raise.
_SKIPPED = frozenset((_codes.GK_OK, _codes.GK_ERR_STALE, _codes.GK_ERR_STATE, _codes.GK_ERR_WOULD_BLOCK))


class TwistedServer:
    """A server on the thread that calls :meth:`run`.

    The name is mpgameserver's; there is no Twisted in it.
    """

    #: Where it listens: (host, port); once it has started with the port that it was given for port 0.
    addr: Address

    def __init__(self, ctxt: ServerContext, addr: Address, install_signals: bool = True) -> None:
        """
        :param ctxt: the configuration
        :param addr: (host, port). Host "0.0.0.0" is every IPv4 interface, "::" and "" every interface, IPv4 and
            IPv6. Port 0: a free one.
        :param install_signals: whether SIGINT and SIGTERM stop the server. It needs the main thread; elsewhere,
            and on Windows, it has no effect.
        """
        host, port = addr
        self.ctxt = ctxt
        self.addr = (host, port)
        self.install_signals = install_signals
        self._lock = threading.Lock()
        self._link: Optional[Link] = None
        self._clients: Dict[int, Client] = {}
        self._started = False
        self._stopping = False
        self._thread: Optional[int] = None
        self._done = threading.Event()
        self._shutdown_told = False
        # The batch of events in hand. An exception may leave it half told: the rest is told later.
        self._events = _Events()
        self._columns = _batch.Columns(self._events) if _batch.WIDE else None
        self._count = 0
        self._next = 0
        self._http = Doors()
        _fork.renew(self)

    def _forked(self) -> None:
        """In a process that was forked: nobody is there who would let go of the lock, or end."""
        self._lock = threading.Lock()
        self._done = threading.Event()
        if self._started:
            self._done.set()

    # What its owner calls.

    def run(self) -> None:
        """Runs the server until it is stopped. All methods of the handler are called on this thread.

        :raises AddressError: the address cannot be listened on
        :raises StateError: it has run before
        """
        with self._lock:
            if self._started:
                raise StateError(_codes.GK_ERR_STATE, "a server runs once: make another one to run again")
            # First, for a signal's handler that calls stop() right here.
            self._thread = threading.get_ident()
            self._started = True
        _remember(self)
        try:
            with self._signals():
                link = self._open()
                raised: List[BaseException] = []
                try:
                    self._loop(link)
                except BaseException as error:
                    raised.append(error)
                finally:
                    self._close(link, raised)
                if raised:
                    raise raised[0]
        finally:
            _forget(self)
            self._done.set()

    def stop(self) -> None:
        """Stops the server and waits for its end, on any thread. Inside a method of the handler it does not
        wait: the server ends when that method returns. A second stop is harmless, and so is one in a process that was
        forked from the server's."""
        if _fork.is_inherited(self._link):
            return
        self._request_stop()
        if self._started and self._thread != threading.get_ident():
            self._done.wait()

    def listenTCP(
        self,
        router: Router,
        addr: Address,
        privkey: Optional[str] = None,
        cert: Optional[str] = None,
        *,
        password_in_clear: bool = False,
    ) -> None:
        """Answers HTTP requests and opens WebSockets beside the game; to be called before the start.

        :param router: the routes
        :param addr: (host, port); port 0 is a free one, see :meth:`http_addresses`
        :param privkey: file with the private key, PEM
        :param cert: file with the certificate and those that it is signed with, PEM; with it: HTTPS
        :param password_in_clear: WebSockets may bring the server's password also where others can read it on the way. A
            server with a password, and a router with WebSockets at such a door, does not start without it.
        """
        if self._link is not None:
            raise StateError(_codes.GK_ERR_STATE, "listenTCP is to be called before the start")
        self._http.listen(router, _format_address(addr), privkey, cert, password_in_clear)

    def http_addresses(self) -> List[Address]:
        """(host, port) of each :meth:`listenTCP`, with the real ports; empty before the start."""
        link = self._link
        return [] if link is None else [_parse_address(text) for text in self._http.addresses(link)]

    def bound_address(self) -> Address:
        """(host, port) of the socket, with the real port. Raises StateError before the start."""
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        return _parse_address(_ffi.read_text(_ffi.lib.gk_server_address, link.pointer))

    def dashboard_address(self) -> Address:
        """(host, port) of the dashboard, with the real port. Raises StateError before the start, and where the context
        has none."""
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        return _parse_address(_ffi.read_text(_ffi.lib.gk_server_dashboard_address, link.pointer))

    def addresses(self) -> List[Tuple[str, Address]]:
        """Where others can reach the server, at all of its doors: ("udp", "tcp", "http" or "https", (host, port)).
        Raises StateError before the start."""
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        return _addresses(link)

    def clients(self) -> List[Client]:
        """The connected clients: a copy."""
        return list(self._clients.values())

    def simulate(self, direction: Union[Direction, int], conditions: Optional[Conditions]) -> None:
        """Lets the datagrams of one direction pass a bad network from now on, to see how the game plays on one;
        None ends it. All clients without conditions of their own (``Client.simulate``) share it. On any thread.

        :raises ValueError: a value of the conditions is out of its range
        :raises StateError: the server has not started, or has stopped
        """
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        _ffi.check(_ffi.lib.gk_server_simulate(link.pointer, Direction(direction).value, native(conditions)))

    def send_group(
        self,
        group: str,
        payload: bytes,
        retry: Union[RetryMode, int] = RetryMode.NONE,
        without: Optional[Client] = None,
    ) -> Tuple[int, int]:
        """Queues a message for all clients in a group, held once; on any thread.

        :param group: what ``Client.join_group`` was given; one without members reaches nobody
        :param without: who does not get it
        :returns: for how many it was queued, and how many have a full queue and did not get it
        :raises ValueError: the name is empty or too long, or has a NUL
        """
        if not isinstance(payload, bytes):
            raise TypeError("the payload is {}, not bytes".format(type(payload).__name__))
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        sent, refused = ctypes.c_size_t(), ctypes.c_size_t()
        _ffi.check(
            _ffi.lib.gk_server_group_send(
                link.pointer,
                _ffi.c_text(group),
                _codes.GK_PEER_NONE if without is None else without._peer,
                payload,
                len(payload),
                _ffi.send_options(RetryMode(retry).value),
                ctypes.byref(sent),
                ctypes.byref(refused),
            )
        )
        return sent.value, refused.value

    def send_many(
        self,
        messages: Iterable[Tuple[Client, bytes]],
        retry: Union[RetryMode, int] = RetryMode.NONE,
        *,
        channel: int = 0,
        priority: int = _codes.GK_PRIORITY_NORMAL,
        redundancy: int = 0,
    ) -> List[int]:
        """Queues many messages, for one client or for many, in one call of the library: for each what ``Client.send``
        does, for a fraction of its cost. On any thread.

        :param messages: pairs of a client of this server and the bytes for it. To clients that have left nothing is sent.
        :param retry: how they are delivered; ``channel``, ``priority`` and ``redundancy`` as in ``Client.send``
        :returns: the places, in ``messages``, of those that were not queued because their client's queue is full
        :raises TypeError: a payload is not bytes; nothing was queued
        :raises ValueError: no such retry mode, or a client of another server: nothing was queued. A mode that is not on a
            client's wire, or, as MessageTooLarge, too long a message: the others were queued, but for those whose client's
            queue is full. The exception's ``failed`` has the places of the former, ``refused`` those of the latter.
        :raises StateError: the server has not started, or has stopped
        """
        batch = list(messages)
        mode = RetryMode(retry).value
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        for client, payload in batch:
            if not isinstance(payload, bytes):
                raise TypeError("a payload is {}, not bytes".format(type(payload).__name__))
            if client._link is not link:
                raise ValueError("{!r} is no client of this server".format(client))
        if not batch:
            return []
        peers, payloads = [client._peer for client, _ in batch], [payload for _, payload in batch]
        options = (mode, channel, priority, redundancy)
        if _batch.WIDE:
            results = _batch.send_many(link.pointer, peers, payloads, options)
        else:
            results = link.send_each(peers, payloads, options)
        refused = [at for at, result in enumerate(results) if result == _codes.GK_ERR_WOULD_BLOCK]
        failed = [at for at, result in enumerate(results) if result not in _SKIPPED]
        if failed:
            at = failed[0]
            error = from_code(results[at], "message {}: {}".format(at, _ffi.result_text(results[at])))
            error.refused, error.failed = refused, failed
            raise error
        return refused

    def broadcast(
        self,
        payload: bytes,
        retry: Union[RetryMode, int] = RetryMode.NONE,
        without: Optional[Client] = None,
    ) -> int:
        """Queues a message for all clients, held once; on any thread. Clients with a full queue are left out.

        :param without: who does not get it
        :returns: for how many it was queued
        """
        if not isinstance(payload, bytes):
            raise TypeError("the payload is {}, not bytes".format(type(payload).__name__))
        link = self._link
        if link is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        sent = ctypes.c_size_t()
        left_out = _codes.GK_PEER_NONE if without is None else without._peer
        options = _ffi.send_options(RetryMode(retry).value)
        _ffi.check(
            _ffi.lib.gk_server_broadcast(
                link.pointer, left_out, payload, len(payload), options, ctypes.byref(sent)
            )
        )
        return sent.value

    # The life of a server.

    def _open(self) -> Link:
        """Binds the socket, unless that is done."""
        with self._lock:
            if self._link is None:
                self._link = self.ctxt._open(self, _format_address(self.addr))
                self.addr = _parse_address(_ffi.read_text(_ffi.lib.gk_server_address, self._link.pointer))
            return self._link

    def _loop(self, link: Link) -> None:
        # In a process that a method of the handler has forked, the pointer is gone, and the poll raises.
        poll, pointer = _ffi.lib.gk_server_poll, link.pointer
        while not self._stopping and self.ctxt._active:
            # A full batch: there may be more. Look after the network in between, but do not wait.
            wait = 0 if self._count == _BATCH else _LONGEST_POLL_US
            _ffi.check(poll(pointer, wait))
            self._take(link)
            self._dispatch()
            if link.has_refused:
                link.tell_refused()

    def _take(self, link: Link) -> int:
        """Takes a batch of events."""
        self._next = self._count = 0
        count = ctypes.c_size_t()
        _ffi.check(
            _ffi.lib.gk_server_next_events(
                link.pointer, self._events, ctypes.sizeof(_ffi.gk_event), _BATCH, ctypes.byref(count)
            )
        )
        self._count = count.value
        return self._count

    def _dispatch(self) -> None:
        """Tells the handler what is left of the batch."""
        if self._columns is None:
            while self._next < self._count:
                event = self._events[self._next]
                self._next += 1
                self._tell_one(event.type, event)
            return
        types = self._columns.types(self._count)
        message = _codes.GK_EVENT_MESSAGE
        doors = self._columns.doors(self._count)
        if _codes.GK_DOOR_WEBSOCKET in doors:
            # A router may want these: one by one.
            for at, door in enumerate(doors):
                if door == _codes.GK_DOOR_WEBSOCKET and types[at] == message:
                    types[at] = _WEBSOCKET_MESSAGE
        if _codes.GK_DOOR_STREAM in doors:
            # What these are is told with them: one by one.
            for at, content in enumerate(self._columns.contents(self._count)):
                if content and types[at] == message:
                    types[at] = _WEBSOCKET_MESSAGE
        while self._next < self._count:
            start = self._next
            if types[start] == message:
                self._tell_messages(self._columns, start, _batch.run_of(types, message, start))
            else:
                self._next += 1
                self._tell_one(types[start], self._events[start])

    def _tell_one(self, kind: int, event: Any) -> None:
        told = _TOLD.get(kind)
        if told is not None:
            told(self, event)

    def _tell_messages(self, columns: _batch.Columns, start: int, end: int) -> None:
        """Tells the handler of the batch's messages from ``start`` to ``end``: one by one, or all at once where it
        takes them so."""
        peers, numbers, payloads = columns.messages(start, end)
        handler, client_of = self.ctxt.handler, self._clients.get
        at_once = _takes_many(handler)
        if at_once is not None:
            self._next = end
            messages: Messages = [
                (client, number, payload)
                for client, number, payload in zip(map(client_of, peers), numbers, payloads)
                if client is not None and not client._sent_away
            ]
            try:
                if messages:
                    at_once(messages)
            except Exception:
                logger.exception("error in handle_messages")
            return
        handle, told = handler.handle_message, start
        try:
            for client, number, payload in zip(map(client_of, peers), numbers, payloads):
                told += 1
                if client is None or client._sent_away:
                    continue
                try:
                    handle(client, number, payload)
                except Exception:
                    client.log.exception("error in handle_message")
        finally:
            # What ends the server leaves the rest to be told.
            self._next = told

    def _close(self, link: Link, raised: List[BaseException]) -> None:
        """Ends the server and tells all that is still to be told. What the handler raises beyond
        exceptions is added to a list."""
        self._stopping = True
        if _fork.is_inherited(link):
            # The clients are those of the process that was forked, which tells its own handler.
            return

        def guarded(step: Callable[[], Any]) -> Any:
            # KeyboardInterrupt and SystemExit may leave run() only when everybody has been told.
            try:
                return step()
            except GamekeeperError:
                logger.exception("error while the server stops")
            except BaseException as error:
                raised.append(error)
            return None

        def tell_all() -> None:
            # Each exception ends one dispatch, and each dispatch takes at least one event.
            while self._next < self._count:
                guarded(self._dispatch)

        tell_all()
        guarded(lambda: _ffi.check(_ffi.lib.gk_server_stop(link.pointer)))
        while guarded(lambda: self._take(link)):
            tell_all()
        # Usually there is nothing left to tell here; a server that broke has not told everything.
        for peer in list(self._clients):
            guarded(lambda: self._end_client(peer, _codes.GK_DISCONNECT_SHUTDOWN, "the server broke"))
        if not self._shutdown_told:
            guarded(self._on_shutdown)
        guarded(link.close)
        self.ctxt._closed(self)
        logger.info("server stopped")

    def _request_stop(self) -> None:
        self._stopping = True
        link = self._link
        if link is not None:
            link.wake()

    def _set_block_list(self, array: Any, count: int) -> None:
        link = self._link
        if link is None or _fork.is_inherited(link):
            return
        result = _ffi.lib.gk_server_set_block_list(link.pointer, array, count)
        # A server that has stopped in the meantime needs no list.
        if result not in (_codes.GK_OK, _codes.GK_ERR_STATE):
            raise _ffi.error(result)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the server inside the block; what they did before is put back."""
        previous: Dict[signal.Signals, Any] = {}
        if self.install_signals and sys.platform != "win32":
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    previous[number] = signal.signal(number, self._on_signal)
            else:
                logger.debug("signals are not handled: the server does not run on the main thread")
        try:
            yield
        finally:
            for number, handler in previous.items():
                # None: not installed by Python, and out of its reach.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._stopping and number == signal.SIGINT:
            # The second Ctrl-C: the handler seems to hang.
            raise KeyboardInterrupt
        self._request_stop()

    # What the library tells.

    def _on_starting(self, event: Any) -> None:
        try:
            self.ctxt.handler.starting()
        except Exception:
            logger.exception("error in starting")

    def _on_connect(self, event: Any) -> None:
        link = self._link
        assert link is not None  # events come only from an open server
        address = _parse_address(event.text.decode("utf-8"))
        client = link.accepted.pop(event.peer, None) or Client(link, event.peer, address, event.token)
        self._clients[event.peer] = client
        client.log.info("connected (%d)", len(self._clients))
        try:
            self.ctxt.handler.connect(client)
        except Exception:
            client.log.exception("error in connect")
        if event.door == _codes.GK_DOOR_WEBSOCKET:
            self._http.connected(link, client)

    def _on_request(self, event: Any) -> None:
        link = self._link
        assert link is not None  # events come only from an open server
        self._http.request(link, event.request, event.user_data)

    def _on_authorise(self, event: Any) -> None:
        link = self._link
        assert link is not None  # events come only from an open server
        client = Client(link, event.peer, _parse_address(event.text.decode("utf-8")), event.token)
        data = ctypes.string_at(event.data, event.len) if event.len else b""
        # A handler need not be an EventHandler, and mpgameserver's has no such method.
        authorise = getattr(self.ctxt.handler, "authorise", None)
        try:
            decision = True if authorise is None else authorise(client, data)
        except Exception:
            client.log.exception("error in authorise")
            decision = False
        if decision is not None:
            if decision:
                client.accept()
            else:
                client.refuse()

    def _on_disconnect(self, event: Any) -> None:
        self._end_client(event.peer, event.code, (event.text or b"").decode("utf-8", "replace"))

    def _end_client(self, peer: int, code: int, reason: str) -> None:
        client = self._clients.pop(peer, None)
        if client is None:
            return
        client._left(code)
        self._http.disconnected(peer)
        client.log.info("disconnected (%d): %s", len(self._clients), reason)
        try:
            self.ctxt.handler.disconnect(client)
        except Exception:
            client.log.exception("error in disconnect")

    def _on_message(self, event: Any) -> None:
        client = self._clients.get(event.peer)
        if client is None or client._sent_away:
            return
        message = ctypes.string_at(event.data, event.len) if event.len else b""
        if event.door == _codes.GK_DOOR_WEBSOCKET and self._http.message(event.peer, event.channel, message):
            return
        number, at_once = SeqNum((event.sequence - 1) % 0xFFFF + 1 if event.sequence else 0), _takes_many(self.ctxt.handler)
        client.content = content_of(event)
        try:
            if at_once is not None:
                at_once([(client, number, message)])
            else:
                self.ctxt.handler.handle_message(client, number, message)
        except Exception:
            client.log.exception("error in handle_message")
        finally:
            client.content = None

    def _on_update(self, event: Any) -> None:
        try:
            self.ctxt.handler.update(event.seconds)
        except Exception:
            logger.exception("error in update")

    def _on_writable(self, event: Any) -> None:
        client = self._clients.get(event.peer)
        # A handler need not be an EventHandler, and mpgameserver's has no such method.
        writable = getattr(self.ctxt.handler, "writable", None)
        if client is None or client._sent_away or writable is None:
            return
        try:
            writable(client)
        except Exception:
            client.log.exception("error in writable")

    def _on_file(self, event: Any) -> None:
        link = self._link
        assert link is not None  # events come only from an open server
        if event.type != _codes.GK_EVENT_FILE_OFFER:
            link.files.handle(event.peer, event)
            return
        offer, client = FileOffer(link.files, event.peer, event), self._clients.get(event.peer)
        # A handler need not be an EventHandler, and mpgameserver's has no such method.
        offered = getattr(self.ctxt.handler, "file_offered", None)
        if client is None or offered is None:
            offer.refuse()
            return
        try:
            offered(client, offer)
        except Exception:
            client.log.exception("error in file_offered")
            offer.refuse()

    def _on_sent(self, event: Any) -> None:
        link = self._link
        assert link is not None  # events come only from an open server
        link.sent(event.user_data, event.code == _codes.GK_SENT_DELIVERED)

    def _on_shutdown(self, event: Any = None) -> None:
        self._shutdown_told = True
        try:
            self.ctxt.handler.shutdown()
        except Exception:
            logger.exception("error in shutdown")

    def _on_log(self, event: Any) -> None:
        logger.log(LEVELS.get(event.code, 20), "%s", (event.text or b"").decode("utf-8", "replace"))


#: Who tells of which event. Not in the server: functions bound to it would keep it alive.
_TOLD: Dict[int, Callable[[TwistedServer, Any], None]] = {
    _codes.GK_EVENT_STARTING: TwistedServer._on_starting,
    _codes.GK_EVENT_CONNECT: TwistedServer._on_connect,
    _codes.GK_EVENT_DISCONNECT: TwistedServer._on_disconnect,
    _codes.GK_EVENT_MESSAGE: TwistedServer._on_message,
    _WEBSOCKET_MESSAGE: TwistedServer._on_message,
    _codes.GK_EVENT_UPDATE: TwistedServer._on_update,
    _codes.GK_EVENT_WRITABLE: TwistedServer._on_writable,
    _codes.GK_EVENT_SENT: TwistedServer._on_sent,
    _codes.GK_EVENT_SHUTDOWN: TwistedServer._on_shutdown,
    _codes.GK_EVENT_LOG: TwistedServer._on_log,
    _codes.GK_EVENT_AUTHORISE: TwistedServer._on_authorise,
    _codes.GK_EVENT_REQUEST: TwistedServer._on_request,
    _codes.GK_EVENT_FILE_OFFER: TwistedServer._on_file,
    _codes.GK_EVENT_FILE_PROGRESS: TwistedServer._on_file,
    _codes.GK_EVENT_FILE_END: TwistedServer._on_file,
}


class ThreadedServer(threading.Thread):
    """A server on a thread of its own, which does not keep the process alive."""

    def __init__(self, ctxt: ServerContext, addr: Address) -> None:
        """
        :param ctxt: the configuration
        :param addr: (host, port) as for :class:`TwistedServer`
        """
        super().__init__(name="gamekeeper")
        self.daemon = True
        self.server = TwistedServer(ctxt, addr, install_signals=False)

    @property
    def addr(self) -> Address:
        """Where it listens: (host, port); once it has started with the port that it was given for port 0."""
        return self.server.addr

    def addresses(self) -> List[Tuple[str, Address]]:
        """Where others can reach the server: as of TwistedServer."""
        return self.server.addresses()

    def bound_address(self) -> Address:
        """(host, port) of the socket, with the real port. Raises StateError before the start."""
        return self.server.bound_address()

    def simulate(self, direction: Union[Direction, int], conditions: Optional[Conditions]) -> None:
        """Lets datagrams pass a bad network, as :meth:`TwistedServer.simulate`."""
        self.server.simulate(direction, conditions)

    def listenTCP(
        self,
        router: Router,
        addr: Address,
        privkey: Optional[str] = None,
        cert: Optional[str] = None,
        *,
        password_in_clear: bool = False,
    ) -> None:
        """Answers HTTP requests and opens WebSockets, as :meth:`TwistedServer.listenTCP`."""
        self.server.listenTCP(router, addr, privkey, cert, password_in_clear=password_in_clear)

    def http_addresses(self) -> List[Address]:
        """(host, port) of each :meth:`listenTCP`, with the real ports; empty before the start."""
        return self.server.http_addresses()

    def dashboard_address(self) -> Address:
        """(host, port) of the dashboard, as :meth:`TwistedServer.dashboard_address`."""
        return self.server.dashboard_address()

    def start(self) -> None:
        """Binds the socket and starts the thread. Raises AddressError where the address cannot be
        listened on."""
        if self.server._started or self.is_alive():
            raise StateError(_codes.GK_ERR_STATE, "a server runs once: make another one to run again")
        self.server._open()
        # Already: the process may end before the thread has come so far.
        _remember(self.server)
        try:
            super().start()
        except BaseException:
            # Nobody will run it: the context lets go of it, and with the last reference the socket closes.
            _forget(self.server)
            self.server.ctxt._closed(self.server)
            raise

    def run(self) -> None:
        """What the thread does; called with ``start``."""
        self.server.run()

    def stop(self) -> None:
        """Stops the server and waits for the end of its thread; inside a method of the handler it does not
        wait. A second stop is harmless."""
        self.server.stop()
        # In a process that was forked from the server's the thread does not run.
        if self.ident is not None and self.is_alive() and self is not threading.current_thread():
            self.join()


def _takes_many(handler: Any) -> Optional[Callable[[Messages], None]]:
    """A handler's own ``handle_messages``, if it has one."""
    # A handler need not be an EventHandler, and mpgameserver's has no such method.
    method: Optional[Callable[[Messages], None]] = getattr(handler, "handle_messages", None)
    if getattr(method, "__func__", None) is EventHandler.handle_messages:
        return None
    return method


#: The servers that run, for the end of the process.
_running: Set[TwistedServer] = set()
# One thread may take it twice: a signal's handler may end a server wherever the thread is.
_running_lock = threading.RLock()


def _remember(server: TwistedServer) -> None:
    with _running_lock:
        _running.add(server)


def _forget(server: TwistedServer) -> None:
    with _running_lock:
        _running.discard(server)


def _forked() -> None:
    """In a process that was forked: the servers run in the other one. The lock may be held by a thread that is not here."""
    global _running_lock
    _running_lock = threading.RLock()
    for server in _running:
        # What is left of a batch in hand is told in the other process alone.
        server._clients.clear()
    _running.clear()


_fork.in_child(_forked)


def _stop_all() -> None:
    """At the end of the process: servers in background threads send their goodbyes while they still can."""
    with _running_lock:
        servers = list(_running)
    for server in servers:
        server._request_stop()
    end = time.monotonic() + _EXIT_GRACE_S
    for server in servers:
        server._done.wait(max(0.0, end - time.monotonic()))


atexit.register(_stop_all)


def _format_address(addr: Address) -> str:
    """(host, port) as the library reads it. A name is looked up, as a socket's bind would."""
    host, port = addr
    if not 0 <= port <= 0xFFFF:
        raise AddressError(_codes.GK_ERR_ADDRESS, "the port is {}, allowed is 0 to 65535".format(port))
    if host and not _is_literal(host):
        try:
            host = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0]
        except OSError as error:
            raise AddressError(_codes.GK_ERR_ADDRESS, "{!r} has no address: {}".format(host, error)) from error
    return "[{}]:{}".format(host, port) if ":" in host else "{}:{}".format(host, port)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


def _addresses(link: Link) -> List[Tuple[str, Address]]:
    """All doors of a server."""
    lines = _ffi.read_text(_ffi.lib.gk_server_addresses, link.pointer).splitlines()
    pairs = [line.split(" ", 1) for line in lines]
    return [(transport, _parse_address(address)) for transport, address in pairs]


def _parse_address(text: str) -> Address:
    """The library's text for an address as (host, port)."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
