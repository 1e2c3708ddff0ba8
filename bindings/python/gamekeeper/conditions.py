"""Bad networks to try a game on."""

import ctypes
from dataclasses import dataclass
from typing import Optional

from . import _ffi

_MAX_U64 = 0xFFFFFFFFFFFFFFFF


@dataclass
class Conditions:
    """What a simulated network does to the datagrams of one direction; the defaults do nothing.

    Chances are per datagram, 0 to 1. Times are seconds, up to 60. Values out of their range are refused where the
    conditions are used.
    """

    #: Chance of being lost, each datagram for itself.
    loss: float = 0.0
    #: Chance that a burst begins, in which everything is lost.
    burst_loss: float = 0.0
    #: Mean length of a burst in datagrams, 1 to 10,000.
    burst_length: float = 1.0
    #: How long each datagram travels.
    delay: float = 0.0
    #: How far that may lie above or below; never below 0. It reorders.
    jitter: float = 0.0
    #: Chance of arriving twice.
    duplicate: float = 0.0
    #: Chance of being held back, so that later ones pass.
    reorder: float = 0.0
    #: For how long.
    reorder_delay: float = 0.0
    #: Bytes per second that pass; 0: without limit.
    rate: int = 0
    #: Bytes that wait for the rate, up to 32 MiB; beyond it datagrams are dropped.
    queue_bytes: int = 65_536
    #: Chance that one bit is turned over.
    corrupt: float = 0.0
    #: Where chance comes from: with the same seed the same is done to the same datagrams.
    seed: int = 0

    def _native(self) -> _ffi.gk_conditions:
        return _ffi.gk_conditions(
            struct_size=ctypes.sizeof(_ffi.gk_conditions),
            loss=self.loss,
            burst_loss=self.burst_loss,
            burst_length=self.burst_length,
            delay_us=_microseconds("delay", self.delay),
            jitter_us=_microseconds("jitter", self.jitter),
            duplicate=self.duplicate,
            reorder=self.reorder,
            reorder_delay_us=_microseconds("reorder_delay", self.reorder_delay),
            rate_bytes_per_s=_number("rate", self.rate),
            queue_bytes=_number("queue_bytes", self.queue_bytes),
            corrupt=self.corrupt,
            seed=_number("seed", self.seed),
        )


@dataclass(frozen=True)
class LinkStats:
    """What a simulated network did to the datagrams of one direction since it was set; all 0 while there is none."""

    #: Datagrams that came to it.
    pushed: int = 0
    #: Datagrams lost, singly and in bursts.
    dropped: int = 0
    #: Datagrams and copies that found no room.
    overflowed: int = 0
    #: Datagrams that were doubled.
    duplicated: int = 0
    #: Datagrams and copies held back by ``reorder_delay``.
    reordered: int = 0
    #: Datagrams and copies with a bit turned over.
    corrupted: int = 0

    @classmethod
    def _of(cls, raw: _ffi.gk_link_stats) -> "LinkStats":
        return cls(*(getattr(raw, field[0]) for field in raw._fields_))


def native(conditions: Optional[Conditions]) -> Optional[_ffi.gk_conditions]:
    """As the library takes them; None is none."""
    return None if conditions is None else conditions._native()


def _number(name: str, value: int) -> int:
    # ctypes would cut it to 64 bits, unseen.
    if not 0 <= value <= _MAX_U64:
        raise ValueError("{} is {}, allowed is 0 to {}".format(name, value, _MAX_U64))
    return value


def _microseconds(name: str, seconds: float) -> int:
    # NaN lies in no range.
    if not 0 <= seconds <= 60:
        raise ValueError("{} is {} seconds, allowed is 0 to 60".format(name, seconds))
    return round(seconds * 1e6)
