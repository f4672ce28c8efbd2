"""What the store could not take at the end of dispatches: tried again until it can, or the process ends.

Else a process that lives on, as a server's does, would after a moment without room leave them RUNNING for good, and
keep others waiting for what they claimed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cas_store import forks
from cas_store.errors import CasRunError

_PAUSE_S = (0.5, 15.0)  # between one try and the next: at first, and at last


@dataclass(frozen=True, slots=True)
class _Debt:
    steps: list[Callable[[], object]]  # those that are left
    problem: CasRunError

    def pay(self) -> None:
        """Take the steps that are left."""
        while self.steps:
            self.steps[0]()
            del self.steps[0]


_owed: dict[str, _Debt] = {}
_is_settling = False
_lock = forks.free_lock()


def owe(dispatch_id: str, steps: list[Callable[[], object]], problem: CasRunError) -> None:
    """Take these steps, in order, until each has been taken without an error; `problem` is that of the first try."""
    global _is_settling  # noqa: PLW0603
    with _lock:
        _owed[dispatch_id] = _Debt(steps, problem)
        if _is_settling:
            return
        # A daemon: what is not written when the process ends is told by its end.
        with suppress(RuntimeError):  # no threads any more: the next debt tries again
            threading.Thread(target=_settle, name="cas-run owed", daemon=True).start()
            _is_settling = True


def problem_of(dispatch_id: str) -> CasRunError | None:
    """What keeps the end of a dispatch of this process from being written down."""
    debt = _owed.get(dispatch_id)
    return None if debt is None else debt.problem


def _settle() -> None:
    """In one thread at a time, as each step is to be taken once."""
    global _is_settling  # noqa: PLW0603
    pause, longest = _PAUSE_S
    while True:
        time.sleep(pause)
        pause = min(longest, pause * 2)
        for dispatch_id, debt in list(_owed.items()):
            try:
                debt.pay()
            except Exception:  # noqa: BLE001, S112 - what it was at first is told; the others may do better
                continue
            with _lock:
                del _owed[dispatch_id]
        with _lock:
            if not _owed:
                _is_settling = False
                return


def _forget() -> None:
    global _is_settling  # noqa: PLW0603
    _owed.clear()  # of the parent
    _is_settling = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
