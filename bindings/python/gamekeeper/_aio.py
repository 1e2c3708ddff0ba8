"""What asyncio's clients and servers share: turns of the library in an event loop, events and outcomes that wait."""

import asyncio
import ctypes
import itertools
from collections import deque
from typing import Any, AsyncIterator, Awaitable, Callable, Deque, Dict, Generator, Generic, List, Optional, Tuple
from typing import TypeVar, Union

from . import _codes, _ffi
from ._log import LEVELS, logger
from ._session import text_of
from .enums import RetryMode
from .errors import GamekeeperError, SessionEnded
from .stream_client import Content, tell

#: Events that wait for whoever iterates. Above it they stay in the library, which then refuses messages.
_MAX_EVENTS = 10_000
#: Events taken from the library at once.
_BATCH = 256
#: Turns of the loop come back to others after so many batches.
_BATCHES_PER_TURN = 8

_Events = _ffi.gk_event * _BATCH
_T = TypeVar("_T")
_E = TypeVar("_E")
_Mode = Union[RetryMode, int]


class _Opening(Generic[_T]):
    """What can be awaited, and entered with ``async with`` whether it was awaited or not."""

    def __init__(self, opening: Awaitable[_T], leave: Callable[[_T], Awaitable[None]]) -> None:
        self._opening: Awaitable[_T] = opening
        self._leave = leave
        self._made: Optional[_T] = None

    def __await__(self) -> Generator[Any, None, _T]:
        return self._opening.__await__()

    async def __aenter__(self) -> _T:
        made = await self._opening
        self._made = made
        return made

    async def __aexit__(self, *_: Any) -> None:
        if self._made is not None:
            await self._leave(self._made)


class _Inbox(Generic[_E]):
    """The events that wait for whoever iterates."""

    def __init__(self) -> None:
        self.events: Deque[_E] = deque()
        self._more = asyncio.Event()
        self._closed = False
        self._error: Optional[BaseException] = None

    def put(self, event: _E) -> None:
        self.events.append(event)
        self._more.set()

    def close(self, error: Optional[BaseException] = None) -> None:
        if not self._closed:
            self._closed, self._error = True, error
            self._more.set()

    async def get(self) -> _E:
        while not self.events:
            if self._closed:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        return self.events.popleft()


class _Completions:
    """Who waits for word of a message. Bounded by the library's queues of messages."""

    def __init__(self) -> None:
        self._tags = itertools.count(1)
        self._waiting: Dict[int, Tuple[object, "asyncio.Future[bool]"]] = {}
        self._cancelled: List[Tuple[object, "asyncio.Future[bool]"]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, owner: object) -> Tuple[int, "asyncio.Future[bool]"]:
        tag, future = next(self._tags), asyncio.get_running_loop().create_future()
        self._waiting[tag] = (owner, future)
        return tag, future

    def drop(self, tag: int) -> None:
        self._waiting.pop(tag, None)

    def sent(self, event: Any) -> None:
        found = self._waiting.pop(event.user_data, None)
        if found is None:
            return
        if event.code == _codes.GK_SENT_CANCELLED:
            # The reason comes with the disconnect event, which follows.
            self._cancelled.append(found)
        elif not found[1].done():
            found[1].set_result(bool(event.code == _codes.GK_SENT_DELIVERED))

    def ended(self, owner: Optional[object], error: SessionEnded) -> None:
        """The session of an owner has ended; of None: all."""
        kept = []
        for entry in self._cancelled:
            if owner is not None and entry[0] is not owner:
                kept.append(entry)
            elif not entry[1].done():
                entry[1].set_exception(error)
        self._cancelled = kept

    def close(self, error: SessionEnded) -> None:
        self._cancelled += self._waiting.values()
        self._waiting.clear()
        self.ended(None, error)


