"""The enumerations, with the numbers that mpgameserver's users know, and its sequence number."""

from enum import IntEnum
from typing import Optional

from . import _codes


class _Named(IntEnum):
    # Shown as "RetryMode.NONE" by every Python: 3.11 changed what str() and format() give for an IntEnum.
    def __repr__(self) -> str:
        return "{}.{}".format(type(self).__name__, self.name)

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class RetryMode(_Named):
    """How a message is delivered. Every mode delivers it at most once. The last two are gamekeeper's own: on
    mpgameserver's wire, which cannot order messages, they raise ValueError."""

    #: Sent once.
    NONE = _codes.GK_RETRY_NONE
    #: Sent again until acknowledged or until the message timeout has passed.
    BEST_EFFORT = _codes.GK_RETRY_BEST_EFFORT
    #: Sent again until acknowledged, for as long as the connection lives.
    RETRY_ON_TIMEOUT = _codes.GK_RETRY_ON_TIMEOUT
    #: Sent once; one that is older than another of its channel that has arrived is left out.
    SEQUENCED = _codes.GK_RETRY_SEQUENCED
    #: Sent again until acknowledged, and delivered in the order in which its channel was given the messages.
    ORDERED = _codes.GK_RETRY_ORDERED


class ConnectionStatus(_Named):
    """Where a client stands."""

    #: The handshake is under way.
    CONNECTING = _codes.GK_STATUS_CONNECTING
    #: Messages flow.
    CONNECTED = _codes.GK_STATUS_CONNECTED
    #: The end has been asked for; what is queued is still being delivered.
    DISCONNECTING = _codes.GK_STATUS_DISCONNECTING
    #: Ended by one of the two sides.
    DISCONNECTED = _codes.GK_STATUS_DISCONNECTED
    #: Ended by silence.
    DROPPED = _codes.GK_STATUS_DROPPED
    #: It proved itself, and waits for the game's decision.
    JOINING = _codes.GK_STATUS_JOINING


class Framing(_Named):
    """How messages are told apart in a stream."""

    #: Not at all: whatever one read brought is a message.
    RAW = _codes.GK_FRAMING_RAW
    #: Each has its length in front, 32 bits, big-endian.
    LENGTH = _codes.GK_FRAMING_LENGTH
    #: Each is a line; its end is no part of it.
    LINES = _codes.GK_FRAMING_LINES
    #: Each has a JSON header in front, and its length, 16 bits, big-endian.
    JSON = _codes.GK_FRAMING_JSON


class Direction(_Named):
    """Which datagrams are meant, as the server sees them."""

    #: Those that it receives.
    RECEIVE = _codes.GK_DIRECTION_RECEIVE
    #: Those that it sends.
    SEND = _codes.GK_DIRECTION_SEND


class SeqNum(int):
    """A message's number: an integer that counts from 1 to 65535 and then from 1 again; 0 is 'none'.

    Sums, differences and comparisons of two sequence numbers are those of the ring, so that the
    number after 65535 counts as newer than it.
    """

    _RING = 0xFFFF

    def __new__(cls, value: Optional[int] = None) -> "SeqNum":
        number = 0 if value is None else value
        if not 0 <= number <= cls._RING:
            raise ValueError("a sequence number lies between 0 and {}, not {}".format(cls._RING, number))
        return super().__new__(cls, number)

    @classmethod
    def maximum(cls) -> "SeqNum":
        """The largest number, 65535."""
        return cls(cls._RING)

    def _step(self, count: int) -> "SeqNum":
        # Never 0: what follows the largest number is 1.
        return type(self)((int(self) + count - 1) % self._RING + 1)

    def __add__(self, other: int) -> "SeqNum":
        return self._step(int(other))

    def __sub__(self, other: int) -> "SeqNum":
        return self._step(-int(other))

    def diff(self, other: int) -> int:
        """How many numbers this one is ahead of ``other``; negative when it is behind. At most half the ring."""
        ahead = int(self) - int(other)
        half = self._RING // 2
        if ahead > half:
            return ahead - self._RING
        if ahead < -half:
            return ahead + self._RING
        return ahead

    def newer_than(self, other: int) -> bool:
        """Whether this number was given out after ``other``."""
        return self.diff(other) > 0

    def __lt__(self, other: int) -> bool:
        return self.diff(other) < 0 if isinstance(other, SeqNum) else int(self) < other

    def __gt__(self, other: int) -> bool:
        return self.diff(other) > 0 if isinstance(other, SeqNum) else int(self) > other

    def __le__(self, other: int) -> bool:
        return self.diff(other) <= 0 if isinstance(other, SeqNum) else int(self) <= other

    def __ge__(self, other: int) -> bool:
        return self.diff(other) >= 0 if isinstance(other, SeqNum) else int(self) >= other
