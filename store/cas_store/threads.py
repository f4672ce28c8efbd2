"""Work that waits for a disk, done by some threads at a time; also while the interpreter is on its way out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16


def side_by_side(job: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """What the job gives for each, in order. Raises what one of them raised, when all have ended."""
    if len(things) < 2:
        return [job(thing) for thing in things]
    results: dict[int, R] = {}
    errors: list[BaseException] = []
    following = count()

    def work() -> None:
        while (at := next(following)) < len(things) and not errors:
            try:
                results[at] = job(things[at])
            except BaseException as error:  # noqa: BLE001  (it belongs to the caller)
                errors.append(error)

    # Not a pool of the standard library: those take no work once the main thread has ended.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(things), _MOST) - 1)]
    started = []
    for thread in threads:
        try:
            thread.start()
        except RuntimeError:
            break  # none to be had any more: this one does all of it
        started.append(thread)
    work()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]
    return [results[at] for at in range(len(things))]