class _Pump:
    """Runs a server or client of the library whenever its descriptor or its timeout says so."""

    def __init__(self, kind: str, pointer: ctypes.c_void_p, turn: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._pointer, self._turn = pointer, turn
        self._next_timeout = getattr(_ffi.lib, "gk_{}_next_timeout_us".format(kind))
        self._timer: Optional[asyncio.Handle] = None
        self._closed = False
        descriptor = ctypes.c_int32()
        _ffi.check(getattr(_ffi.lib, "gk_{}_descriptor".format(kind))(pointer, ctypes.byref(descriptor)))
        self._descriptor = descriptor.value
        self.loop.add_reader(self._descriptor, self._run)
        self.soon()

    def soon(self) -> None:
        """Has a turn run soon: something was asked for."""
        if not self._closed:
            self._set_timer(self.loop.call_soon(self._run))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.loop.remove_reader(self._descriptor)
            self._set_timer(None)

    def _set_timer(self, timer: Optional[asyncio.Handle]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _run(self) -> None:
        self._set_timer(None)
        self._turn()
        # The turn may have asked for another one, or closed this.
        if self._closed or self._timer is not None:
            return
        timeout = ctypes.c_uint64()
        if self._next_timeout(self._pointer, ctypes.byref(timeout)) == _codes.GK_OK:
            if timeout.value != _codes.GK_FOREVER:
                self._set_timer(self.loop.call_at(self.loop.time() + timeout.value / 1e6, self._run))


class _Host(Generic[_E]):
    """What a client and a server have in common: turns, events in batches, word of what was sent."""

    def __init__(self, kind: str, pointer: ctypes.c_void_p) -> None:
        self._pointer = pointer
        self._kind = kind
        self._events = _Events()
        self._inbox: _Inbox[_E] = _Inbox()
        self._sends = _Completions()
        self._closed = False
        self._pump = _Pump(kind, pointer, self._turn)

    def __aiter__(self) -> AsyncIterator[_E]:
        return self

    async def __anext__(self) -> _E:
        event = await self._inbox.get()
        self._taken(event)
        if len(self._inbox.events) == _MAX_EVENTS - 1:
            # What has stayed in the library can come.
            self._pump.soon()
        return event

    def _taken(self, event: _E) -> None:
        """Somebody has got an event."""

    def _call(self, function: str, *arguments: Any) -> int:
        return int(getattr(_ffi.lib, "gk_{}_{}".format(self._kind, function))(self._pointer, *arguments))

    def _turn(self) -> None:
        try:
            _ffi.check(self._call("poll", 0))
            for _ in range(_BATCHES_PER_TURN):
                if len(self._inbox.events) >= _MAX_EVENTS and not self._sends:
                    break
                if self._take() < _BATCH:
                    break
            else:
                self._pump.soon()
        except GamekeeperError as error:
            logger.exception("the %s has broken", self._kind)
            self._close(error)

    def _take(self) -> int:
        """Takes a batch of events."""
        count = ctypes.c_size_t()
        size = ctypes.sizeof(_ffi.gk_event)
        _ffi.check(self._call("next_events", self._events, size, _BATCH, ctypes.byref(count)))
        for index in range(count.value):
            event = self._events[index]
            if event.type == _codes.GK_EVENT_LOG:
                logger.log(LEVELS.get(event.code, 20), "%s", text_of(event))
            elif event.type == _codes.GK_EVENT_SENT:
                self._sends.sent(event)
            else:
                self._on_event(event)
        return count.value

    def _on_event(self, event: Any) -> None:
        raise NotImplementedError

    def _close(self, error: Optional[BaseException] = None) -> None:
        """Ends it at once and tells everybody who waits."""
        if self._closed:
            return
        self._closed = True
        self._pump.close()
        if self._call("stop") == _codes.GK_OK:
            # It has stopped: the queue of events can only get shorter.
            while self._take():
                pass
        self._sends.close(SessionEnded(_codes.GK_DISCONNECT_LOCAL, 0, "the {} has ended".format(self._kind)))
        self._inbox.close(error)


def _options(
    mode: _Mode, tag: Optional[int], channel: int, priority: int, redundancy: int, content: Optional[Content] = None
) -> _ffi.gk_send_options:
    return tell(_ffi.send_options(RetryMode(mode).value, tag, channel, priority, redundancy), content)
