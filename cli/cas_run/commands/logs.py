"""`cas-run logs`: what electrons printed and logged, while they run and afterwards."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cas_run import choices
from cas_run.command import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cas_engine.calling.printed import Printed
    from cas_run.session import Session
    from cas_run.shapes import Dispatch
    from cas_run.terminal import Stream


@command(
    examples="""
cas-run logs @last                  all that its electrons printed, in the order in which it came
cas-run logs @last train            one electron, or one node of it: train#0
cas-run logs -f @last               go on until the dispatch is over, whichever process runs it
cas-run logs @last --json | jq -r .printed[].text
""",
)
@choices.id_argument()
@choices.node_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes until the dispatch is over.")
def logs(session: Session, dispatch_id: str, node: str | None, *, follow: bool) -> None:
    """Show what the electrons of a dispatch printed and logged.

    Each line stands behind the node that printed it; with -q, or for one node, alone. Kept is of each try of a node
    the beginning and the end, 64 Ki characters each. What was reused printed nothing here: see the dispatch that ran
    it. From worker processes there is all that they wrote, from Python or not; from threads what Python printed.
    """
    backend = session.backend()
    full = backend.resolve(dispatch_id)
    found = backend.logs(full, node, follow=follow)
    if session.as_json and follow:
        for one in found:
            session.answer(asdict(one))
    elif session.as_json:
        session.answer({"dispatch_id": full, "printed": [asdict(one) for one in found]})
    else:
        out = session.terminal.out
        alone = session.quiet or (node is not None and "#" in node)
        shown = False
        for line in _lines(found, out, alone=alone):
            session.say(line)
            shown = True
        if not shown:
            session.note(_nothing(backend.result(full), node))


def _nothing(result: Dispatch, name: str | None) -> str:
    for node in result.nodes if name is not None else ():
        if name in (node.label, node.electron) and node.status == "hit" and (there := node.ran_in):
            return f"{node.label} was reused: what it printed is with {there[:12]}, which ran it"
    if result.ran:
        return "what ran there printed nothing"
    return "nothing ran there: what was reused printed where it ran, in an earlier dispatch (`cas-run list`)"


def _lines(found: Iterable[Printed], out: Stream, *, alone: bool) -> Iterator[str]:
    """Whole lines: pieces may end within one."""
    begun: dict[tuple[str, int, str], str] = {}
    for one in found:
        at = one.node, one.attempt, one.stream
        if one.omitted:
            if rest := begun.pop(at, ""):
                yield _line(out, one, rest, alone=alone)
            yield _line(out, one, out.paint(f"... {one.omitted:,} characters left out ...", "dim"), alone=alone)
        *lines, rest = (begun.pop(at, "") + one.text).split("\n")
        for line in lines:
            yield _line(out, one, line, alone=alone)
        if rest:
            begun[at] = rest
    for (node, attempt, stream), rest in begun.items():
        yield _told(out, node, attempt, stream, rest, alone=alone)


def _line(out: Stream, one: Printed, line: str, *, alone: bool) -> str:
    return _told(out, one.node, one.attempt, one.stream, line, alone=alone)


def _told(out: Stream, node: str, attempt: int, stream: str, line: str, *, alone: bool) -> str:
    line = out.paint(line, "yellow" if stream == "stderr" else "")
    if alone:
        return line
    again = f" (try {attempt + 1})" if attempt else ""
    return f"{out.paint(f'{node}{again} |', 'cyan')} {line}"
