"""The dispatches of this process that are under way: found by id, asked to stop, waited for at its end."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cas_engine.bookkeeping.ledger import Entry
from cas_store import forks
from cas_store.errors import CasRunError
from cas_store.store import Store

if TYPE_CHECKING:
    from cas_engine.evaluating.evaluation import Evaluation

_SIGNAL_S = 0.2  # how often to look whether another process asked to cancel


class CancelFlag:
    """Set in this process, by a signal in the store, or by the dispatch that this one is part of."""

    def __init__(self, store: Store, dispatch_id: str, outer: CancelFlag | None = None) -> None:
        self._store = store
        self._name = cancel_signal(dispatch_id)
        self._outer = outer
        self._is_set = False
        self._next_look = time.monotonic() + _SIGNAL_S

    def set(self) -> None:
        """Ask to cancel."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether somebody asked to cancel."""
        if self._is_set or (self._outer is not None and self._outer.is_set()):
            return True
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _SIGNAL_S
            if self._store.get_signal(self._name) is not None:
                self._is_set = True
        return self._is_set


def cancel_signal(dispatch_id: str) -> bytes:
    """The name of the signal that asks a dispatch to stop."""
    return b"cancel:" + bytes.fromhex(dispatch_id)


@dataclass(slots=True)
class Running:
    """A dispatch under way in this process."""

    store: Store
    entry: Entry
    cancel: CancelFlag
    evaluation: Evaluation | None = None
    over: threading.Event = field(default_factory=threading.Event)
    problem: CasRunError | None = None  # what kept it from being written down


_running: dict[str, Running] = {}
_lock = forks.free_lock()
_hooked = False


def here(dispatch_id: str) -> Running | None:
    """The dispatch, if it runs in this process."""
    return _running.get(dispatch_id)


def register(running: Running) -> Running:
    """One more: it can be found, and whoever ends this process waits for it."""
    with _lock:
        _running[running.entry.id] = running
    return running


def unregister(running: Running) -> None:
    """Let those who wait for a dispatch of this process go on: nothing more will come of it."""
    with _lock:
        _running.pop(running.entry.id, None)
    running.over.set()


def cancel_all() -> None:
    """Ask every dispatch of this process to stop."""
    for running in list(_running.values()):
        running.cancel.set()


def wait_at_exit() -> None:
    """From now on a process that comes to its end waits for what is under way."""
    global _hooked  # noqa: PLW0603
    with _lock:
        if _hooked:
            return
        _hooked = True
    # Runs before the interpreter joins threads, and before the standard library's executors, which a dispatch may use,
    # stop taking work. There is no public name for it; without it the threads are joined all the same.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with suppress(RuntimeError):  # it has come to its end already, and a thread of the user's goes on
            register(_wait)


def _wait() -> None:
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        cancel_all()
    for running in list(_running.values()):
        try:
            running.over.wait()
        except KeyboardInterrupt:
            cancel_all()
            running.over.wait(5)


def _forget() -> None:
    # What ran in the parent does not run in a forked child.
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
