"""`cas-run accept`: the user knows that a change means the same."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from cas_run import choices, completing, findings
from cas_run.command import command
from cas_run.ids import short_id

if TYPE_CHECKING:
    from cas_engine.inspecting.acceptance import Acceptance
    from cas_run.session import Session


@command(
    examples="""
cas-run explain @last train          look at what changed
cas-run accept @last train           it means the same: the earlier results count
cas-run accept --list                what was accepted, by whom, and the diffs
cas-run accept --revoke 46c232ad     it does not after all
""",
)
@click.argument("dispatch_id", metavar="ID", required=False, shell_complete=completing.ids)
@choices.node_argument(required=False)
@click.option("--list", "listed", is_flag=True, help="Show what was accepted.")
@click.option("--revoke", metavar="CODE", help="Take back what `--list` shows under this beginning of a fingerprint.")
def accept(session: Session, *, dispatch_id: str | None, node: str | None, listed: bool, revoke: str | None) -> None:
    """Record that a change of an electron means the same as before.

    Compared is the dispatch that this one was made from, or the nearest earlier one of the same lattice. From then on
    the electron is keyed as it was, and its earlier results answer. A further edit counts as a change again. Who said
    so, when, and the diff are kept.
    """
    backend = session.local()
    if listed or revoke:
        if dispatch_id is not None:
            raise click.UsageError("--list and --revoke go with no ID\n  -> give one or the other")
        found = [backend.revoke(revoke)] if revoke else backend.acceptances()
        if session.as_json:
            session.answer({"revoked" if revoke else "acceptances": [asdict(made) for made in found]})
        elif revoke:
            session.say(f"{found[0].electron}: {found[0].new[:12]} counts as changed again")
        else:
            session.say("\n\n".join(map(_told, found)) or "nothing was accepted")
        return
    if dispatch_id is None or node is None:
        raise click.UsageError(
            "say which node of which dispatch\n  -> `cas-run accept @last NODE`, or `cas-run accept --list`"
        )
    made = backend.accept(backend.resolve(dispatch_id), node)
    if session.as_json:
        session.answer(asdict(made))
        return
    if made.diff:
        session.say("\n".join(findings.explained_lines(_indented(made.diff), session.terminal.out)))
        session.say()
    results = {"equal": "; the two results are equal", "changed": "; note that the two results differ"}
    session.say(
        f"{made.electron} of {short_id(made.dispatch)} counts as that of {short_id(made.against)}"
        f"{results.get(made.results, '')} (accepted by {made.who})"
    )
    session.note(f"-> `cas-run accept --revoke {made.new[:12]}` takes it back")


def _told(made: Acceptance) -> str:
    when = datetime.fromtimestamp(made.when, timezone.utc).astimezone()
    head = f"{made.new[:12]}  {made.electron} of {short_id(made.dispatch)} counts as in {short_id(made.against)}"
    return f"{head}: {made.who}, {when:%Y-%m-%d %H:%M}\n{_indented(made.diff)}".rstrip()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
