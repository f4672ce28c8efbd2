"""What the store could not take at the end of dispatches: tried again until it can, or the process ends.

Else a process that lives on, as a server's does, would after a moment without room leave them RUNNING for good, and
keep others waiting for what they claimed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cas_store.errors import CasRunError

_PAUSE_S = (0.5, 15.0)  # between one try and the next: at first, and at last


@dataclass(frozen=True, slots=True)
class _Debt:
    steps: list[Callable[[], object]]  # those that are left
    problem: CasRunError


_owed: dict[str, _Debt] = {}
_lock = threading.Lock()


def owe(dispatch_id: str, steps: list[Callable[[], object]], problem: CasRunError) -> None:
    """Take these steps, in order, until each has been taken without an error; `problem` is that of the first try."""
    with _lock:
        alone = not _owed
        _owed[dispatch_id] = _Debt(steps, problem)
    if alone:
        # A daemon: what is not written when the process ends is told by its end.
        threading.Thread(target=_settle, name="cas-run owed", daemon=True).start()


def problem_of(dispatch_id: str) -> CasRunError | None:
    """What keeps the end of a dispatch of this process from being written down."""
    debt = _owed.get(dispatch_id)
    return None if debt is None else debt.problem


def _settle() -> None:
    pause, longest = _PAUSE_S
    while _owed:
        time.sleep(pause)
        pause = min(longest, pause * 2)
        for dispatch_id, debt in list(_owed.items()):
            try:
                while debt.steps:
                    debt.steps[0]()
                    del debt.steps[0]
            except CasRunError:
                break  # nor is there room for the others
            with _lock:
                del _owed[dispatch_id]


def _forget() -> None:
    _owed.clear()  # of the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
