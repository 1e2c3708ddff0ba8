"""Clients and servers for asyncio, without threads: events are iterated over, sending can be awaited.

    async with gamekeeper.aio.connect(("example.org", 2021), server_native_key=KEY) as client:
        await client.send(b"hello")
        async for event in client:
            ...

    async with gamekeeper.aio.serve(("0.0.0.0", 2021)) as server:
        async for event in server:
            if isinstance(event, gamekeeper.aio.Message):
                event.peer.post(event.data)

All of it belongs to the event loop that it was made in, and to that loop's thread. The loop must be able to wait for
descriptors: all of unix's are, Windows has none.
"""

import asyncio
import ctypes
import weakref
from typing import Any, Dict, Generator, List, NamedTuple, Optional, Tuple, Union, cast

from . import _codes, _ffi
from ._aio import _Completions, _Host, _Mode, _Opening, _options
from ._files import FILE_EVENTS, FileCallback, FileEnd, FileError, FileOffer, Files, Path, Progress
from ._link import Link
from ._log import PeerLogger, logger
from ._session import Address, Config, NativeKey, Session, data_of, text_of
from .client import Client as _HostedClient
from .client import ConnectionStats
from .conditions import Conditions
from .context import ServerContext
from .enums import ConnectionStatus, Direction, RetryMode
from .errors import SessionEnded, StateError
from .handler import EventHandler
from .http import Doors
from .keys import EllipticCurvePrivateKey
from .server import _addresses, _format_address, _parse_address
from .stream_client import Content, Stream, content_of

__all__ = ["Client", "Connected", "Content", "Disconnected", "FileOffered", "JoinRequest", "Message", "Peer", "Server", "Stream", "connect", "serve"]

#: While a send is awaited its outcome must not stay in the library. So that the events do not grow without limit then,
#: a sender of more messages than this that wait is sent away.
_MAX_EVENTS_OF_ONE = 20_000


class Message(NamedTuple):
    """A message arrived."""

    #: Who sent it: with a server the Peer, with a client the client itself.
    peer: "Union[Peer, Client]"
    data: bytes
    #: How it was sent: a RetryMode's number, or 127 where the wire does not tell.
    mode: int
    channel: int
    #: The sender's number of it.
    sequence: int
    #: What it is, where its sender told: in streams of ``Framing.JSON``, and on WebSockets.
    content: Optional[Content] = None


class Connected(NamedTuple):
    """Of a server: messages of this peer flow from now on."""

    peer: "Peer"


class JoinRequest(NamedTuple):
    """Of a server that asks: somebody wants to come in. Call the peer's ``accept`` or ``refuse``, now or later."""

    peer: "Peer"
    #: What it brought: ``join_data``.
    data: bytes
    #: Whether it gave the server's password.
    password: bool


class FileOffered(NamedTuple):
    """A file is offered. Call the offer's ``accept`` or ``refuse``, now or later, or ``receive`` it."""

    #: Who offers it: with a server the Peer, with a client the client itself.
    peer: "Union[Peer, Client]"
    offer: FileOffer

    async def receive(
        self, directory: Path, name: Optional[str] = None, replace: bool = False, progress: Optional[Progress] = None
    ) -> str:
        """Takes the file and waits until it is there; to give up waiting does not give up the file.

        :param directory: where it goes; it must exist
        :param name: another name, of which the safe part is used
        :param replace: whether a file of this name is replaced; else the new one gets a number
        :param progress: called with the bytes that have arrived, and those in all
        :returns: its path
        :raises FileError: it did not arrive
        """
        waiting: "asyncio.Future[FileEnd]" = asyncio.get_running_loop().create_future()
        if not self.offer.accept(directory, name, replace, progress, _answer(waiting)):
            raise FileError(FileEnd(_codes.GK_FILE_CANCELLED, "", "the offer is gone", self.offer.size))
        self.peer._files_soon()
        return _arrived(await waiting).path


class Disconnected(NamedTuple):
    """The session ended; nothing follows about the peer."""

    peer: "Union[Peer, Client]"
    #: Why, one of the ``GK_DISCONNECT_…`` constants of the C header, or of the other side's game.
    code: int
    #: The same in words.
    reason: str
    #: The number that goes with it.
    app_code: int


ServerEvent = Union[JoinRequest, Connected, Message, FileOffered, Disconnected]
ClientEvent = Union[Message, FileOffered, Disconnected]


