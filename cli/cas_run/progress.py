"""Progress as plain lines on stderr, for pipes and logs: hits in one sum, a line for each node that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas_engine.evaluating.events import NodeFinished, NodeStarted, Planned
from cas_run.ids import short_id
from cas_run.phrases import count, duration, shorten

if TYPE_CHECKING:
    from cas_engine.evaluating.events import Event
    from cas_run.terminal import Stream

_STYLE = {"ran": "green", "hit": "cyan", "failed": "bold red", "skipped": "yellow", "cancelled": "yellow"}


class Lines:
    """Writes as events come. With `every`, hits and starts have lines of their own too."""

    def __init__(self, stream: Stream, *, every: bool) -> None:
        self._stream = stream
        self._every = every
        self._root = ""

    def __call__(self, event: Event) -> None:
        match event:
            case Planned():
                self._planned(event)
            case NodeStarted() if self._every:
                self._line("start", "dim", event.label, "")
            case NodeFinished() if event.status != "hit" or self._every:
                seconds = duration(event.seconds) if event.status in ("ran", "failed") else ""
                self._line(event.status, _STYLE.get(event.status, ""), event.label, seconds, event.reason)

    def _planned(self, event: Planned) -> None:
        if self._root and not self._every:  # a sublattice, reached
            return
        self._root = self._root or event.dispatch_id
        self._stream.line(f"{event.lattice} {short_id(event.dispatch_id)}: {told(event)}")

    def _line(self, what: str, style: str, label: str, seconds: str, reason: str = "") -> None:
        text = f"  {self._stream.paint(f'{what:<9}', style)} {label:<24} {seconds:>9}  {shorten(reason, 160)}"
        self._stream.line(text.rstrip())


def told(planned: Planned) -> str:
    """`12 nodes, 9 hits, 3 to run, about 4.10 s`."""
    parts = [count(planned.total, "node"), count(planned.hits, "hit")]
    left = planned.total - planned.hits
    if left:
        parts.append(f"{left:,} to run")
        if planned.estimate_s > 0:
            parts.append("about " + duration(planned.estimate_s))
    return ", ".join(parts)
