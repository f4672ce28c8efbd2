"""The last word of a command that ran or planned: on stdout, with the status that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas_run import findings, report
from cas_run.exits import Exit
from cas_run.ids import short_id
from cas_run.preview import preview_of, told_of

if TYPE_CHECKING:
    from cas_engine.plans.planned import Plan
    from cas_run.session import Session
    from cas_run.shapes import Dispatch
    from cas_run.terminal import Stream


def conclude(session: Session, result: Dispatch) -> Exit:
    """After a run: what failed, on stderr; then table, sum and result."""
    done = result.status.value == "COMPLETED"
    err = session.terminal.err
    for line in report.failure_lines(result, err):
        err.line(line)
    for line in findings.warning_lines(result, err):
        err.line(line)
    if session.as_json:
        session.answer(result_json(result))
    elif session.quiet:
        session.say(result.dispatch_id)
    else:
        out = session.terminal.out
        lines = [
            *report.head_lines(result, out),
            "",
            *report.node_lines(result.nodes, out, each=session.verbose),
        ]
        lines += ["", report.sum_line(result)]
        lines += value_lines(result, out)
        session.say("\n".join(lines))
    if not done:
        failed = {node.electron for node in result.nodes if node.status == "failed"} if result.failed else set()
        repaired = f" --replace {failed.pop() if len(failed) == 1 else 'NAME'}=FILE.py:FUNCTION" if failed else ""
        err.line(f"-> `cas-run redispatch {short_id(result.dispatch_id)}{repaired}` takes up what is missing")
    return Exit.DONE if done else Exit.FAILED


def result_json(result: Dispatch) -> dict[str, Any]:
    """A dispatch for `--json`: what the engine tells, with the value of a completed one."""
    found = dict(result.to_json())
    found["result"] = None
    if result.status.value == "COMPLETED":
        try:
            found["result"] = told_of(result)
        except Exception as error:  # noqa: BLE001 - as in value_lines
            found["result"] = {"type": None, "preview": None, "error": f"{type(error).__name__}: {error}"}
    return found


def value_lines(result: Dispatch, out: Stream) -> list[str]:
    """The result of a completed dispatch. One that can't be loaded any more takes nothing from the rest."""
    if result.status.value != "COMPLETED":
        return []
    try:
        text = preview_of(result)
    except Exception as error:  # noqa: BLE001 - a blob that is gone, or a user's class that refuses to come back
        return ["", f"{out.paint('result', 'dim')}  can't be loaded: {error}"]
    return ["", *report.value_lines(text, out)]


def show_plan(session: Session, plan: Plan, *, check: bool = False) -> Exit:
    """The plan; with `check`, the status tells whether anything would run."""
    if session.as_json:
        session.answer(plan.to_json())
    elif session.quiet:
        session.say(report.plan_sum(plan))
    else:
        session.say("\n".join(report.plan_lines(plan, session.terminal.out, each=session.verbose)))
    return Exit.WOULD_RUN if check and (plan.misses or plan.unknown) else Exit.DONE
