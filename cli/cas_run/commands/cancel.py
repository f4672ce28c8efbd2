"""`cas-run cancel`: stops a dispatch that runs, in whichever process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas_run import choices
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(examples="cas-run cancel @last")
@choices.id_argument()
def cancel(session: Session, dispatch_id: str) -> None:
    """Stop a dispatch that runs, also one of another process.

    Electrons that are running finish or are stopped, no new ones start, and what has finished is kept: a
    redispatch takes it up again. Cancelling what is over already changes nothing.
    """
    backend = session.backend()
    full = backend.resolve(dispatch_id)
    asked = backend.cancel(full)
    status = backend.result(full).status.value
    if session.as_json:
        session.answer({"dispatch_id": full, "cancelled": asked, "status": status})
    elif asked:
        session.say(f"{full[:12]} is being cancelled")
    else:
        session.say(f"{full[:12]} is {status.lower()} already: nothing to cancel")
