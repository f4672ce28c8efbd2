"""Progress on a terminal: one calm table of electrons that redraws in place and leaves nothing behind."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cas_run.ids import short_id
from cas_run.phrases import count, duration, roughly

if TYPE_CHECKING:
    from cas_run.tally import Counts, Tally

PATIENCE_S = 0.3  # what is over sooner needs no picture
MOST_ROWS = 16
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class View:
    """Drawn by the waiting thread, tick by tick; `close` takes the picture away."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._console = Console(file=sys.stderr, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._ticks = 0

    def close(self) -> None:
        if self._live.is_started:
            self._live.stop()

    def tick(self, note: str = "") -> None:
        """Draw the state of now. `note` stands below the bar."""
        if not self._live.is_started:
            if self._tally.elapsed < PATIENCE_S or not self._tally.total:
                return
            self._live.start()
        self._ticks += 1
        self._live.update(self._picture(note), refresh=True)

    def _picture(self, note: str) -> Group:
        tally = self._tally
        electrons = tally.electrons()
        room = max(3, min(MOST_ROWS, self._console.height - 6))
        shown = _most_telling(electrons, room)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("electron", no_wrap=True)
        for title in ("hit", "ran", "running", "failed"):
            table.add_column(title, justify="right", no_wrap=True)
        for name, counts in shown:
            table.add_row(name, *_cells(counts))
        if len(shown) < len(electrons):
            table.add_row(Text(f"and {count(len(electrons) - len(shown), 'electron')} more", style="dim"))
        parts: list[Text | Table] = [self._title(), table, self._bar()]
        if note:
            parts.append(Text(note, style="yellow"))
        return Group(*parts)

    def _title(self) -> Text:
        spin = _FRAMES[self._ticks % len(_FRAMES)]
        return Text.assemble(
            (f"{spin} ", "cyan"), (self._tally.lattice, "bold"), f"  {short_id(self._tally.dispatch_id)}"
        )

    def _bar(self) -> Table:
        tally = self._tally
        done = tally.done
        eta = tally.eta()
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_row(
            ProgressBar(total=max(tally.total, 1), completed=done, width=min(40, self._console.width // 3)),
            f"{done:,}/{tally.total:,}",
            duration(tally.elapsed),
            Text("" if eta is None else f"about {roughly(eta)} left", style="dim"),
        )
        return line


def _cells(counts: Counts) -> list[Text]:
    styled = (
        (counts.hit, "cyan"),
        (counts.ran, "green"),
        (counts.running, "yellow"),
        (counts.failed, "bold red"),
    )
    return [Text(f"{number:,}" if number else "·", style=style if number else "dim") for number, style in styled]


def _most_telling(electrons: list[tuple[str, Counts]], room: int) -> list[tuple[str, Counts]]:
    """All in the order they came; where they don't fit, those that failed or run first, then the latest."""
    if len(electrons) <= room:
        return electrons
    order = sorted(
        range(len(electrons)),
        key=lambda i: (-bool(electrons[i][1].failed), -bool(electrons[i][1].running), -i),
    )
    return [electrons[i] for i in sorted(order[:room])]
