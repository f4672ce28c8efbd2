"""Counts what an evaluation reports, electron by electron, and guesses how long the rest takes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cas_engine.evaluating.events import Audited, Finished, NodeFinished, NodeStarted, Planned

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas_engine.evaluating.events import Event


@dataclass
class Counts:
    """One electron's nodes, however many: 100,000 of them are still one line."""

    hit: int = 0
    ran: int = 0
    running: int = 0
    failed: int = 0
    skipped: int = 0  # cancelled ones too


@dataclass
class Tally:
    """The sum of the events so far. Written by the coordinating thread, read by the one that draws."""

    clock: Callable[[], float] = time.monotonic
    dispatch_id: str = ""
    lattice: str = ""
    total: int = 0
    estimate_s: float = 0.0
    saved_s: float = 0.0
    by_electron: dict[str, Counts] = field(default_factory=dict)
    over: bool = False
    audited: Audited | None = None
    began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._add(event)

    def _add(self, event: Event) -> None:
        match event:
            case Planned():
                if not self.dispatch_id:
                    self.dispatch_id, self.lattice = event.dispatch_id, event.lattice
                # A sublattice's own nodes come on top, when it is reached.
                self.total += event.total
                self.estimate_s += event.estimate_s
            case NodeStarted():
                self._running.add((event.dispatch_id, event.index))
                self._of(event.electron).running += 1
            case NodeFinished():
                counts = self._of(event.electron)
                if (event.dispatch_id, event.index) in self._running:
                    self._running.discard((event.dispatch_id, event.index))
                    counts.running -= 1
                kind = event.status if event.status in ("hit", "ran", "failed") else "skipped"
                setattr(counts, kind, getattr(counts, kind) + 1)
                self.saved_s += event.saved_s
            case Audited():
                self.audited = event
            case Finished():
                self.over = self.over or event.dispatch_id == self.dispatch_id

    def _of(self, electron: str) -> Counts:
        return self.by_electron.setdefault(electron, Counts())

    def electrons(self) -> list[tuple[str, Counts]]:
        """A copy that stands still while it is drawn."""
        with self._lock:
            return [
                (name, Counts(c.hit, c.ran, c.running, c.failed, c.skipped)) for name, c in self.by_electron.items()
            ]

    @property
    def elapsed(self) -> float:
        return self.clock() - self.began

    @property
    def done(self) -> int:
        return sum(c.hit + c.ran + c.failed + c.skipped for _, c in self.electrons())

    @property
    def running(self) -> list[str]:
        """The electrons at work now."""
        return [name for name, counts in self.electrons() if counts.running]

    def sum(self) -> Counts:
        """All electrons together."""
        all_of_them = [counts for _, counts in self.electrons()]
        return Counts(
            *(sum(getattr(c, kind) for c in all_of_them) for kind in ("hit", "ran", "running", "failed", "skipped"))
        )

    def eta(self) -> float | None:
        """Seconds left: by the durations recorded last time while they hold, then by the pace so far."""
        counts = self.sum()
        worked = counts.ran + counts.failed
        left = self.total - self.done
        if left <= 0:
            return None
        if self.estimate_s > self.elapsed:
            return self.estimate_s - self.elapsed
        return self.elapsed / worked * left if worked else None