def _answer(waiting: "asyncio.Future[FileEnd]") -> FileCallback:
    def answer(end: FileEnd) -> None:
        if not waiting.done():
            waiting.set_result(end)

    return answer


def _arrived(end: FileEnd) -> FileEnd:
    if not end.ok:
        raise FileError(end)
    return end


class _Remote:
    """The other side of a session, to either: where the session stands, and how messages are sent there."""

    #: What the package without asyncio has for it.
    _plain: Union[Session, _HostedClient]
    #: Who waits for word of messages.
    _sends: _Completions
    #: How the session ended.
    _end: Optional[Disconnected] = None
    #: What is said of a message when it is ending, and when it has ended and nobody said why.
    _LEAVING = _LEFT = ""

    @property
    def status(self) -> ConnectionStatus:
        """Where the session stands."""
        return self._plain.status

    @property
    def token(self) -> int:
        """The session's number, unique among the server's clients. Others may know it."""
        return self._plain.token

    @property
    def latency(self) -> float:
        """Seconds that a message takes one way, smoothed; 0 until known."""
        return self._plain.latency

    @property
    def stats(self) -> ConnectionStats:
        """The session's counts now."""
        return self._plain.stats

    async def send(
        self,
        data: bytes,
        mode: _Mode = RetryMode.RETRY_ON_TIMEOUT,
        *,
        channel: int = 0,
        priority: int = _codes.GK_PRIORITY_NORMAL,
        redundancy: int = 0,
        content: Optional[Content] = None,
    ) -> bool:
        """Sends a message and waits for what became of it. To give up waiting does not take the message back. A
        server's client can withhold the answer for as long as its session lives: a server that serves others too
        should :meth:`post`, or wait in a task of its own. What is acknowledged is held by the other end, which hands
        an ordered message over in its turn.

        :param content: what it is, where that can be told: in streams of ``Framing.JSON``
        :returns: True: the other side has acknowledged all of it; False: it has not, within the message timeout
        :raises SessionEnded: the session has ended, before it or before the answer
        :raises WouldBlock: the queue is full; nothing was queued
        :raises ValueError: not possible on this wire; or, as MessageTooLarge, too long a message
        """
        tag, future = self._sends.add(self)
        try:
            self._send(data, _options(mode, tag, channel, priority, redundancy, content))
        except BaseException:
            self._sends.drop(tag)
            raise
        return await future

    def post(
        self,
        data: bytes,
        mode: _Mode = RetryMode.NONE,
        *,
        channel: int = 0,
        priority: int = _codes.GK_PRIORITY_NORMAL,
        redundancy: int = 0,
        content: Optional[Content] = None,
    ) -> None:
        """Queues a message without waiting. Raises as :meth:`send`."""
        self._send(data, _options(mode, None, channel, priority, redundancy, content))

    async def send_file(
        self, path: Path, name: Optional[str] = None, progress: Optional[Progress] = None
    ) -> None:
        """Sends a file of any length beside all messages, which it does not delay, and waits until it has arrived. To give
        up waiting gives up the file. When the connection breaks, sending it again to the same receiver goes on where it
        left off.

        :param path: the file; it must not change before the end
        :param name: the name that it is offered under; None: its own
        :param progress: called with the bytes that have arrived, and those in all
        :raises FileError: it did not arrive
        :raises StateError: files are not enabled at one of the two ends, or the wire is mpgameserver's
        :raises WouldBlock: 1024 files wait
        """
        waiting: "asyncio.Future[FileEnd]" = asyncio.get_running_loop().create_future()
        files, peer = self._files()
        number = files.send(peer, path, name, progress, _answer(waiting))
        self._files_soon()
        try:
            _arrived(await waiting)
        except asyncio.CancelledError:
            files.cancel(peer, number)
            self._files_soon()
            raise

    def _files(self) -> Tuple[Files, Optional[int]]:
        """Where its files are, and who it is there."""
        raise NotImplementedError

    def _files_soon(self) -> None:
        """Something was asked for."""
        raise NotImplementedError

    def _send(self, data: bytes, options: _ffi.gk_send_options) -> None:
        raise NotImplementedError

    def _error(self) -> SessionEnded:
        if self._end is None:
            return SessionEnded(_codes.GK_DISCONNECT_LOCAL, 0, self._LEAVING)
        return SessionEnded(self._end.code, self._end.app_code, self._end.reason or self._LEFT)


