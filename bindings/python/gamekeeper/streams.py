"""A server for hosts of the select-loop kind: plain TCP connections, one outgoing queue each."""

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Deque, Dict, Optional, Tuple, Union

from . import _codes, _ffi
from ._log import logger
from .client import Client
from .context import ServerContext
from .enums import Framing, RetryMode, SeqNum
from .errors import StateError, WouldBlock
from .handler import EventHandler
from .server import TwistedServer, _parse_address

#: Messages taken out of one connection's queue per time slice.
_PER_SLICE = 1024


class Server:
    """Base class of a server that plain TCP programs talk to: make a subclass, override the callbacks, call
    :meth:`start`.

    What is to be sent to a connection is put into its queue, ``messages[conn].put(bytes)``, on any thread; it leaves
    in the next time slice. All callbacks come on the thread that called :meth:`start`. An exception that leaves one
    is logged, and the server goes on.
    """

    #: The outgoing queue of every connection. An entry goes with its connection.
    messages: "Dict[Client, queue.Queue[bytes]]"

    def __init__(
        self,
        host: str,
        port: int,
        framing: Union[Framing, int] = Framing.RAW,
        reconcile_interval: float = 5.0,
        ctxt: Optional[ServerContext] = None,
    ) -> None:
        """
        :param host: the interface, "0.0.0.0" for all of IPv4
        :param port: 0: a free one, see :attr:`address`
        :param framing: how messages are told apart; RAW: whatever one read brings
        :param reconcile_interval: seconds between two calls of :meth:`_reconcile`
        :param ctxt: more to say of the server (a password, bounds, a block list); the door is added to it
        """
        if not reconcile_interval > 0:
            raise ValueError("reconcile_interval is {!r}, and must be above 0".format(reconcile_interval))
        self.messages = {}
        self._interval = reconcile_interval
        self._slices = _Slices(self)
        self._context = ServerContext(self._slices) if ctxt is None else ctxt
        self._context.handler = self._slices
        #: Which of the context's doors for streams is this one.
        self._door = self._context._stream_doors
        self._context.listenStream("{}:{}".format("[{}]".format(host) if ":" in host else host, port), framing)
        # Nobody is told of the datagrams' door.
        main = threading.current_thread() is threading.main_thread()
        self._server = TwistedServer(self._context, ("127.0.0.1", 0), install_signals=main)
        self._started = threading.Event()
        self._bound: Optional[Tuple[str, int]] = None

    # What its owner calls.

    def start(self) -> None:
        """Runs the server until :meth:`stop`, on this thread.

        :raises AddressError: the address cannot be listened on
        """
        try:
            self._server.run()
        finally:
            # Whoever waits for a start that has failed waits no longer.
            self._started.set()

    def stop(self) -> None:
        """Ends it, on any thread."""
        self._server.stop()

    def wait_started(self, timeout: Optional[float] = None) -> bool:
        """Waits until it listens, or cannot; whether it does, or did before it ended. On any other thread."""
        return self._started.wait(timeout) and self._bound is not None

    @property
    def address(self) -> Tuple[str, int]:
        """(host, port) where it listens, with the real port. Raises StateError before the start."""
        if self._bound is None:
            raise StateError(_codes.GK_ERR_STATE, "the server has not started")
        return self._bound

    # What subclasses override.

    def _reconcile(self) -> None:
        """Called every five seconds, for housekeeping."""

    def _new_connection_callback(self, conn: Client, msg: bytes) -> None:
        """A connection has said its first message."""

    def _new_message_callback(self, conn: Client, msg: bytes) -> None:
        """A connection has said another one."""

    def _closed_callback(self, conn: Client) -> None:
        """A connection has ended. Its queue is gone already."""


if TYPE_CHECKING:
    # Before Python 3.9 the class takes no parameter at run time.
    _Queue = queue.Queue[bytes]
else:
    _Queue = queue.Queue


class _Outgoing(_Queue):
    """The outgoing queue of a connection, which tells when something waits in it."""

    def __init__(self, client: Client, waiting: "Deque[_Outgoing]") -> None:
        super().__init__()
        self.client = client
        self._waiting = waiting
        #: Whether it is among those that wait.
        self.waits = False

    def _put(self, item: bytes) -> None:
        # Called with the queue's lock held.
        super()._put(item)
        if not self.waits:
            self.waits = True
            self._waiting.append(self)


class _Slices(EventHandler):
    """Turns the events of a server into the calls of the base class."""

    def __init__(self, owner: Server) -> None:
        self._owner = owner
        self._since = 0.0
        self._heard: Dict[Client, bool] = {}
        #: The queues that something was put into since they were looked at.
        self._waiting: Deque[_Outgoing] = deque()
        # What found a full queue, and goes first when there is room.
        self._refused: Dict[Client, bytes] = {}

    def starting(self) -> None:
        owner = self._owner
        link = owner._server._link
        assert link is not None  # it is starting
        owner._bound = _parse_address(_ffi.read_text(_ffi.lib.gk_server_stream_address, link.pointer, owner._door))
        owner._started.set()

    def connect(self, client: Client) -> None:
        if client.door == "stream":
            self._owner.messages[client] = _Outgoing(client, self._waiting)

    def disconnect(self, client: Client) -> None:
        if self._owner.messages.pop(client, None) is not None:
            self._heard.pop(client, None)
            self._refused.pop(client, None)
            self._owner._closed_callback(client)

    def handle_message(self, client: Client, seqnum: SeqNum, msg: bytes = b"") -> None:
        if client not in self._owner.messages:
            return
        try:
            if self._heard.setdefault(client, False):
                self._owner._new_message_callback(client, msg)
            else:
                self._heard[client] = True
                self._owner._new_connection_callback(client, msg)
        finally:
            self._drain_all()

    def update(self, delta_t: float) -> None:
        try:
            self._since += delta_t
            if self._since >= self._owner._interval:
                self._since = 0.0
                self._owner._reconcile()
        finally:
            self._drain_all()

    def writable(self, client: Client) -> None:
        waiting = self._owner.messages.get(client)
        if waiting is not None:
            self._drain(client, waiting)

    def _drain_all(self) -> None:
        # Those that are put back wait for the next slice.
        for _ in range(len(self._waiting)):
            outgoing = self._waiting.popleft()
            # Before it is looked at: what is put from now on is seen now or next time.
            outgoing.waits = False
            if self._owner.messages.get(outgoing.client) is outgoing:
                self._drain(outgoing.client, outgoing)

    def _drain(self, client: Client, waiting: "queue.Queue[bytes]") -> None:
        for _ in range(_PER_SLICE):
            message = self._refused.pop(client, None)
            if message is None:
                try:
                    message = waiting.get_nowait()
                except queue.Empty:
                    return
            try:
                client.send(message, RetryMode.RETRY_ON_TIMEOUT)
            except WouldBlock:
                self._refused[client] = message
                return
            except (TypeError, ValueError):
                logger.exception("a message for %s cannot be sent", client)
        if isinstance(waiting, _Outgoing) and not waiting.empty() and not waiting.waits:
            waiting.waits = True
            self._waiting.append(waiting)
