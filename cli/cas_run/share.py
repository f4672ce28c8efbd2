"""How much of something long is done: one line on a terminal that is redrawn and disappears; nothing in a pipe."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cas_run.session import Session

PATIENCE_S = 0.3  # what is over sooner needs no line
_EACH_S = 0.1


@contextmanager
def share_done(session: Session, doing: str) -> Iterator[Callable[[int, int], None]]:
    """Gives what is to be told (done, of how many), as often as it likes."""
    err = session.terminal.err
    due = monotonic() + PATIENCE_S
    drawn = False

    def told(done: int, total: int) -> None:
        nonlocal due, drawn
        now = monotonic()
        if now < due or not err.tty or session.quiet or not total:
            return
        due, drawn = now + _EACH_S, True
        err.write(f"\r  {doing} {100 * done // total:>3} %")

    try:
        yield told
    finally:
        if drawn:
            err.write("\r\x1b[K")