class Client(_Remote, _Host[ClientEvent]):
    """A connected client, made by :func:`connect`. Iterating gives Message events, then one Disconnected, the last."""

    _LEAVING = "the client has been told to disconnect"
    _LEFT = "the session has ended"

    def __init__(self, config: Config, addr: Address) -> None:
        """For :func:`connect`'s own use."""
        self._session = self._plain = config.open(addr)
        self._backlog = 0
        super().__init__("client", self._session.pointer)
        self._connected: "asyncio.Future[None]" = self._pump.loop.create_future()
        self._over: "asyncio.Future[None]" = self._pump.loop.create_future()
        self._leaving = False

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.disconnect()

    @property
    def server_clock(self) -> Optional[float]:
        """The server's clock as this end estimates it: seconds since the server started. None before the server was
        heard, and on mpgameserver's wire, which does not tell."""
        return self._session.server_clock

    @property
    def server_tick(self) -> Optional[float]:
        """The server's tick as this end estimates it, with the part of the next one that has passed. None as with
        :attr:`server_clock`."""
        return self._session.server_tick

    def simulate(self, direction: Union[Direction, int], conditions: Optional[Conditions]) -> None:
        """Lets the client's datagrams of one direction pass a bad network from now on, to see how the game plays on
        one; None ends it. What it did is in :attr:`stats`.

        :raises ValueError: a value of the conditions is out of its range
        :raises StateError: the client has been closed
        """
        if self._closed:
            raise StateError(_codes.GK_ERR_STATE, "the client has been closed")
        self._session.simulate(direction, conditions)
        self._pump.soon()

    @property
    def server_native_key(self) -> bytes:
        """The key that the server has proved on the native wire, 32 bytes. Raises StateError on the other."""
        return self._session.native_key

    async def disconnect(self, timeout: float = 1.0) -> None:
        """Ends the session when what is queued is acknowledged, after ``timeout`` seconds at the latest, and the
        client with it. What has arrived can still be iterated over."""
        if self._closed:
            return
        if self._end is None:
            self._leaving = True
            timer = self._pump.loop.call_later(timeout, self._leave)
            self._pump.soon()
            try:
                await asyncio.shield(self._over)
            finally:
                timer.cancel()
                self._close()
        self._close()

    def _leave(self) -> None:
        self._session.disconnect()
        self._pump.soon()

    def _send(self, data: bytes, options: _ffi.gk_send_options) -> None:
        if self._leaving or self._closed or not self._session.send(data, options):
            raise self._error()
        self._pump.soon()

    def _turn(self) -> None:
        super()._turn()
        if self._leaving and self._end is None and not self._closed and not self._session.has_queued:
            self._leave()

    def _files(self) -> Tuple[Files, Optional[int]]:
        return self._session.files, None

    def _files_soon(self) -> None:
        self._pump.soon()

    def _taken(self, event: ClientEvent) -> None:
        self._backlog -= 1

    def _on_event(self, event: Any) -> None:
        if event.type == _codes.GK_EVENT_MESSAGE:
            self._put(Message(self, data_of(event), event.mode, event.channel, event.sequence, content_of(event)))
            if self._backlog > _MAX_EVENTS_OF_ONE:
                logger.warning("the server sends more than is read: its session is ended")
                self._session.disconnect()
        elif event.type == _codes.GK_EVENT_FILE_OFFER:
            self._put(FileOffered(self, FileOffer(self._session.files, None, event)))
        elif event.type in FILE_EVENTS:
            self._session.files.handle(None, event)
        elif event.type == _codes.GK_EVENT_CONNECT:
            if not self._connected.done():
                self._connected.set_result(None)
        elif event.type == _codes.GK_EVENT_DISCONNECT and self._end is None:
            self._end = Disconnected(self, event.code, text_of(event), event.app_code)
            self._put(self._end)
            self._sends.ended(self, self._error())
            self._finish()
            self._inbox.close()

    def _put(self, event: ClientEvent) -> None:
        self._backlog += 1
        self._inbox.put(event)

    def _finish(self) -> None:
        if not self._connected.done():
            self._connected.set_exception(self._error())
            # Nobody may be there to look at it: who connects may have been cancelled.
            self._connected.exception()
        if not self._over.done():
            self._over.set_result(None)

    def _close(self, error: Optional[BaseException] = None) -> None:
        super()._close(error)
        self._finish()


