"""`cas-run unpin`: lets the results of dispatches be evicted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import completing
from cas_run.command import command
from cas_run.exits import Exit

if TYPE_CHECKING:
    from cas_run.session import Session


@command(missing=Exit.STORE, examples="cas-run unpin 9f3a")
@click.argument("dispatch_ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.ids)
def unpin(session: Session, dispatch_ids: tuple[str, ...]) -> None:
    """Take back what `cas-run pin` said of dispatches."""
    backend = session.local()
    full = list(dict.fromkeys(backend.resolve(text) for text in dispatch_ids))
    were = [one for one in full if backend.unpin(one)]
    if session.as_json:
        session.answer({"unpinned": were})
        return
    for one in full:
        session.note(f"unpinned {one[:12]}" if one in were else f"{one[:12]} was not pinned")
