"""`cas-run pin`: keeps the results of dispatches from being evicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import completing
from cas_run.command import command
from cas_run.exits import Exit
from cas_run.phrases import count

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    missing=Exit.STORE,
    examples="""
cas-run pin 9f3a
cas-run pin                    which are pinned
""",
)
@click.argument("dispatch_ids", metavar="[ID...]", nargs=-1, shell_complete=completing.ids)
def pin(session: Session, dispatch_ids: tuple[str, ...]) -> None:
    """Keep all results of dispatches, whatever limits `cas-run gc` is given; without ID, list the pinned.

    A pinned dispatch can't be removed either.
    """
    backend = session.local()
    if not dispatch_ids:
        ids = list(backend.pinned())
        if session.as_json:
            session.answer({"pinned": ids, "evicted": {}})
        for one in () if session.as_json else ids:
            session.say(one)
        return
    full = list(dict.fromkeys(backend.resolve(text) for text in dispatch_ids))
    evicted = {one: backend.pin(one) for one in full}
    if session.as_json:
        session.answer({"pinned": full, "evicted": evicted})
        return
    for one, lost in evicted.items():
        session.note(f"pinned {one[:12]}")
        if lost:
            was = "was" if lost == 1 else "were"
            session.note(f"  {count(lost, 'result')} of it {was} evicted before: compute again with --recompute")
