"""What becomes of servers and clients in a process that was forked from theirs.

The child has a copy of the memory, but not of the library's threads, and shares the sockets: whatever it did with a server
would be said in the parent's name. So every handle is empty there: calls fail with a StateError, and nothing is sent,
stopped or freed. What the child makes itself works.
"""

import ctypes
import itertools
import os
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional

from ._ffi import inherit

if TYPE_CHECKING:
    from ._link import Link

#: The handles of this process's servers and clients, which have no hash, by numbers.
_handles: "weakref.WeakValueDictionary[int, ctypes.c_void_p]" = weakref.WeakValueDictionary()
_numbers = itertools.count()


def watch(pointer: ctypes.c_void_p) -> None:
    """Empties a handle in every child."""
    _handles[next(_numbers)] = pointer


#: What else has something to put right: a lock that may be held by a thread which is not in the child, and the like.
_objects: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


def renew(thing: Any) -> None:
    """Has an object's ``_forked()`` called in every child."""
    _objects[next(_numbers)] = thing


def is_inherited(link: "Optional[Link]") -> bool:
    """Whether a server is that of the process which this one was forked from."""
    return link is not None and not link.pointer


def in_child(function: Callable[[], None]) -> None:
    """Has a function called in every child, where there is such a thing."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _empty() -> None:
    handles = list(_handles.values())
    for pointer in handles:
        pointer.value = None
    if handles:
        inherit()
    for thing in list(_objects.values()):
        thing._forked()


in_child(_empty)
