"""Many messages with one crossing into the library, both ways.

ctypes makes an object for each structure and each field that Python looks at, which costs more than the library's work
for a message. So the batches of events and of messages to send are read and written here as plain arrays of 64-bit
words, a whole column at once. Where pointers have another size, :data:`WIDE` is False and nothing of this is used.
"""

import ctypes
import functools
import struct
from array import array
from itertools import accumulate
from typing import Any, List, Tuple

from . import _ffi
from .enums import SeqNum

#: Whether the columns below are where they are expected.
WIDE = ctypes.sizeof(ctypes.c_void_p) == 8 and array("Q").itemsize == 8

_event, _item = _ffi.gk_event, _ffi.gk_send_item
_EVENT_WORDS = ctypes.sizeof(_event) // 8
_EVENT_HALVES = ctypes.sizeof(_event) // 4
_TYPE = _event.type.offset // 4
_SEQUENCE = _event.sequence.offset // 4
_DOOR = _event.door.offset // 4
_CONTENT = _event.content.offset // 8
_PEER = _event.peer.offset // 8
_DATA = _event.data.offset // 8
_LEN = _event.len.offset // 8

_ITEM_SIZE = ctypes.sizeof(_item)
_ITEM_WORDS = _ITEM_SIZE // 8
_ITEM_HALVES = _ITEM_SIZE // 4
_TO = _item.peer.offset // 8
_FROM = _item.data.offset // 8
_BYTES = _item.len.offset // 8
_RESULT = _item.result.offset // 4

#: The largest sequence number that :class:`SeqNum` knows.
_RING = 0xFFFF


@functools.lru_cache(1)
def _sequence_numbers() -> Tuple[SeqNum, ...]:
    """All of the ring: to look one up costs a fifth of what it costs to make one."""
    return tuple(SeqNum(number) for number in range(_RING + 1))


class Columns:
    """The fields of a batch of events. It looks at the array's memory, so it is good for every batch in it."""

    def __init__(self, events: Any) -> None:
        memory = memoryview(events).cast("B")
        self._words, self._halves = memory.cast("Q"), memory.cast("I")

    def types(self, count: int) -> bytearray:
        """What the first so many events are."""
        return bytearray(self._halves[_TYPE : count * _EVENT_HALVES : _EVENT_HALVES].tolist())

    def doors(self, count: int) -> List[int]:
        """How the peers of the first so many events came in, where the event tells."""
        doors: List[int] = self._halves[_DOOR : count * _EVENT_HALVES : _EVENT_HALVES].tolist()
        return doors

    def contents(self, count: int) -> List[int]:
        """Of the first so many events: where it stands what their messages are, 0 where that is not told."""
        contents: List[int] = self._words[_CONTENT : count * _EVENT_WORDS : _EVENT_WORDS].tolist()
        return contents

    def messages(self, start: int, end: int) -> Tuple[List[int], List[SeqNum], List[bytes]]:
        """Of events that are all messages: from whom, the sender's numbers, the bytes."""
        words, first, last = self._words, start * _EVENT_WORDS, end * _EVENT_WORDS
        peers: List[int] = words[first + _PEER : last : _EVENT_WORDS].tolist()
        addresses: List[int] = words[first + _DATA : last : _EVENT_WORDS].tolist()
        lengths: List[int] = words[first + _LEN : last : _EVENT_WORDS].tolist()
        halves = self._halves[start * _EVENT_HALVES + _SEQUENCE : end * _EVENT_HALVES : _EVENT_HALVES]
        sequences: List[int] = halves.tolist()
        if max(sequences) > _RING:
            # Of the native wire's numbers, which have 32 bits, those that the ring has.
            sequences = [(n - 1) % _RING + 1 if n else 0 for n in sequences]
        numbers = list(map(_sequence_numbers().__getitem__, sequences))
        return peers, numbers, _read(addresses, lengths)


def run_of(types: bytearray, kind: int, start: int) -> int:
    """Behind the last of the events of a kind that begin at a place."""
    rest = types[start:]
    return len(types) - len(rest.lstrip(bytes((kind,))))


def _read(addresses: List[int], lengths: List[int]) -> List[bytes]:
    """The bytes at these addresses."""
    count, base, length = len(addresses), addresses[0], lengths[0]
    # Games send many messages of one length.
    if length and lengths.count(length) == count and addresses[-1] == base + (count - 1) * length:
        if addresses == list(range(base, base + count * length, length)):
            form = struct.Struct("{}s".format(length) * count)
            return list(form.unpack(ctypes.string_at(base, count * length)))
    ends = list(accumulate(lengths))
    starts = [0] + ends
    # The library puts short messages one behind the other: then they are read at once.
    if addresses == [base + at for at in starts[:-1]]:
        block = ctypes.string_at(base, ends[-1])
        return [block[start:end] for start, end in zip(starts, ends)]
    at = ctypes.string_at
    return [at(address, length) for address, length in zip(addresses, lengths)]


def _blank(options: Tuple[int, int, int, int]) -> bytes:
    """An item with everything but its message."""
    # For its checks of what ctypes would cut off.
    _ffi.send_options(options[0], None, *options[1:])
    item = _item()
    _ffi.check(_ffi.lib.gk_send_item_init(ctypes.byref(item), _ITEM_SIZE))
    item.retry, item.channel, item.priority, item.redundancy = options
    return bytes(item)


def send_many(
    pointer: ctypes.c_void_p, peers: List[int], payloads: List[bytes], options: Tuple[int, int, int, int]
) -> List[int]:
    """Queues a message for each peer; gives the library's answer for each, or nothing when all were taken.

    :param options: retry mode, channel, priority, redundancy
    """
    count = len(payloads)
    lengths = array("Q", map(len, payloads))
    block = ctypes.c_char_p(b"".join(payloads))
    base = ctypes.cast(block, ctypes.c_void_p).value or 0
    items = array("Q")
    items.frombytes(_blank(options) * count)
    items[_TO::_ITEM_WORDS] = array("Q", peers)
    items[_FROM::_ITEM_WORDS] = array("Q", accumulate(lengths, initial=base))[:-1]
    items[_BYTES::_ITEM_WORDS] = lengths
    queued = ctypes.c_size_t()
    _ffi.check(
        _ffi.lib.gk_server_send_many(pointer, items.buffer_info()[0], _ITEM_SIZE, count, ctypes.byref(queued))
    )
    if queued.value == count:
        return []
    results: List[int] = memoryview(items).cast("B").cast("i")[_RESULT::_ITEM_HALVES].tolist()
    return results
