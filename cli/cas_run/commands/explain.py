"""`cas-run explain`: why nodes ran, from what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas_run import choices, findings
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session


@command(
    examples="""
cas-run explain @last               every node that ran, and what had changed
cas-run explain @last train         one of them, with the diff of the code and the route to it
""",
)
@choices.id_argument()
@choices.node_argument(required=False)
def explain(session: Session, dispatch_id: str, node: str | None) -> None:
    """Say why nodes ran.

    Compares with the dispatch that this one was made from, or with the nearest earlier one of the same lattice: a
    diff of the code that changed, the route by which the electron reaches it, inputs, packages. NODE is a label
    (`train#0`) or an electron, for all of its nodes. Needs neither the code nor its packages, and runs nothing.
    """
    backend = session.backend()
    found = backend.explain(backend.resolve(dispatch_id), node)
    if session.as_json:
        session.answer(found.to_json())
    else:
        session.say("\n".join(findings.explained_lines(str(found), session.terminal.out)))
