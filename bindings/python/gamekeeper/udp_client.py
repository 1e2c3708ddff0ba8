"""A client that a game's main loop runs, with the methods of mpgameserver's."""

import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, Union

from . import _codes, _ffi
from ._file_sender import FileSender
from ._files import FILE_EVENTS, FileOffer, Files
from ._log import logger
from ._session import Address, Config, NativeKey, Session, data_of, text_of
from .client import ConnectionStats
from .conditions import Conditions
from .enums import ConnectionStatus, Direction, RetryMode, SeqNum
from .errors import StateError

Callback = Callable[[bool], None]

#: Seconds that the end of a session waits for what is queued, as in mpgameserver.
_GOODBYE_S = 1.0
#: Messages that wait for the game. Above it they stay in the library, which then refuses more.
_MAX_MESSAGES = 10_000
#: Messages are numbered in 32 bits on the native wire; SeqNum knows a ring of 16.
_SEQUENCE_RING = 0xFFFF


class UdpClient(FileSender):
    """A client without a thread: call :meth:`update` once per frame. All calls must come from one thread.

    Without further arguments it talks as mpgameserver's does, to whichever server answers.
    """

    def __init__(
        self,
        server_public_key: Any = None,
        *,
        wire: str = "mpgameserver",
        server_native_key: Optional[NativeKey] = None,
        trust_any: bool = False,
        join_data: Optional[bytes] = None,
        password: Optional[bytes] = None,
    ) -> None:
        """
        :param server_public_key: for the wire "mpgameserver": the server's root key, an EllipticCurvePublicKey.
            None: whoever answers is believed, as in mpgameserver.
        :param wire: "mpgameserver" or "native"
        :param server_native_key: for the wire "native": the server's key, 32 bytes or 64 hexadecimal digits
        :param trust_any: for the wire "native": believe whoever answers, for development
        :param join_data: what the server's game sees before it lets the client in, at most 768 bytes; native only
        :param password: the server's, 1 to 256 bytes; with ``server_native_key`` only
        :raises ValueError: the arguments do not fit the wire, or do not say whom to believe
        """
        if wire == "mpgameserver" and server_public_key is None and server_native_key is None:
            trust_any = True
        self._config = Config(wire, server_public_key, server_native_key, trust_any, join_data, password)
        # mpgameserver's, of which the library's differs.
        self.setConnectionTimeout(2.0)
        self._session: Optional[Session] = None
        self._answer: Optional[Callback] = None
        self._callbacks: Dict[int, Callback] = {}
        self._refused: Deque[Callback] = deque()
        self._messages: Deque[Tuple[SeqNum, bytes]] = deque()
        #: When the goodbye is due at the latest, by time.monotonic(); None: nobody asked for it.
        self._leaving: Optional[float] = None
        #: Why the last session ended, a ``GK_DISCONNECT_…`` of the C header, and in words; 0 and "" before.
        self.end_code = 0
        self.end_reason = ""
        self._offered: Optional[Callable[[FileOffer], None]] = None

    def setKeepAliveInterval(self, interval: float) -> None:
        """Seconds without any datagram after which the server gets an empty one, from the next :meth:`connect` on.
        Default 0.1, range 0.01 to 60."""
        self._config.set_seconds("keep_alive_interval", interval)

    def setConnectionTimeout(self, timeout: float) -> None:
        """Seconds in which the server must answer, from the next :meth:`connect` on. Default 2, range 0.1 to 60. On
        the native wire it may then take longer to let the client in: as long as it is heard, an hour more at most."""
        self._config.set_seconds("handshake_timeout", timeout)

    def setMessageTimeout(self, timeout: float) -> None:
        """Seconds without acknowledgement after which a message that is not guaranteed counts as lost, from the next
        :meth:`connect` on. Default 1, range 0.05 to 60."""
        self._config.set_seconds("message_timeout", timeout)

    def setSendRate(self, bytes_per_second: int) -> None:
        """Sets how many bytes per second the server is sent on average, from the next :meth:`connect` on. What is above
        it waits in the queue. Default 0: no limit, else 1000 to 1,000,000,000."""
        self._config.set_send_rate(bytes_per_second)

    def connect(self, addr: Address, callback: Optional[Callback] = None) -> None:
        """Begins to connect; :meth:`update` carries on. A session before it ends at once.

        :param addr: (host, port); a name is looked up in the background
        :param callback: called once in :meth:`update`, with True when messages flow, with False when they will not
        """
        self.forceDisconnect()
        self._messages.clear()
        self.end_code, self.end_reason = 0, ""
        self._session = self._config.open(addr)
        self._answer = callback

    def connected(self) -> bool:
        """Whether messages flow."""
        return self.status() is ConnectionStatus.CONNECTED

    def status(self) -> ConnectionStatus:
        """Where the session stands."""
        if self._session is None:
            return ConnectionStatus.DISCONNECTED
        status = self._session.status
        if self._leaving is not None and status is ConnectionStatus.CONNECTED:
            return ConnectionStatus.DISCONNECTING
        return status

    def token(self) -> int:
        """The session's public number, as the server knows it; 0 before it is known."""
        return 0 if self._session is None else self._session.token

    def latency(self) -> float:
        """Seconds that a message takes one way, smoothed; 0 until known."""
        return 0.0 if self._session is None else self._session.latency

    def stats(self) -> ConnectionStats:
        """The session's counts now."""
        return ConnectionStats() if self._session is None else self._session.stats

    def server_clock(self) -> Optional[float]:
        """The server's clock as this end estimates it: seconds since the server started. None before the server was
        heard, and on mpgameserver's wire, which does not tell."""
        return None if self._session is None else self._session.server_clock

    def server_tick(self) -> Optional[float]:
        """The server's tick as this end estimates it, with the part of the next one that has passed. None as with
        :meth:`server_clock`."""
        return None if self._session is None else self._session.server_tick

    def simulate(self, direction: Union[Direction, int], conditions: Optional[Conditions]) -> None:
        """Lets the session's datagrams of one direction pass a bad network from now on, to see how the game plays on
        one; None ends it. Right after :meth:`connect` that is from the first datagram on; the next session has none.
        What it did is in :meth:`stats`.

        :raises ValueError: a value of the conditions is out of its range
        :raises StateError: nobody called :meth:`connect`
        """
        if self._session is None:
            raise StateError(_codes.GK_ERR_STATE, "there is no session")
        self._session.simulate(direction, conditions)

    def server_native_key(self) -> bytes:
        """The key that the server has proved on the native wire, 32 bytes. Raises StateError before that."""
        if self._session is None:
            raise StateError(_codes.GK_ERR_STATE, "there is no session")
        return self._session.native_key

    def update(self, delta_t: float = 0) -> None:
        """Sends and receives, and calls the callbacks. To be called once per frame.

        :param delta_t: not used; some game loops pass it
        """
        session = self._session
        if session is None:
            self._tell_refused()
            return
        session.poll()
        self._tell_refused()
        self._take(session)
        if self._leaving is not None and self._session is session:
            if not session.has_queued or time.monotonic() >= self._leaving:
                session.disconnect()

    def send(
        self,
        msg: bytes,
        retry: Union[RetryMode, int] = RetryMode.RETRY_ON_TIMEOUT,
        callback: Optional[Callback] = None,
        *,
        channel: int = 0,
        priority: int = _codes.GK_PRIORITY_NORMAL,
        redundancy: int = 0,
    ) -> None:
        """Queues a message. While not connected nothing is sent.

        :param msg: bytes, also none; long messages travel in pieces
        :param retry: how it is delivered, a RetryMode or its number; as in mpgameserver's client, guaranteed unless
            said otherwise
        :param callback: called once in :meth:`update` or when the session is given up, with True when the server has
            acknowledged all of the message, else with False; what is acknowledged is held by the server's end, which
            hands an ordered message over in its turn
        :param channel: of SEQUENCED and ORDERED messages, 0 to 255
        :param priority: 0, urgent, to 3, bulk
        :param redundancy: in how many more datagrams it travels at once, 0 to 4
        :raises TypeError: the message is not bytes
        :raises ValueError: not possible on this wire; or, as MessageTooLarge, too long a message
        :raises WouldBlock: the queue is full; nothing was queued, and the callback is not called
        """
        mode = RetryMode(retry).value
        if not isinstance(msg, bytes):
            raise TypeError("the message is {}, not bytes".format(type(msg).__name__))
        session = self._session
        tag = None if session is None or callback is None else next(session.tags)
        options = _ffi.send_options(mode, tag, channel, priority, redundancy)
        queued = session is not None and self._leaving is None and session.send(msg, options)
        if not queued:
            logger.debug("message of %d bytes not sent: not connected", len(msg))
            if callback is not None:
                self._refused.append(callback)
        elif tag is not None and callback is not None:
            self._callbacks[tag] = callback

    def send_guaranteed(self, payload: bytes, callback: Optional[Callback] = None) -> None:
        """Queues a message that is sent until acknowledged: ``send`` with RetryMode.RETRY_ON_TIMEOUT."""
        self.send(payload, RetryMode.RETRY_ON_TIMEOUT, callback)

    def setFiles(self, offered: Optional[Callable[[FileOffer], None]] = None) -> None:
        """Lets files be sent to the server and received from it, where it allows it too, from the next :meth:`connect` on.

        :param offered: called in :meth:`update` with each FileOffer, whose ``accept`` or ``refuse`` it calls, now or later;
            None: all are refused
        """
        self._config.allow_files()
        self._offered = offered

    def _files(self) -> Tuple[Files, Optional[int]]:
        if self._session is None:
            raise StateError(_codes.GK_ERR_STATE, "there is no session")
        return self._session.files, None

    def cancel_file(self, file: int) -> bool:
        """Gives a file up that is being sent; False: it has ended already."""
        return self._session is not None and super().cancel_file(file)

    def hasMessages(self) -> bool:
        """Whether messages of the server wait."""
        return bool(self._messages)

    def getMessage(self) -> Tuple[SeqNum, bytes]:
        """Takes the oldest message: (its number, bytes). Raises IndexError where none waits."""
        return self._messages.popleft()

    def getMessages(self) -> List[Tuple[SeqNum, bytes]]:
        """Takes all messages that wait, oldest first."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def disconnect(self) -> None:
        """Asks for the end: :meth:`update` says goodbye when what is queued is acknowledged, after a second at the
        latest. Messages queued from now on are not sent."""
        if self._session is not None and self._leaving is None:
            self._leaving = time.monotonic() + _GOODBYE_S

    def waitForDisconnect(self) -> None:
        """Ends the session when what is queued is acknowledged and the server has heard the goodbye; waits for that,
        a second at most. What has arrived can still be taken."""
        session = self._session
        if session is not None:
            session.disconnect_wait(_GOODBYE_S)
            self._give_up(session)

    def forceDisconnect(self) -> None:
        """Ends the session at once."""
        if self._session is not None:
            self._session.disconnect()
            self._give_up(self._session)

    def _give_up(self, session: Session) -> None:
        """Lets go of a session; all callbacks are told before."""
        session.stop()
        # It has stopped: the queue of events can only get shorter.
        while self._take(session, all_of_them=True):
            pass
        self._session, self._leaving = None, None
        self._answered(False)
        for tag in list(self._callbacks):
            self._sent(tag, False)
        self._tell_refused()

    def _take(self, session: Session, all_of_them: bool = False) -> int:
        """Takes a batch of events after the other while there is room for messages; gives how many."""
        taken = 0
        while all_of_them or len(self._messages) < _MAX_MESSAGES:
            # The events first, then what they call: a callback may connect anew.
            batch = [self._copied(session, event) for event in session.take()]
            for told in batch:
                if told is not None:
                    told()
            taken += len(batch)
            if not batch or self._session is not session:
                break
        return taken

    def _copied(self, session: Session, event: Any) -> Optional[Callable[[], None]]:
        """What is to be called about an event, which is not needed for it any more."""
        if event.type == _codes.GK_EVENT_FILE_OFFER:
            offer = FileOffer(session.files, None, event)
            return lambda: self._on_offer(offer)
        if event.type in FILE_EVENTS:
            return session.files.take(None, event)
        told = (event.type, event.code, event.sequence, event.user_data, text_of(event), data_of(event))
        return lambda: self._on_event(*told)

    def _on_event(self, kind: int, code: int, sequence: int, tag: Optional[int], text: str, data: bytes) -> None:
        if kind == _codes.GK_EVENT_MESSAGE:
            number = (sequence - 1) % _SEQUENCE_RING + 1 if sequence else 0
            self._messages.append((SeqNum(number), data))
        elif kind == _codes.GK_EVENT_SENT and tag is not None:
            self._sent(tag, code == _codes.GK_SENT_DELIVERED)
        elif kind == _codes.GK_EVENT_CONNECT:
            self._answered(True)
        elif kind == _codes.GK_EVENT_DISCONNECT:
            self.end_code, self.end_reason = code, text
            self._answered(False)

    def _on_offer(self, offer: FileOffer) -> None:
        try:
            if self._offered is None:
                offer.refuse()
            else:
                self._offered(offer)
        except Exception:
            logger.exception("error in a callback of the client")
            offer.refuse()

    def _answered(self, connected: bool) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            _call(answer, connected)

    def _sent(self, tag: int, delivered: bool) -> None:
        callback = self._callbacks.pop(tag, None)
        if callback is not None:
            _call(callback, delivered)

    def _tell_refused(self) -> None:
        # A callback may add others: they wait.
        for _ in range(len(self._refused)):
            _call(self._refused.popleft(), False)


def _call(callback: Callback, value: bool) -> None:
    try:
        callback(value)
    except Exception:
        logger.exception("error in a callback of the client")
