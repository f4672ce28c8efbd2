"""What a fork does to the things that a process holds: nothing of the parent's may be used by the child.

Register objects here; around every ``os.fork`` they are told. (A child made by ``subprocess`` inherits
nothing: all descriptors are closed on exec.)
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import Protocol, TypeVar

L = TypeVar("L")


class ForkAware(Protocol):
    """What is told of forks."""

    def before_fork(self) -> None:
        """In the parent: come to rest, and stay at rest."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget what belongs to the parent; open anew when next used."""


_lock = threading.Lock()
_watched: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_resting: list[ForkAware] = []


def watch(thing: ForkAware) -> None:
    """Tell it of forks from now on, for as long as it lives."""
    with _lock:
        _watched.add(thing)


def free_lock() -> threading.Lock:
    """A lock that a forked child finds free: the thread that held it has stayed in the parent."""
    return _freed(threading.Lock())


def free_rlock() -> threading.RLock:
    """The same of a lock that a thread may take again."""
    return _freed(threading.RLock())


def _freed(made: L) -> L:
    renew = getattr(made, "_at_fork_reinit", None)  # what the standard library does with its own
    if renew is not None and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return made


_PATIENCE = 5.0  # seconds; most modules are there in a few milliseconds


def _let_imports_end() -> None:
    """A child has the locks of modules that other threads are importing, and nobody who would give them back.

    The locks of importlib have no public name; without them a child is as well off as in any threaded program.
    """
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    deadline, me = time.monotonic() + _PATIENCE, threading.get_ident()
    while any(_owner_of(lock()) not in (None, me) for lock in list(locks.values())) and time.monotonic() < deadline:
        time.sleep(0.001)


def _owner_of(lock: object) -> object:
    return getattr(lock, "owner", None)


def _before() -> None:
    _let_imports_end()
    _lock.acquire()
    _resting[:] = list(_watched)
    for thing in _resting:
        thing.before_fork()


def _after_in_parent() -> None:
    for thing in reversed(_resting):
        thing.after_fork_in_parent()
    _resting.clear()
    _lock.release()


def _after_in_child() -> None:
    for thing in reversed(_resting):
        thing.after_fork_in_child()
    _resting.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
