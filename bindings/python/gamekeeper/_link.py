"""What a server and its clients share: the library's handle, and who waits for word of a message."""

import ctypes
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, Optional, Tuple

from . import _ffi, _fork
from ._codes import GK_ERR_STALE, GK_ERR_STATE, GK_OK, GK_RETRY_NONE
from ._files import Files
from .stream_client import Content, tell

if TYPE_CHECKING:
    from .client import Client

SendCallback = Callable[[bool], None]

# Options without a tag are the same for every message: the library only reads them.
_PLAIN = {retry: _ffi.send_options(retry) for retry in (-1, 1, 2, 3)}


class Link:
    """One server's handle. It is freed with the last object that could still use it, never under a call:
    a client object may outlive its server and be used on any thread."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self.pointer = pointer
        self._free = _ffi.lib.gk_server_free
        _fork.watch(pointer)
        self._tags = itertools.count(1)
        #: Who waits for a GK_EVENT_SENT, by its tag. Bounded by the library's queues of messages.
        self._waiting: Dict[int, Tuple["Client", SendCallback]] = {}
        #: Callbacks of messages that were never queued, for the server's thread.
        self._refused: Deque[Tuple["Client", SendCallback]] = deque()
        # One thread may take it twice: a signal's handler may send wherever the thread is.
        self._lock = threading.RLock()
        self._closed = False
        _fork.renew(self)
        self.files = Files("server", pointer)
        #: Clients that were let in and whose connect event is still to come: the same objects stand for them.
        self.accepted: Dict[int, "Client"] = {}

    def _forked(self) -> None:
        self._lock = threading.RLock()

    def __del__(self) -> None:
        self._free(self.pointer)

    def wake(self) -> None:
        """Makes a waiting poll return."""
        _ffi.lib.gk_server_wake(self.pointer)

    def send(
        self,
        client: "Client",
        peer: int,
        payload: bytes,
        retry: int,
        callback: Optional[SendCallback],
        more: Optional[Tuple[int, int, int]] = None,
        content: Optional[Content] = None,
    ) -> bool:
        """Queues a message, with channel, priority and redundancy if they are not the defaults; False where the
        client is gone (the callback is then told so)."""
        if callback is None:
            if more is not None or content is not None:
                options: Optional[_ffi.gk_send_options] = tell(_ffi.send_options(retry, None, *(more or ())), content)
            else:
                options = None if retry == GK_RETRY_NONE else _PLAIN[retry]
            result = _ffi.lib.gk_server_send(self.pointer, peer, payload, len(payload), options)
            if result == GK_OK:
                return True
        else:
            tag = next(self._tags)
            options = tell(_ffi.send_options(retry, tag, *(more or ())), content)
            # Before the call: the server's thread may have the event before the call returns here.
            self._waiting[tag] = (client, callback)
            result = _ffi.lib.gk_server_send(self.pointer, peer, payload, len(payload), options)
            if result == GK_OK:
                return True
            del self._waiting[tag]
        if result not in (GK_ERR_STALE, GK_ERR_STATE):
            raise _ffi.error(result)
        if callback is not None:
            self.refuse(client, callback)
        return False

    def send_each(self, peers: List[int], payloads: List[bytes], options: Tuple[int, int, int, int]) -> List[int]:
        """Queues a message for each peer, with a call for each; gives the library's answers."""
        native, send = _ffi.send_options(options[0], None, *options[1:]), _ffi.lib.gk_server_send
        return [
            send(self.pointer, peer, payload, len(payload), native) for peer, payload in zip(peers, payloads)
        ]

    @property
    def has_refused(self) -> bool:
        """Whether :meth:`tell_refused` has somebody to tell."""
        return bool(self._refused)

    def refuse(self, client: "Client", callback: SendCallback) -> None:
        """Tells a callback False, on the server's thread while there is one."""
        with self._lock:
            if not self._closed:
                self._refused.append((client, callback))
                self.wake()
                return
        _call(client, callback, False)

    def sent(self, tag: int, delivered: bool) -> None:
        """Tells the callback that waits for a tag."""
        waiting = self._waiting.pop(tag, None)
        if waiting is not None:
            _call(waiting[0], waiting[1], delivered)

    def tell_refused(self) -> None:
        """Tells the callbacks of messages that were never queued. A callback may add others: they wait."""
        for _ in range(len(self._refused)):
            client, callback = self._refused.popleft()
            _call(client, callback, False)

    def close(self) -> None:
        """Tells every callback that still waits. Afterwards :meth:`refuse` calls on its caller's thread."""
        with self._lock:
            self._closed = True
        while self._refused:
            client, callback = self._refused.popleft()
            _call(client, callback, False)
        # The library answers for every tag before its last event; this is for a server that broke.
        for tag in list(self._waiting):
            self.sent(tag, False)


def _call(client: "Client", callback: SendCallback, delivered: bool) -> None:
    try:
        callback(delivered)
    except Exception:
        client.log.exception("error in the callback of a message")
