"""`cas-run compact`: gives back the space that removed rows took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas_run.command import command
from cas_run.phrases import size

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run gc --max-size 20GB && cas-run compact
""",
)
def compact(session: Session) -> None:
    """Write the store's rows anew without the space that removed ones left.

    Large blobs are files, whose space is free as soon as they are removed. While another process has the store open
    it is refused, and says which.
    """
    before, after = session.local().compact()
    if session.as_json:
        session.answer({"before": before, "after": after})
    else:
        session.note(f"{size(before)} before, {size(after)} now")
