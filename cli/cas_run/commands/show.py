"""`cas-run show`: all about one dispatch."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cas_run import choices, findings, report
from cas_run.command import command

if TYPE_CHECKING:
    from cas_run.session import Session
    from cas_run.shapes import Dispatch


@command(
    examples="""
cas-run show @last
cas-run show 9f3a -v                     one line for each node
cas-run show @last --json | jq -r .status
""",
)
@choices.id_argument()
def show(session: Session, dispatch_id: str) -> None:
    """Show a dispatch: its inputs, what ran and why, what failed, the result."""
    backend = session.backend()
    from cas_run.conclusion import result_json, value_lines

    result = backend.result(backend.resolve(dispatch_id))
    if session.as_json:
        session.answer(result_json(result))
        return
    out = session.terminal.out
    if session.quiet:
        session.say(result.status.value.lower())
        return
    lines = [*report.head_lines(result, out), "", *report.pairs_lines(_facts(result), out)]
    lines += ["", *report.node_lines(result.nodes, out, each=session.verbose), "", report.sum_line(result)]
    failures = report.failure_lines(result, out)
    lines += ["", *failures[:-1]] if failures else []
    warnings = findings.warning_lines(result, out)
    lines += ["", *warnings[:-1]] if warnings else []
    lines += value_lines(result, out)
    session.say("\n".join(lines))


def _facts(result: Dispatch) -> list[tuple[str, str]]:
    started = datetime.fromtimestamp(result.started, timezone.utc).astimezone()
    facts = [("id", result.dispatch_id), ("started", f"{started:%Y-%m-%d %H:%M:%S}")]
    if result.parent:
        facts.append(("from", result.parent))
    facts += [(f"input {name}", text) for name, text in result.inputs.items()]
    facts += [(f"replaced {name}", by) for name, by in result.replaced.items()]
    facts += [(f"{electron} accepted", note) for electron, note in result.accepted.items()]
    return facts
