"""A client of a server, as the server's game sees it."""

import ctypes
import functools
from array import array
from typing import Any, Dict, List, Optional, Tuple, Union

from . import _ffi
from ._codes import (
    GK_DISCONNECT_TIMEOUT,
    GK_DOOR_STREAM,
    GK_DOOR_UDP,
    GK_DOOR_WEBSOCKET,
    GK_ERR_STALE,
    GK_ERR_STATE,
    GK_OK,
    GK_PRIORITY_NORMAL,
    GK_REFUSED_HOST,
    GK_WIRE_MPGAMESERVER,
    GK_WIRE_NATIVE,
    GK_WIRE_STREAM,
)
from ._file_sender import FileSender
from ._files import Files
from ._link import Link, SendCallback
from ._log import PeerLogger
from .conditions import Conditions, LinkStats, native
from .enums import ConnectionStatus, Direction, RetryMode
from .stream_client import Content

#: Length of the per-second lists of ConnectionStats.
SECONDS = 300

#: The wires by their names.
_WIRES: Dict[int, str] = {
    GK_WIRE_NATIVE: "native",
    GK_WIRE_MPGAMESERVER: "mpgameserver",
    GK_WIRE_STREAM: "stream",
}
_DOORS: Dict[int, str] = {GK_DOOR_UDP: "udp", GK_DOOR_STREAM: "stream", GK_DOOR_WEBSOCKET: "websocket"}
WIRES = {"native": GK_WIRE_NATIVE, "mpgameserver": GK_WIRE_MPGAMESERVER}

#: Channel, priority and redundancy of a message that says nothing of them.
_DEFAULTS = (0, GK_PRIORITY_NORMAL, 0)
_ONCE = RetryMode.NONE

# Of short messages that ask for nothing the arguments are made before: then ctypes has nothing to convert, which is a quarter of
# a call. This function takes what it gets as it is, so it must be given ctypes' own numbers.
_send_unchecked = _ffi.lib["gk_server_send"]
_SIZES = tuple(map(ctypes.c_size_t, range(1024)))

_Series = _ffi.gk_second * SECONDS
_FIELDS = len(_ffi.gk_second._fields_)


class ConnectionStats:
    """A client's counts at one moment: the moment at which ``client.stats`` was read.

    The lists have one entry for each of the last 300 seconds, the newest last.
    """

    #: Packets made.
    assembled: int
    #: Messages queued.
    sent: int
    #: Packets from the client that were dropped.
    dropped: int
    #: Packets from the client that were taken.
    received: int
    #: Packets that the client acknowledged.
    acked: int
    #: Packets that were not acknowledged in time.
    timeouts: int
    #: Times that a server's client went on from another address, which the native wire can; 0 of a client's own.
    migrations: int
    #: What the conditions did that ``simulate`` set for this one, in receiving and in sending.
    simulated_receive: LinkStats
    simulated_send: LinkStats

    def __init__(self) -> None:
        self.assembled = self.sent = self.dropped = self.received = self.acked = self.timeouts = 0
        self.migrations = 0
        self.simulated_receive = self.simulated_send = LinkStats()
        self._series: "array[int]" = array("I", bytes(SECONDS * _FIELDS * 4))

    def _fill(self, raw: _ffi.gk_peer_stats_t) -> None:
        self.assembled = raw.assembled
        self.sent = raw.sent
        self.dropped = raw.dropped
        self.received = raw.received
        self.acked = raw.acked
        self.timeouts = raw.timeouts
        self.migrations = raw.migrations
        self.simulated_receive = LinkStats._of(raw.simulated_receive)
        self.simulated_send = LinkStats._of(raw.simulated_send)

    def _read_series(self, function: Any, *of: Any) -> None:
        """Takes the seconds that a function of the library gives; without an answer they stay 0."""
        seconds, count = _Series(), ctypes.c_size_t()
        if function(*of, seconds, SECONDS, ctypes.byref(count)) == GK_OK:
            self._fill_series(seconds, min(count.value, SECONDS))

    def _fill_series(self, seconds: "ctypes.Array[_ffi.gk_second]", count: int) -> None:
        series = array("I")
        series.frombytes(bytes(seconds))
        # A library that keeps fewer seconds gives the newest ones: what is older counts as nothing.
        missing = array("I", bytes((SECONDS - count) * _FIELDS * 4))
        self._series = missing + series[: count * _FIELDS]

    @property
    def pkts_sent(self) -> List[int]:
        """Packets sent in each second."""
        return self._series[0::_FIELDS].tolist()

    @property
    def pkts_recv(self) -> List[int]:
        """Packets received in each second."""
        return self._series[1::_FIELDS].tolist()

    @property
    def bytes_sent(self) -> List[int]:
        """Bytes sent in each second, whole datagrams."""
        return self._series[2::_FIELDS].tolist()

    @property
    def bytes_recv(self) -> List[int]:
        """Bytes received in each second, whole datagrams."""
        return self._series[3::_FIELDS].tolist()

    @property
    def latency(self) -> List[float]:
        """The latency at the end of each second, in seconds."""
        return [microseconds / 1e6 for microseconds in self._series[4::_FIELDS]]

    def __repr__(self) -> str:
        return (
            "<ConnectionStats assembled={} sent={} dropped={} received={} acked={} timeouts={}>".format(
                self.assembled, self.sent, self.dropped, self.received, self.acked, self.timeouts
            )
        )


