"""`cas-run diff`: two dispatches side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas_run import choices, findings
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run diff @last~1 @last
cas-run diff 9f3a 07bc --json
""",
)
@choices.id_argument("one", "ID")
@choices.id_argument("other", "ID")
def diff(session: Session, one: str, other: str) -> None:
    """Say how two dispatches differ: graph, inputs, packages, and node by node code, result and seconds.

    With many nodes alike ones share a row; -v has a row for each. Of numbers, arrays and frames it says by how much.
    `explain` has the code itself, line by line.
    """
    backend = session.backend()
    found = backend.diff(backend.resolve(one), backend.resolve(other))
    if session.as_json:
        session.answer(found.to_json())
    else:
        session.say("\n".join(findings.diff_lines(found, session.terminal.out, each=session.verbose)))
