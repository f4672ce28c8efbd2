"""`cas-run result`: the value of a dispatch or of one of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cas_run import choices, completing
from cas_run.command import command
from cas_run.exits import Exit
from cas_run.phrases import become_of

if TYPE_CHECKING:
    from cas_run.session import Session
    from cas_run.shapes import Dispatch, Node


@command(
    examples="""
cas-run result @last
cas-run result 9f3a --node train            what one electron gave
cas-run result 9f3a --node train#1          the second of several
cas-run result @last --json | jq .value
""",
)
@choices.id_argument()
@click.option(
    "--node",
    metavar="NAME",
    shell_complete=completing.nodes,
    help="A node's label (train#1) or its electron, instead of the whole.",
)
def result(session: Session, dispatch_id: str, node: str | None) -> int:
    """Print a result.

    A text comes as it is; everything else as Python shows it, all of it. With --json, `value` is there where
    JSON holds the value without loss, `preview` always.
    """
    backend = session.backend()
    from cas_run.preview import preview_of, told_of

    found = backend.result(backend.resolve(dispatch_id))
    answer = {"dispatch_id": found.dispatch_id, "status": found.status.value, "node": None}
    whose: Dispatch | Node = found
    if node is not None:
        whose = one = found.node(node)
        answer |= {"node": one.label, "status": one.status}
        missing = None if one.status in ("hit", "ran") else _why_not(found, node, one.status, one.error)
    else:
        missing = None if found.status.value == "COMPLETED" else _why_not(found, None, found.status.value, found.error)
    if missing:
        if session.as_json:
            session.answer(answer | {"type": None, "preview": None, "error": missing})
        session.terminal.err.line(f"{session.terminal.err.paint('error: ', 'bold red')}{missing}")
        return Exit.FAILED
    if session.as_json:
        session.answer(answer | told_of(whose))
    else:
        session.say(preview_of(whose, whole=True))
    return Exit.DONE


def _why_not(found: Dispatch, node: str | None, status: str, error: str | None) -> str:
    what = f"node {node} of {found.dispatch_id[:12]}" if node else f"dispatch {found.dispatch_id[:12]}"
    told = f"{what} {become_of(status)}, so it has no result"
    return f"{told}\n{error.rstrip()}" if error else f"{told}\n  -> see `cas-run show {found.dispatch_id[:12]}`"
