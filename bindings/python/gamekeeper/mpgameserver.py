"""The names of the package mpgameserver, for programs that were written for it.

Change ``from mpgameserver import …`` to ``from gamekeeper.mpgameserver import …``. What that package's documentation of
its server, client and HTTP names is gamekeeper's own. Everything else of it (serialization, dispatch, the engine over pygame)
has no network in it and comes from the installed package when it is asked for; where that is not installed, asking fails
with an ImportError that says so.
"""

import importlib
import logging
import logging.handlers
import os
from typing import Any, Callable, List, Optional, Tuple, Union

from . import (
    Client,
    ConnectionStats,
    ConnectionStatus,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    ErrorResponse,
    EventHandler,
    GamekeeperError,
    GuiServer,
    HTTPClient,
    HTTPServer,
    JsonResponse,
    Request,
    Resource,
    Response,
    RetryMode,
    Router,
    SeqNum,
    SerializableResponse,
    ServerContext,
    ThreadedServer,
    TwistedServer,
    UdpClient,
    WebSocketOpCode,
    __version__,
    delete,
    get,
    header,
    param,
    path_join_safe,
    post,
    put,
    websocket,
)

__all__ = [
    "Client",
    "ConnectionStats",
    "ConnectionStatus",
    "EllipticCurvePrivateKey",
    "EllipticCurvePublicKey",
    "ErrorResponse",
    "EventHandler",
    "GuiServer",
    "HTTPClient",
    "HTTPServer",
    "JsonResponse",
    "ProtocolError",
    "Request",
    "Resource",
    "Response",
    "RetryMode",
    "Router",
    "SeqNum",
    "SerializableResponse",
    "ServerContext",
    "ThreadedServer",
    "Timer",
    "TwistedServer",
    "UdpClient",
    "WebSocketOpCode",
    "__version__",
    "delete",
    "get",
    "header",
    "param",
    "path_join_safe",
    "post",
    "put",
    "setupLogger",
    "websocket",
]

#: Of a log file that :func:`setupLogger` names: bytes of one, and how many older ones are kept.
_LOG_BYTES = 1024 * 1024
_LOGS_KEPT = 5


class ProtocolError(GamekeeperError):
    """What that package raises inside itself for a datagram that breaks the protocol. gamekeeper drops and counts such
    datagrams and never raises this; it is here for programs that catch it."""


class Timer:
    """Calls a function after every so many seconds of a game's own time, which :meth:`update` is told."""

    #: Seconds of a frame. A timer that is due within half a frame fires now, not a frame too late.
    INTERVAL = 1 / 60

    def __init__(self, duration: float = 0, callback: Optional[Callable[[], Any]] = None) -> None:
        """
        :param duration: seconds from one call to the next
        :param callback: what is called
        """
        self.elapsed_t = 0.0
        self.setInterval(duration, callback)

    def setInterval(self, duration: float, callback: Optional[Callable[[], Any]]) -> None:
        """Sets another interval and another function. What has passed already counts."""
        self.expires_t = duration
        self.callback = callback

    def reset(self) -> None:
        """Begins anew."""
        self.elapsed_t = 0.0

    def update(self, delta_t: float) -> None:
        """Lets time pass, and calls the function if it is due: once, however much has passed.

        :param delta_t: seconds since the last call
        """
        self.elapsed_t += delta_t
        if self.elapsed_t < self.expires_t - self.INTERVAL / 2:
            return
        # After a long pause it begins anew instead of making up for what was missed.
        late = self.elapsed_t > 2 * self.expires_t
        self.elapsed_t = 0.0 if late else self.elapsed_t - self.expires_t
        if self.callback is not None:
            self.callback()


def setupLogger(logger_name: Optional[str], log_file: "Union[str, os.PathLike[str]]") -> logging.Logger:
    """Has a logger write what is INFO or above into a file, with time and place, in turns of 1 MiB of which five older ones
    are kept. The folder is made when it does not exist.

    :param logger_name: the logger's name; gamekeeper's is "gamekeeper"
    """
    folder = os.path.dirname(os.fspath(log_file))
    if folder:
        os.makedirs(folder, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(log_file, maxBytes=_LOG_BYTES, backupCount=_LOGS_KEPT)
    form = "%(asctime)s %(levelname)s %(pathname)s:%(funcName)s:%(lineno)d: %(message)s"
    handler.setFormatter(logging.Formatter(form))
    logger = logging.getLogger(logger_name)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return logger


#: Names that only the installed package has, and the extra packages that some of them need there.
_OUTSIDE: Tuple[str, ...] = (
    "AreaGraph",
    "Auth",
    "Captcha",
    "ClientMessageDispatcher",
    "Default",
    "LineGraph",
    "Serializable",
    "SerializableEnum",
    "SerializableType",
    "ServerMessageDispatcher",
    "TaskPool",
    "client_event",
    "pylon",
    "server_event",
)


def __getattr__(name: str) -> Any:
    if name in _OUTSIDE:
        return _installed(name)
    raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))


def __dir__() -> List[str]:
    return sorted(list(globals()) + list(_OUTSIDE))


def _installed(name: str) -> Any:
    """A name of the installed package mpgameserver."""
    try:
        package = importlib.import_module("mpgameserver")
    except ImportError as error:
        raise ImportError(
            "{} is not part of gamekeeper; it comes from the package mpgameserver, which cannot be imported ({}): "
            "pip install mpgameserver".format(name, error),
            name=__name__,
        ) from error
    # Its documentation names some that it keeps in a module of its own.
    for holder in (package, getattr(package, "http_server", None)):
        if hasattr(holder, name):
            return getattr(holder, name)
    raise ImportError(
        "{} is not part of gamekeeper, and the installed package mpgameserver does not have it either; some of its "
        "names need pygame or Pillow to be installed".format(name),
        name=__name__,
    )
