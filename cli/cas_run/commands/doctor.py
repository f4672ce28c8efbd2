"""`cas-run doctor`: what is wrong with the store, and putting it in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import findings
from cas_run.command import command
from cas_run.exits import Exit

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run doctor                   look at everything
cas-run doctor --sample 5%       read only some of the large blobs
cas-run doctor --repair          put in order what can be
""",
)
@click.option("--sample", metavar="SHARE", help="Read this share of the large blobs, drawn at random: 5%, 0.05.")
@click.option("--repair", is_flag=True, help="Put aside what is damaged, make anew what can be made anew.")
def doctor(session: Session, sample: str | None, repair: bool) -> int:
    """Check the store: its structure, the digests of rows and blobs, and what dispatches and records name.

    What is damaged is never used, repaired or not. A repair loses nothing that can be read, and keeps what it puts
    aside in the folder `quarantine`. Exits with 3 if anything is wrong (with --repair: if anything is left).
    """
    from cas_engine.inspecting.doctor import doctor as examine

    found = examine(store=session.store_path(), sample=sample or 1.0, repair=repair)
    if session.as_json:
        session.answer(found.to_json())
    else:
        session.say("\n".join(findings.diagnosis_lines(found, session.terminal.out, each=session.verbose)))
    return Exit.STORE if found.findings else Exit.DONE
