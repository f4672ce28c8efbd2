"""`cas-run rm`: takes dispatches out of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import completing
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run rm 9f3a
cas-run list -q -n 0 --status failed | xargs -r cas-run rm
""",
)
@click.argument("dispatch_ids", metavar="ID...", nargs=-1, required=True, shell_complete=completing.ids)
def rm(session: Session, dispatch_ids: tuple[str, ...]) -> None:
    """Remove dispatches from the history.

    They can't be shown or redispatched any more. Results that they computed stay in the store, and are still
    reused.
    """
    backend = session.local()
    # All are found before any is removed: a wrong one removes nothing, and @last means one thing throughout.
    full = list(dict.fromkeys(backend.resolve(text) for text in dispatch_ids))
    for dispatch_id in full:
        backend.remove(dispatch_id)
    if session.as_json:
        session.answer({"removed": full})
    else:
        for dispatch_id in full:
            session.note(f"removed {dispatch_id[:12]}")
