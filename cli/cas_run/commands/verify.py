"""`cas-run verify`: run electrons again and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import choices, findings
from cas_run.command import command
from cas_run.exits import Exit

if TYPE_CHECKING:
    from cas_engine.evaluating.verification import Check
    from cas_run.session import Session


@command(
    examples="""
cas-run verify @last                 all deterministic electrons
cas-run verify @last --sample 10     ten of them, drawn at random
""",
)
@choices.id_argument()
@click.option("--sample", type=choices.Whole(min=1), metavar="N", help="Run only this many, drawn at random.")
def verify(session: Session, dispatch_id: str, sample: int | None) -> int:
    """Run the deterministic electrons of a dispatch again and compare with what was recorded.

    An electron that is random without saying so, or that reads what its key does not know, is found and named.
    Nothing of the history is changed. Exits with 1 if anything came out different.
    """
    backend = session.local()

    err = session.terminal.err

    def told(check: Check) -> None:
        verdict = err.paint(f"{check.verdict:<9}", "green" if check.verdict == "equal" else "bold red")
        session.note(f"  {verdict} {check.label}")

    found = backend.verify(backend.resolve(dispatch_id), sample, told)
    if session.as_json:
        session.answer(found.to_json())
    else:
        session.say("\n".join(findings.verified_lines(found, session.terminal.out, each=session.verbose)))
    return Exit.DONE if found.holds else Exit.FAILED