def connect(
    addr: Address,
    *,
    wire: str = "native",
    server_native_key: Optional[NativeKey] = None,
    server_public_key: Any = None,
    trust_any: bool = False,
    join_data: Optional[bytes] = None,
    password: Optional[bytes] = None,
    keep_alive_interval: float = 0.1,
    connection_timeout: float = 5.0,
    handshake_timeout: float = 2.0,
    message_timeout: float = 1.0,
    send_rate: int = 0,
    files: bool = False,
    stream: Optional[Stream] = None,
) -> _Opening[Client]:
    """Connects to a server: ``await connect(…)``, or ``async with connect(…) as client``.

    :param addr: (host, port); a name is looked up in the background
    :param wire: "native" or "mpgameserver"
    :param server_native_key: for the native wire: the server's key, 32 bytes or 64 hexadecimal digits
    :param server_public_key: for mpgameserver's wire: the server's root key, an EllipticCurvePublicKey
    :param trust_any: in the place of a key: believe whoever answers, for development
    :param join_data: what the server's game sees before it lets the client in, at most 768 bytes; native only
    :param password: the server's, 1 to 256 bytes; with ``server_native_key`` only
    :param keep_alive_interval: seconds without any datagram after which an empty one is sent; 0.01 to 60
    :param connection_timeout: seconds of silence that end the session; 0.1 to 3600
    :param handshake_timeout: seconds in which the server must answer; 0.1 to 60. On the native wire it may then take
        longer to let the client in: as long as it is heard, an hour more at most
    :param message_timeout: seconds after which a message that is not guaranteed counts as lost; 0.05 to 60
    :param send_rate: bytes per second that the server is sent on average, what is above it waits; 0: no limit, else
        1000 to 1,000,000,000
    :param files: whether files can be sent and received, where the server allows it too: FileOffered events ask about
        those that it offers. In a stream they need ``Framing.LENGTH`` and a door of ``listenStream(files=True)``: any other
        door ends the connection
    :param stream: in the place of ``wire``, which is not given then: talk in a stream (TCP), as this says; without TLS ``trust_any`` must be said
    :raises SessionEnded: (awaited) no connection was made; its ``reason`` and text say why
    :raises ValueError: the arguments do not fit the wire, or do not say whom to believe
    """
    config = Config(wire, server_public_key, server_native_key, trust_any, join_data, password, stream, files)
    config.set_seconds("keep_alive_interval", keep_alive_interval)
    config.set_seconds("connection_timeout", connection_timeout)
    config.set_seconds("handshake_timeout", handshake_timeout)
    config.set_seconds("message_timeout", message_timeout)
    config.set_send_rate(send_rate)

    class Opening:
        def __await__(self) -> Generator[Any, None, Client]:
            return _connect(config, addr).__await__()

    # No coroutine before it is awaited: one that never is would be warned of.
    return _Opening(Opening(), Client.disconnect)


async def _connect(config: Config, addr: Address) -> Client:
    client = Client(config, addr)
    try:
        await client._connected
    except BaseException:
        client._close()
        raise
    return client


class Peer(_Remote):
    """A client of a server. It can be used after the client has left; nothing is sent then."""

    _LEAVING = "the client is leaving"
    _LEFT = "the client has left"

    def __init__(self, server: "Server", client: _HostedClient) -> None:
        """For the server's own use."""
        self._server = server
        self._client = self._plain = client
        self._sends = server._sends
        # Events of it that wait.
        self._backlog = 0

    def __repr__(self) -> str:
        return "<Peer {}:{} {}>".format(self.addr[0], self.addr[1], self.status)

    @property
    def addr(self) -> Address:
        """The remote address: (host, port). It is personal data: not for other clients."""
        return self._client.addr

    @property
    def wire(self) -> str:
        """Which wire it speaks: "native" or "mpgameserver"."""
        return self._client.wire

    @property
    def log(self) -> PeerLogger:
        """A logger that puts the address before each message."""
        return self._client.log

    def disconnect(self) -> None:
        """Sends the client away. What is queued for it is not delivered; a Disconnected event follows."""
        self._client.disconnect()
        self._server._pump.soon()

    def accept(self) -> bool:
        """Lets a client in that waits for a decision. False: it has left, or was decided about before."""
        accepted = self._client.accept()
        if accepted:
            self._server._accepted[self._client._peer] = self
            self._server._pump.soon()
        return accepted

    def refuse(self, text: str = "", code: int = _codes.GK_REFUSED_HOST) -> bool:
        """Sends a client away that waits for a decision. mpgameserver's clients are not told why. False: it has left,
        or was decided about before."""
        refused = self._client.refuse(text, code)
        self._server._pump.soon()
        return refused

    def join_group(self, group: str) -> None:
        """Puts the client into the group of a name, 1 to 64 bytes in UTF-8, for :meth:`Server.post_group`."""
        self._client.join_group(group)

    def leave_group(self, group: str) -> None:
        """Takes the client out of a group."""
        self._client.leave_group(group)

    def set_redundancy(self, copies: int) -> None:
        """Sets in how many more datagrams every short message for this client travels, 0 to 4. Native wire."""
        self._client.set_redundancy(copies)

    def _files(self) -> Tuple[Files, Optional[int]]:
        return self._server._link.files, self._client._peer

    def _files_soon(self) -> None:
        self._server._pump.soon()

    def _send(self, data: bytes, options: _ffi.gk_send_options) -> None:
        if not isinstance(data, bytes):
            raise TypeError("the data is {}, not bytes".format(type(data).__name__))
        result = _codes.GK_ERR_STALE
        if self._end is None and not self._server._closed:
            result = self._server._call("send", self._client._peer, data, len(data), ctypes.byref(options))
        if result in (_codes.GK_ERR_STALE, _codes.GK_ERR_STATE):
            raise self._error()
        _ffi.check(result)
        self._server._pump.soon()


