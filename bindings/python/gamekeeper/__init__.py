"""gamekeeper: a game server that you embed, from Python.

Make a subclass of :class:`EventHandler`, give it to a :class:`ServerContext`, give that to a
:class:`TwistedServer` and call its ``run()``. The clients are those of mpgameserver.
"""

from . import aio, http
from ._ffi import LibraryError
from ._files import FileEnd, FileError, FileOffer
from ._log import logger
from ._version import __version__
from .client import Client, ConnectionStats
from .conditions import Conditions, LinkStats
from .context import ServerContext
from .dashboard import GuiServer
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
from .http import (
    ErrorResponse,
    HTTPServer,
    JsonResponse,
    Request,
    Resource,
    Response,
    Router,
    SerializableResponse,
    WebSocket,
    WebSocketOpCode,
    delete,
    get,
    header,
    param,
    path_join_safe,
    post,
    put,
    websocket,
)
from .http_client import HTTPClient
from .keys import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from .server import ThreadedServer, TwistedServer
from .streams import Server
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
    "ErrorResponse",
    "EventHandler",
    "FileEnd",
    "FileError",
    "FileOffer",
    "Framing",
    "GamekeeperError",
    "GuiServer",
    "HTTPClient",
    "HTTPServer",
    "InvalidSignature",
    "JsonResponse",
    "KeyFormatError",
    "LibraryError",
    "LinkStats",
    "MessageTooLarge",
    "NetworkError",
    "Request",
    "Resource",
    "Response",
    "RetryMode",
    "Router",
    "SECP256R1",
    "SeqNum",
    "SerializableResponse",
    "Server",
    "ServerContext",
    "ServerPanic",
    "SessionEnded",
    "StalePeerError",
    "StateError",
    "ThreadedServer",
    "TwistedServer",
    "UdpClient",
    "WebSocket",
    "WebSocketOpCode",
    "WouldBlock",
    "__version__",
    "aio",
    "delete",
    "get",
    "header",
    "http",
    "logger",
    "param",
    "path_join_safe",
    "post",
    "put",
    "websocket",
]
