"""`cas-run accept`: the user knows that a change means the same."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cas_run import choices
from cas_run.command import command
from cas_run.ids import short_id

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    "Keep",
    examples="""
cas-run explain @last train          look at what changed
cas-run accept @last train           it means the same: the earlier results count
""",
)
@choices.id_argument()
@click.argument("node", metavar="NODE")
def accept(session: Session, dispatch_id: str, node: str) -> None:
    """Record that a change of an electron means the same as before.

    Compared is the dispatch that this one was made from, or the nearest earlier one of the same lattice. From then on
    the electron is keyed as it was, and its earlier results answer. Who said so, when, and the diff are kept.
    """
    backend = session.backend()
    made = backend.accept(backend.resolve(dispatch_id), node)
    if session.as_json:
        session.answer(asdict(made))
        return
    if made.diff:
        session.say(made.diff)
        session.say()
    results = {"equal": "; the two results are equal", "changed": "; note that the two results differ"}
    session.say(
        f"{made.electron} of {short_id(made.dispatch)} counts as that of {short_id(made.against)}"
        f"{results.get(made.results, '')} (accepted by {made.who})"
    )