class Server(_Host[ServerEvent]):
    """A server, made by :func:`serve`. Iterating gives JoinRequest (if it asks), Connected, Message and Disconnected
    events, until it is closed and all are taken."""

    def __init__(self, context: ServerContext, addr: Address) -> None:
        """For :func:`serve`'s own use."""
        self._context = context
        #: It has no doors for HTTP.
        self._http = Doors()
        # The context tells its servers of block lists and of shutdown.
        self._link: Link = context._open(cast(Any, self), _format_address(addr))
        self._peers: Dict[int, Peer] = {}
        #: Those that were let in and whose Connected event is still to come.
        self._accepted: Dict[int, Peer] = {}
        self._joining: "weakref.WeakValueDictionary[int, Peer]" = weakref.WeakValueDictionary()
        super().__init__("server", self._link.pointer)

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    @property
    def addr(self) -> Address:
        """Where it listens: (host, port), with the real port."""
        return _parse_address(_ffi.read_text(_ffi.lib.gk_server_address, self._pointer))

    def addresses(self) -> List[Tuple[str, Address]]:
        """Where others can reach the server, at all doors of its context: ("udp" or "tcp", (host, port)), with the real
        ports."""
        return _addresses(self._link)

    def peers(self) -> List[Peer]:
        """The connected clients: a copy."""
        return list(self._peers.values())

    def post_group(
        self, group: str, data: bytes, mode: _Mode = RetryMode.NONE, without: Optional[Peer] = None
    ) -> Tuple[int, int]:
        """Queues a message for all clients in a group, held once.

        :param group: what ``Peer.join_group`` was given; one without members reaches nobody
        :param without: who does not get it
        :returns: for how many it was queued, and how many have a full queue and did not get it
        """
        if not isinstance(data, bytes):
            raise TypeError("the data is {}, not bytes".format(type(data).__name__))
        sent, refused = ctypes.c_size_t(), ctypes.c_size_t()
        left_out = _codes.GK_PEER_NONE if without is None else without._client._peer
        options = _ffi.send_options(RetryMode(mode).value)
        counts = (ctypes.byref(sent), ctypes.byref(refused))
        _ffi.check(self._call("group_send", _ffi.c_text(group), left_out, data, len(data), ctypes.byref(options), *counts))
        self._pump.soon()
        return sent.value, refused.value

    def broadcast(self, data: bytes, mode: _Mode = RetryMode.NONE, without: Optional[Peer] = None) -> int:
        """Queues a message for all clients, held once. Clients with a full queue are left out.

        :param without: who does not get it
        :returns: for how many it was queued
        """
        if not isinstance(data, bytes):
            raise TypeError("the data is {}, not bytes".format(type(data).__name__))
        sent = ctypes.c_size_t()
        left_out = _codes.GK_PEER_NONE if without is None else without._client._peer
        options = _ffi.send_options(RetryMode(mode).value)
        _ffi.check(self._call("broadcast", left_out, data, len(data), ctypes.byref(options), ctypes.byref(sent)))
        self._pump.soon()
        return sent.value

    async def close(self) -> None:
        """Says goodbye to all clients and ends the server, which holds the event loop up for 0.2 seconds at most. Its
        last events can still be iterated over."""
        self._close()

    def _close(self, error: Optional[BaseException] = None) -> None:
        if not self._closed:
            super()._close(error)
            self._accepted.clear()
            self._context._closed(cast(Any, self))

    # What the context calls, on any thread.

    def _request_stop(self) -> None:
        if not self._closed and not self._pump.loop.is_closed():
            self._pump.loop.call_soon_threadsafe(self._close)

    def _set_block_list(self, array: Any, count: int) -> None:
        result = self._call("set_block_list", array, count)
        # A server that has stopped in the meantime needs no list.
        if result not in (_codes.GK_OK, _codes.GK_ERR_STATE):
            raise _ffi.error(result)

    # What the library tells.

    def _taken(self, event: ServerEvent) -> None:
        cast(Peer, event.peer)._backlog -= 1

    def _put(self, event: ServerEvent) -> None:
        cast(Peer, event.peer)._backlog += 1
        self._inbox.put(event)

    def _new_peer(self, event: Any) -> Peer:
        return Peer(self, _HostedClient(self._link, event.peer, _parse_address(text_of(event)), event.token))

    def _on_event(self, event: Any) -> None:
        if event.type == _codes.GK_EVENT_MESSAGE:
            self._on_message(event)
        elif event.type == _codes.GK_EVENT_FILE_OFFER:
            offer, sender = FileOffer(self._link.files, event.peer, event), self._peers.get(event.peer)
            if sender is None:
                offer.refuse()
            else:
                self._put(FileOffered(sender, offer))
        elif event.type in FILE_EVENTS:
            self._link.files.handle(event.peer, event)
        elif event.type == _codes.GK_EVENT_AUTHORISE:
            peer = self._new_peer(event)
            self._joining[event.peer] = peer
            self._put(JoinRequest(peer, data_of(event), bool(event.password)))
        elif event.type == _codes.GK_EVENT_CONNECT:
            accepted = self._accepted.pop(event.peer, None) or self._joining.pop(event.peer, None)
            self._link.accepted.pop(event.peer, None)
            peer = accepted or self._new_peer(event)
            self._peers[event.peer] = peer
            self._put(Connected(peer))
        elif event.type == _codes.GK_EVENT_DISCONNECT:
            left = self._peers.pop(event.peer, None)
            if left is not None:
                left._client._left(event.code)
                left._end = Disconnected(left, event.code, text_of(event), event.app_code)
                self._put(left._end)
                self._sends.ended(left, left._error())

    def _on_message(self, event: Any) -> None:
        peer = self._peers.get(event.peer)
        if peer is None or peer._client._sent_away:
            return
        self._put(Message(peer, data_of(event), event.mode, event.channel, event.sequence, content_of(event)))
        if peer._backlog > _MAX_EVENTS_OF_ONE:
            peer.log.warning("it sends more than is read: it is sent away")
            peer._client.disconnect()


