"""gamekeeper: a game server that you embed, from Python.

Make a subclass of :class:`EventHandler`, give it to a :class:`ServerContext`, give that to a
:class:`TwistedServer` and call its ``run()``. The clients are those of mpgameserver.
"""

from . import aio
from ._ffi import LibraryError
from ._log import logger
from ._version import __version__
from .client import Client, ConnectionStats
from .conditions import Conditions, LinkStats
from .context import ServerContext
from .enums import ConnectionStatus, Direction, Framing, RetryMode, SeqNum
from .errors import (
    AddressError,
    ArgumentError,
    GamekeeperError,
    InvalidSignature,
    KeyFormatError,
    MessageTooLarge,
    NetworkError,
    ServerPanic,
    SessionEnded,
    StalePeerError,
    StateError,
    WouldBlock,
)
from .handler import EventHandler
from .keys import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from .server import ThreadedServer, TwistedServer
from .udp_client import UdpClient

__all__ = [
    "AddressError",
    "ArgumentError",
    "Client",
    "Conditions",
    "ConnectionStats",
    "ConnectionStatus",
    "Direction",
    "EllipticCurvePrivateKey",
    "EllipticCurvePublicKey",
    "EventHandler",
    "Framing",
    "GamekeeperError",
    "InvalidSignature",
    "KeyFormatError",
    "LibraryError",
    "LinkStats",
    "MessageTooLarge",
    "NetworkError",
    "RetryMode",
    "SECP256R1",
    "SeqNum",
    "ServerContext",
    "ServerPanic",
    "SessionEnded",
    "StalePeerError",
    "StateError",
    "ThreadedServer",
    "TwistedServer",
    "UdpClient",
    "WouldBlock",
    "__version__",
    "aio",
    "logger",
]
