"""Files, as servers and clients of all kinds send and receive them."""

import ctypes
import os
import threading
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, Union

from . import _codes, _ffi, _fork
from ._log import logger
from .errors import GamekeeperError

Path = Union[str, "os.PathLike[str]"]
#: Called with the bytes that are on the receiver's disk, and those in all.
Progress = Callable[[int, int], None]

FILE_EVENTS = (_codes.GK_EVENT_FILE_OFFER, _codes.GK_EVENT_FILE_PROGRESS, _codes.GK_EVENT_FILE_END)


class FileEnd(NamedTuple):
    """How the transfer of a file ended."""

    #: 0: whole, checked and in its place; else one of the ``GK_FILE_…`` constants of the C header.
    result: int
    #: Where a received file is; "" for one that was sent, and after a failure.
    path: str
    #: A failure in words; else "".
    reason: str
    #: Bytes in all.
    size: int

    @property
    def ok(self) -> bool:
        """Whether the file arrived."""
        return self.result == _codes.GK_FILE_DONE


FileCallback = Callable[[FileEnd], None]


class FileError(GamekeeperError, OSError):
    """A file did not arrive. ``result`` is one of the ``GK_FILE_…`` constants of the C header."""

    result: int

    def __init__(self, end: FileEnd) -> None:
        super().__init__(_codes.GK_ERR_IO, end.reason)
        self.result = end.result


class FileOffer:
    """A file that the other side offers. Call :meth:`accept` or :meth:`refuse`, now or later, on any thread."""

    #: Its name, reduced to a safe base name.
    name: str
    #: Bytes.
    size: int
    #: SHA-256 of it, 32 bytes.
    sha256: bytes

    def __init__(self, files: "Files", peer: Optional[int], event: Any) -> None:
        self._files, self._peer, self._file = files, peer, int(event.file)
        self.name = (event.text or b"").decode("utf-8", "replace")
        self.size = int(event.file_size)
        self.sha256 = ctypes.string_at(event.data, event.len)

    def __repr__(self) -> str:
        return "<FileOffer {!r} {} bytes>".format(self.name, self.size)

    def accept(
        self,
        directory: Path,
        name: Optional[str] = None,
        replace: bool = False,
        progress: Optional[Progress] = None,
        callback: Optional[FileCallback] = None,
    ) -> bool:
        """Takes the file.

        :param directory: where it goes; it must exist
        :param name: another name, of which the safe part is used
        :param replace: whether a file of this name is replaced; else the new one gets a number
        :param progress: called while it comes
        :param callback: called once with a FileEnd
        :returns: False: it is gone, or was decided about before; the callbacks are not called then
        """
        target = _ffi.gk_file_target(
            ctypes.sizeof(_ffi.gk_file_target),
            1 if replace else 0,
            _ffi.c_path(directory),
            None if name is None else _ffi.c_text(name),
        )
        with self._files.lock:
            result = self._files.call("accept_file", self._peer, self._file, ctypes.byref(target))
            if result == _codes.GK_OK:
                self._files.watch(self._peer, self._file, progress, callback)
        return _told(result)

    def refuse(self, why: str = "") -> bool:
        """Does not take the file; ``why`` (255 bytes at most) is told to who offers it. False: it is gone, or was decided
        about before."""
        return _told(self._files.call("refuse_file", self._peer, self._file, _ffi.c_text(why)))


class Files:
    """The files of one server or one client of the library's."""

    def __init__(self, kind: str, pointer: ctypes.c_void_p) -> None:
        self._kind, self._pointer = kind, pointer
        # An event may come on another thread before the call that it is about has returned.
        self.lock = threading.RLock()
        _fork.renew(self)
        self._watched: Dict[Tuple[int, int], Tuple[Optional[Progress], Optional[FileCallback]]] = {}

    def _forked(self) -> None:
        self.lock = threading.RLock()

    def call(self, function: str, peer: Optional[int], *arguments: Any) -> int:
        of = () if peer is None else (peer,)
        return int(getattr(_ffi.lib, "gk_{}_{}".format(self._kind, function))(self._pointer, *of, *arguments))

    def watch(
        self, peer: Optional[int], file: int, progress: Optional[Progress], callback: Optional[FileCallback]
    ) -> None:
        if progress is not None or callback is not None:
            self._watched[peer or 0, file] = progress, callback

    def send(
        self,
        peer: Optional[int],
        path: Path,
        name: Optional[str],
        progress: Optional[Progress],
        callback: Optional[FileCallback],
    ) -> int:
        """Sends a file; its number."""
        options = _ffi.gk_file_options(
            ctypes.sizeof(_ffi.gk_file_options), 0, None if name is None else _ffi.c_text(name), None, None
        )
        number = ctypes.c_uint64()
        with self.lock:
            arguments = (_ffi.c_path(path), ctypes.byref(options), None, ctypes.byref(number))
            _ffi.check(self.call("send_file", peer, *arguments))
            self.watch(peer, number.value, progress, callback)
        return number.value

    def cancel(self, peer: Optional[int], file: int) -> bool:
        """Gives a file up; False: it is gone."""
        return _told(self.call("cancel_file", peer, file))

    def take(self, peer: Optional[int], event: Any) -> Optional[Callable[[], None]]:
        """What is to be called about an event of a file, if anything; the event is not needed for it any more."""
        with self.lock:
            key = (peer or 0, int(event.file))
            progress, callback = self._watched.get(key, (None, None))
            if event.type == _codes.GK_EVENT_FILE_END:
                self._watched.pop(key, None)
        if event.type == _codes.GK_EVENT_FILE_PROGRESS and progress is not None:
            return _guarded(progress, event.file_done, event.file_size)
        if event.type == _codes.GK_EVENT_FILE_END and callback is not None:
            return _guarded(callback, end_of(event))
        return None

    def handle(self, peer: Optional[int], event: Any) -> None:
        """Tells the callbacks of a file about an event."""
        told = self.take(peer, event)
        if told is not None:
            told()


def _guarded(function: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    def call() -> None:
        try:
            function(*arguments)
        except Exception:
            logger.exception("error in the callback of a file")

    return call


def end_of(event: Any) -> FileEnd:
    """A GK_EVENT_FILE_END as a FileEnd."""
    text = (event.text or b"").decode("utf-8", "replace")
    arrived = event.code == _codes.GK_FILE_DONE
    return FileEnd(event.code, text if arrived else "", "" if arrived else text, event.file_size)


def quota(
    max_file_bytes: int,
    files_per_peer: int,
    bytes_per_peer: int,
    files_total: int,
    bytes_total: int,
    count_per_peer: int = 65536,
    count_total: int = 0,
) -> _ffi.gk_file_quota:
    """How much is received, as the library takes it."""
    size = ctypes.sizeof(_ffi.gk_file_quota)
    given = (files_per_peer, files_total, max_file_bytes, bytes_per_peer, bytes_total, count_per_peer, count_total)
    if not all(0 <= value < 2**63 for value in given) or not max(given[:2]) < 2**32:
        raise ValueError("a quota of files is out of its range: {}".format(given))
    return _ffi.gk_file_quota(size, *given[:2], 0, *given[2:])


def _told(result: int) -> bool:
    if result not in (_codes.GK_OK, _codes.GK_ERR_STALE, _codes.GK_ERR_STATE):
        raise _ffi.error(result)
    return result == _codes.GK_OK