class Client(FileSender):
    """A client that joined. The server makes it; the methods of EventHandler get it.

    All of it can be used on any thread, and after the client has left: it then answers with what was
    last known, and sends nothing.
    """

    #: The remote address: (host, port). It is personal data: not for other clients.
    addr: Tuple[str, int]
    #: The session's number, unique among the server's clients. Others may know it.
    token: int
    #: Which wire it speaks: "native", "mpgameserver" or "stream".
    wire: str
    #: How it came in: "udp", "stream" or "websocket".
    door: str
    #: What the message is that ``handle_message`` is called with, where its sender told: in streams of ``Framing.JSON``, and
    #: on WebSockets. Else None.
    content: Optional[Content]
    #: A logger that puts the address before each message.
    log: PeerLogger

    def __init__(self, link: Link, peer: int, addr: Tuple[str, int], token: int) -> None:
        self._link = link
        self._peer = peer
        self._post = functools.partial(_send_unchecked, link.pointer, ctypes.c_uint64(peer))
        self.addr = addr
        self.token = token
        wire = ctypes.c_int32()
        _ffi.lib.gk_peer_wire(link.pointer, peer, ctypes.byref(wire))
        self.wire = _WIRES.get(wire.value, "mpgameserver")
        door = ctypes.c_int32()
        _ffi.lib.gk_peer_door(link.pointer, peer, ctypes.byref(door))
        self.door = _DOORS.get(door.value, "udp")
        self.content = None
        self.log = PeerLogger(addr)
        # Sent away by this side: no more messages either way, whatever is still under way.
        self._sent_away = False
        # Set when the client has left.
        self._last_status: Optional[ConnectionStatus] = None
        self._last_stats: Optional[ConnectionStats] = None
        self._last_latency = 0.0
        # Kept for every client, since `stats` has them; costs the library 6 kB a client.
        _ffi.lib.gk_peer_set_series(link.pointer, peer, 1)

    def __repr__(self) -> str:
        return "<Client {}:{} {}>".format(self.addr[0], self.addr[1], self.status)

    @property
    def status(self) -> ConnectionStatus:
        """Where the client stands."""
        if self._last_status is not None:
            return self._last_status
        if self._sent_away:
            return ConnectionStatus.DISCONNECTED
        status = ctypes.c_int32()
        if _ffi.lib.gk_peer_status(self._link.pointer, self._peer, ctypes.byref(status)) != GK_OK:
            return ConnectionStatus.DISCONNECTED
        return ConnectionStatus(status.value)

    @property
    def latency(self) -> float:
        """Seconds that a datagram takes to the client: half of the round trip, smoothed; 0 until known."""
        if self._last_status is None:
            latency = ctypes.c_uint64()
            if _ffi.lib.gk_peer_latency_us(self._link.pointer, self._peer, ctypes.byref(latency)) == GK_OK:
                self._last_latency = latency.value / 1e6
        return self._last_latency

    @property
    def stats(self) -> ConnectionStats:
        """The client's counts now."""
        if self._last_stats is not None:
            return self._last_stats
        stats = ConnectionStats()
        pointer, peer = self._link.pointer, self._peer
        raw = _ffi.gk_peer_stats_t(struct_size=ctypes.sizeof(_ffi.gk_peer_stats_t))
        if _ffi.lib.gk_peer_stats(pointer, peer, ctypes.byref(raw)) == GK_OK:
            stats._fill(raw)
        stats._read_series(_ffi.lib.gk_peer_series, pointer, peer)
        return stats

    def send(
        self,
        payload: bytes,
        retry: Union[RetryMode, int] = RetryMode.NONE,
        callback: Optional[SendCallback] = None,
        *,
        channel: int = 0,
        priority: int = GK_PRIORITY_NORMAL,
        redundancy: int = 0,
        content: Optional[Content] = None,
    ) -> None:
        """Queues a message. To a client that has left nothing is sent.

        :param payload: bytes, also none; long messages travel in pieces
        :param retry: how it is delivered, a RetryMode or its number
        :param callback: called once on the server's thread, with True when the client has acknowledged
            all of the message, with False when the message timeout passed first or the client left; what is
            acknowledged is held by the client's end, which hands an ordered message over in its turn
        :param channel: of SEQUENCED and ORDERED messages, 0 to 255
        :param priority: 0, urgent, to 3, bulk
        :param redundancy: in how many more datagrams it travels at once, 0 to 4
        :param content: what it is, where that can be told: in streams of ``Framing.JSON``
        :raises TypeError: the payload is not bytes
        :raises ValueError: no such retry mode, or not on the client's wire; redundancy above 4; or, as MessageTooLarge, too
            long a message
        :raises WouldBlock: the client's queue is full; nothing was queued, and the callback is not called
        """
        # What most messages are goes the short way: it costs half as much.
        if retry is _ONCE and callback is None and content is None and type(payload) is bytes and not self._sent_away:
            if not channel and not redundancy and priority == GK_PRIORITY_NORMAL and len(payload) < len(_SIZES):
                if self._post(payload, _SIZES[len(payload)], None) == GK_OK:
                    return
        more = (channel, priority, redundancy)
        mode = RetryMode(retry)
        if not isinstance(payload, bytes):
            raise TypeError("the payload is {}, not bytes".format(type(payload).__name__))
        if self._sent_away or self._last_status is not None:
            self.log.debug("message of %d bytes not sent: the client has left", len(payload))
            if callback is not None:
                self._link.refuse(self, callback)
            return
        given = None if more == _DEFAULTS else more
        if not self._link.send(self, self._peer, payload, mode.value, callback, given, content):
            self.log.debug("message of %d bytes not sent: the client is leaving", len(payload))

    def send_guaranteed(self, payload: bytes, callback: Optional[SendCallback] = None) -> None:
        """Queues a message that is sent until acknowledged: ``send`` with RetryMode.RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback)

    def _files(self) -> Tuple[Files, Optional[int]]:
        return self._link.files, self._peer

    def disconnect(self) -> None:
        """Sends the client away. What is queued for it is not delivered; ``EventHandler.disconnect`` follows."""
        if self._sent_away or self._last_status is not None:
            return
        self._sent_away = True
        result = _ffi.lib.gk_server_disconnect(self._link.pointer, self._peer, None)
        if result not in (GK_OK, GK_ERR_STALE, GK_ERR_STATE):
            raise _ffi.error(result)

    def simulate(self, direction: Union[Direction, int], conditions: Optional[Conditions]) -> None:
        """Gives the client a bad network of its own, in the place of the server's; None: the server's again.
        Where the client has left it has no effect. On any thread.

        :raises ValueError: a value of the conditions is out of its range
        """
        given = native(conditions)
        result = _ffi.lib.gk_server_simulate_peer(self._link.pointer, self._peer, Direction(direction).value, given)
        if result not in (GK_OK, GK_ERR_STALE, GK_ERR_STATE):
            raise _ffi.error(result)

    def accept(self) -> bool:
        """Lets a client in that waits for a decision; see ``EventHandler.authorise``. False: it has left, or
        was let in or refused before."""
        self._link.accepted[self._peer] = self
        result = _ffi.lib.gk_peer_accept(self._link.pointer, self._peer)
        if result == GK_OK:
            return True
        self._link.accepted.pop(self._peer, None)
        if result not in (GK_ERR_STALE, GK_ERR_STATE):
            raise _ffi.error(result)
        return False

    def refuse(self, text: str = "", code: int = GK_REFUSED_HOST) -> bool:
        """Sends a client away that waits for a decision. mpgameserver's clients are not told why. False: it has
        left, or was let in or refused before."""
        result = _ffi.lib.gk_peer_refuse(self._link.pointer, self._peer, code, _ffi.c_text(text))
        if result not in (GK_OK, GK_ERR_STALE, GK_ERR_STATE):
            raise _ffi.error(result)
        if result == GK_OK:
            self._sent_away = True
        return bool(result == GK_OK)

    def join_group(self, group: str) -> None:
        """Puts the client into the group of a name, for ``send_group`` of its server; it leaves when it disconnects.

        :param group: 1 to 64 bytes in UTF-8
        :raises ValueError: the name is empty or too long, or has a NUL
        :raises WouldBlock: it is in 64 groups, or the server has 65,536
        """
        self._group(_ffi.lib.gk_server_group_add, group)

    def leave_group(self, group: str) -> None:
        """Takes the client out of a group. Not to be in it is no error.

        :raises ValueError: as with :meth:`join_group`
        """
        self._group(_ffi.lib.gk_server_group_remove, group)

    def set_redundancy(self, copies: int) -> None:
        """Sets in how many more datagrams every short message for this client travels, ahead of any loss; a message's
        own redundancy counts where it is more. Native wire; mpgameserver's clients get none. Where the client has left
        it has no effect.

        :param copies: 0 to 4
        :raises ValueError: a number out of this range
        """
        if not 0 <= copies < 2**32:
            raise ValueError("the redundancy is {}, allowed is 0 to 4".format(copies))
        result = _ffi.lib.gk_peer_set_redundancy(self._link.pointer, self._peer, copies)
        if result not in (GK_OK, GK_ERR_STALE):
            raise _ffi.error(result)

    def _group(self, function: Any, group: str) -> None:
        result = function(self._link.pointer, _ffi.c_text(group), self._peer)
        # One that has left is in no group.
        if result not in (GK_OK, GK_ERR_STALE):
            raise _ffi.error(result)

    def _left(self, code: int) -> None:
        """Keeps what is known of a client that has left, while the library still answers for it."""
        stats, _ = self.stats, self.latency
        timeout = code == GK_DISCONNECT_TIMEOUT
        self._last_stats = stats
        self._last_status = ConnectionStatus.DROPPED if timeout else ConnectionStatus.DISCONNECTED
