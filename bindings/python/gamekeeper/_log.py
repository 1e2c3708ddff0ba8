"""The package's logger, and one that names a client in every line."""

import functools
import logging
from typing import TYPE_CHECKING, Any, Callable, Dict, MutableMapping, Tuple

from . import _codes

#: Everything that this package logs.
logger = logging.getLogger("gamekeeper")

#: Below DEBUG, for what mpgameserver's users call trace.
TRACE = 9

LEVELS: Dict[int, int] = {
    _codes.GK_LOG_ERROR: logging.ERROR,
    _codes.GK_LOG_WARN: logging.WARNING,
    _codes.GK_LOG_INFO: logging.INFO,
    _codes.GK_LOG_DEBUG: logging.DEBUG,
}

if TYPE_CHECKING:
    # Before Python 3.11 the class takes no parameter at run time.
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class PeerLogger(_Adapter):
    """A logger that puts a client's address before each message."""

    #: Like ``debug``, one level lower.
    trace: Callable[..., None]

    def __init__(self, address: Tuple[str, int]) -> None:
        super().__init__(logger, {})
        # Without the scope of a link-local address: its '%' would be taken for a place to fill.
        host, port = address[0].split("%")[0], address[1]
        self._prefix = ("[{}]:{} " if ":" in host else "{}:{} ").format(host, port)
        # A method of its own would show up as the place that the line was logged from.
        self.trace = functools.partial(self.log, TRACE)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> Tuple[Any, MutableMapping[str, Any]]:
        return self._prefix + str(msg), kwargs
