"""Calls that did not return: when they are tried again, and what is told of those that are not."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator

from cas_engine.evaluating.calls import Call
from cas_engine.executors import Died
from cas_engine.graphs.graph import Row
from cas_store.digest import Digest

_LONGEST_DELAY_S = 3600.0  # before an electron is tried again


class Retries:
    """The nodes that are tried again, each when its time has come."""

    def __init__(self) -> None:
        self._later: list[tuple[float, int, int]] = []  # when, which node, for the how manieth time

    def __bool__(self) -> bool:
        return bool(self._later)

    def clear(self) -> None:
        """None of them any more."""
        self._later.clear()

    def add(self, node: int, row: Row, attempt: int) -> None:
        """Try a node again, for the how manieth time, after the pause that its electron makes."""
        # Not all at the same moment: what they wait for may have failed because there were so many.
        delay = min(row.retry_delay * 2.0 ** (attempt - 1), _LONGEST_DELAY_S) * (1 + os.urandom(1)[0] / 1024)
        heapq.heappush(self._later, (time.monotonic() + delay, node, attempt))

    def due(self) -> Iterator[tuple[int, int]]:
        """Those whose time has come, each with its attempt."""
        while self._later and self._later[0][0] <= time.monotonic():
            _, node, attempt = heapq.heappop(self._later)
            yield node, attempt


def told_died(row: Row, died: Died) -> str:
    """Of a call whose process ended before it did."""
    why = f"electron `{row.name}`: the worker process that ran it {died.how}"
    by_system = "if nobody killed it, the system was short of memory: give it less to do at once"
    hint = by_system if "SIGKILL" in died.how else "call the function by itself to see what ends it"
    return f"{why}\n  -> {hint}"


def told_late(row: Row) -> str:
    """Of a call that was out of time."""
    return f"electron `{row.name}` took longer than timeout={row.timeout:g} s"


def told_gone(row: Row, blob: Digest) -> str:
    """Of a call that needs what nothing can compute again."""
    what = "the recorded code" if blob == row.capsule else "a recorded argument"
    advice = "redispatch with a replacement for it, or dispatch the workflow from its code"
    return f"{what} of electron `{row.name}` is gone from the store\n  -> {advice}"


def tries(call: Call | None) -> dict[str, str]:
    """What is kept of a node that was tried more than once."""
    return {"tries": str(call.attempt + 1)} if call is not None and call.attempt else {}
