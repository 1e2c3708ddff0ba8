"""What the library's error codes become in Python."""

from typing import Dict, Optional, Sequence, Type

from . import _codes


class GamekeeperError(Exception):
    """An error with the library's number and one sentence for a person.

    Where Python has a natural class for an error, the subclass is also of that class, so that
    ``except ValueError`` or ``except OSError`` works for who does not know this package.
    """

    #: The library's number, one of the ``GK_ERR_…`` constants of its C header; negative.
    code: int
    #: One sentence.
    message: str
    #: Of ``send_many``: the places of the messages that were not queued because their client's queue is full.
    refused: Sequence[int] = ()
    #: Of ``send_many``: the places of those that were not queued for any other reason; the error is that of the first.
    failed: Sequence[int] = ()

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class ArgumentError(GamekeeperError, ValueError):
    """A value is out of its range, or malformed; the message names it."""


class StateError(GamekeeperError, RuntimeError):
    """The object is not in the state that the call needs."""


class StalePeerError(GamekeeperError, LookupError):
    """The client is gone."""


class WouldBlock(GamekeeperError):
    """The client's queue is full and nothing was queued.

    ``EventHandler.writable`` tells when there is room again.
    """


class MessageTooLarge(GamekeeperError, ValueError):
    """The message is longer than the largest that the server sends."""


class AddressError(GamekeeperError, OSError):
    """The address cannot be listened on."""


class NetworkError(GamekeeperError, OSError):
    """The operating system refused; the message carries its words."""


class KeyFormatError(GamekeeperError, ValueError):
    """A key cannot be read, or is of a kind that is not supported."""


class InvalidSignature(GamekeeperError):
    """A signature does not fit the key and the data."""


class ServerPanic(GamekeeperError, RuntimeError):
    """A defect of the library: the server has stopped working and answers nothing but this."""


class SessionEnded(GamekeeperError, ConnectionError):
    """There is no session, or it ended before what was asked for was done.

    ``reason`` is one of the ``GK_DISCONNECT_…`` constants of the C header, or what the other side's game gave; 0
    where there was none. ``app_code`` is the number that goes with it.
    """

    reason: int
    app_code: int

    def __init__(self, reason: int, app_code: int, message: str) -> None:
        super().__init__(_codes.GK_ERR_STATE, message)
        self.reason = reason
        self.app_code = app_code


_CLASSES: Dict[int, Type[GamekeeperError]] = {
    _codes.GK_ERR_NULL: ArgumentError,
    _codes.GK_ERR_ARGUMENT: ArgumentError,
    _codes.GK_ERR_UTF8: ArgumentError,
    _codes.GK_ERR_STATE: StateError,
    _codes.GK_ERR_REENTRANT: StateError,
    _codes.GK_ERR_BUSY: StateError,
    _codes.GK_ERR_STALE: StalePeerError,
    _codes.GK_ERR_WOULD_BLOCK: WouldBlock,
    _codes.GK_ERR_TOO_LARGE: MessageTooLarge,
    _codes.GK_ERR_ADDRESS: AddressError,
    _codes.GK_ERR_ADDRESS_IN_USE: AddressError,
    _codes.GK_ERR_IO: NetworkError,
    _codes.GK_ERR_KEY: KeyFormatError,
    _codes.GK_ERR_SIGNATURE: InvalidSignature,
    _codes.GK_ERR_PANIC: ServerPanic,
}


def from_code(code: int, message: Optional[str]) -> GamekeeperError:
    """The exception for one of the library's numbers."""
    kind = _CLASSES.get(code, GamekeeperError)
    return kind(code, message or "error {}".format(code))