def serve(
    addr: Address,
    *,
    context: Optional[ServerContext] = None,
    root_key: Optional[EllipticCurvePrivateKey] = None,
    authorise: bool = False,
    password: Optional[bytes] = None,
    files: bool = False,
) -> _Opening[Server]:
    """Makes a server: ``await serve(…)``, or ``async with serve(…) as server``. Clients of both wires can join.

    :param addr: (host, port) as for :class:`gamekeeper.TwistedServer`
    :param context: a configuration with more than the parameters below, which are not used then; its handler's
        methods are not called
    :param root_key: the key that proves the server's identity; None: a new one
    :param authorise: whether JoinRequest events ask about every client
    :param password: what a client must know, 1 to 256 bytes
    :param files: whether files can be sent and received, where a client allows it too: FileOffered events ask about those
        that it offers; ``ServerContext.setFiles`` has quotas
    :raises AddressError: (awaited) the address cannot be listened on
    """
    if context is None:
        context = ServerContext(EventHandler(), root_key)
        context.setPassword(password)
        context.setAuthorise(authorise)
        if files:
            context.setFiles()
    chosen = context

    class Opening:
        def __await__(self) -> Generator[Any, None, Server]:
            return _serve(chosen, addr).__await__()

    return _Opening(Opening(), Server.close)


async def _serve(context: ServerContext, addr: Address) -> Server:
    return Server(context, addr)
