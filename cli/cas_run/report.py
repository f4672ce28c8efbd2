"""What a dispatch came to, as lines: the table of electrons, the sum, the result. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from cas_run.ids import short_id
from cas_run.phrases import count, duration, seconds, shorten
from cas_run.table import Column, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from cas_engine.plans.planned import Plan, PlannedNode
    from cas_run.shapes import Dispatch, Node
    from cas_run.table import Cell
    from cas_run.terminal import Stream

M = TypeVar("M")
N = TypeVar("N", "Node", "PlannedNode")
_LABEL = re.compile(r"#\d+")
MOST_REASONS = 3  # rows of one electron with one status
MOST_FAILURES = 3  # tracebacks shown; the rest are counted

STATUS_STYLE = {
    "hit": "cyan",
    "ran": "green",
    "failed": "bold red",
    "skipped": "yellow",
    "cancelled": "yellow",
    "pending": "dim",
    "running": "yellow",
    "miss": "green",
    "unknown": "yellow",
    "COMPLETED": "green",
    "FAILED": "bold red",
    "CANCELLED": "yellow",
    "INTERRUPTED": "yellow",
    "RUNNING": "yellow",
    "PENDING": "dim",
}

_NODES = (
    Column("electron", elastic=True),
    Column("nodes", right=True),
    Column("what"),
    Column("why", elastic=True),
    Column("seconds", right=True),
    Column("saved", right=True),
)
_PLANNED = (
    Column("electron", elastic=True),
    Column("nodes", right=True),
    Column("would"),
    Column("why", elastic=True),
    Column("last time", right=True),
)
_WOULD = {"hit": "be reused", "miss": "run", "unknown": "wait"}


def head_lines(result: Dispatch, out: Stream) -> list[str]:
    """Name, id, status and time in one line."""
    status = out.paint(result.status.value.lower(), STATUS_STYLE.get(result.status.value, ""))
    took = f" in {duration(result.seconds)}" if result.status.value == "COMPLETED" else ""
    return [f"{out.paint(result.lattice, 'bold')}  {short_id(result.dispatch_id)}  {status}{took}"]


def node_lines(nodes: Sequence[Node], out: Stream, *, each: bool) -> list[str]:
    """The table: one row for alike nodes of one electron, or one for each node."""
    rows: list[Sequence[Cell]] = []
    for group, reason in _rows(nodes, lambda node: (_shown(node), node.status), each=each):
        first = group[0]
        took, saved = sum(n.seconds for n in group), sum(n.saved_s for n in group)
        rows.append(
            (
                first.label if each else _shown(first),
                f"{len(group):,}" if len(group) > 1 else "",
                (first.status, STATUS_STYLE.get(first.status, "")),
                reason,
                seconds(took) if first.status in ("ran", "failed") else "",
                seconds(saved) if first.status == "hit" else "",
            )
        )
    return lines_of(_NODES, rows, paint=out.paint, width=out.width)


def sum_line(result: Dispatch) -> str:
    """`3 hits, 2 ran; the reuse saved 4.10 s`."""
    parts = [count(result.hits, "hit"), f"{result.ran:,} ran"]
    cancelled = sum(node.status == "cancelled" for node in result.nodes)
    others = ((result.failed, "failed"), (result.skipped, "skipped"), (cancelled, "cancelled"))
    parts += [f"{number:,} {word}" for number, word in others if number]
    saved = f"; the reuse saved {duration(result.saved_s)}" if result.hits else ""
    return ", ".join(parts) + saved


def failure_lines(result: Dispatch, out: Stream) -> list[str]:
    """What failed, each kind of failure once, with the traceback of the user's frames."""
    failed = [node for node in result.nodes if node.status == "failed" and node.error]
    kinds = alike(failed, lambda node: (node.electron, node.error))
    lines: list[str] = []
    for group in kinds[:MOST_FAILURES]:
        others = f", and {count(len(group) - 1, 'more node')} in the same way" if len(group) > 1 else ""
        tries = f" {group[0].tries} times" if group[0].tries > 1 else ""
        lines += [
            f"{out.paint(f'electron {group[0].label} failed{tries}', 'bold red')}{others}",
            str(group[0].error).rstrip(),
            "",
        ]
    if len(kinds) > MOST_FAILURES:
        more = sum(map(len, kinds[MOST_FAILURES:]))
        lines += [f"{count(more, 'more node')} failed: see `cas-run show {short_id(result.dispatch_id)} --json`", ""]
    if not lines and result.error and result.status.value == "FAILED":
        lines = [out.paint(f"{result.lattice} failed", "bold red"), result.error.rstrip(), ""]
    return lines


def plan_lines(plan: Plan, out: Stream, *, each: bool) -> list[str]:
    """What would run and why, and the sum."""
    rows: list[Sequence[Cell]] = []
    for group, reason in _rows(plan.nodes, lambda node: (node.electron, node.decision), each=each):
        first = group[0]
        known = [n.seconds for n in group if n.seconds is not None]
        rows.append(
            (
                first.label if each else first.electron,
                f"{len(group):,}" if len(group) > 1 else "",
                (_WOULD[first.decision], STATUS_STYLE[first.decision]),
                reason,
                seconds(sum(known)) if known else "",
            )
        )
    lines = lines_of(_PLANNED, rows, paint=out.paint, width=out.width)
    return [*lines, "", plan_sum(plan)]


def plan_sum(plan: Plan) -> str:
    """`4 hits, 1 would run, 1 waits for another; about 2.3 s`."""
    parts = [count(plan.hits, "hit"), f"{plan.misses:,} would run"]
    if plan.unknown:
        parts.append(f"{plan.unknown:,} wait for another's result")
    about = f"; about {duration(plan.estimate_s)}" if plan.estimate_s else ""
    return ", ".join(parts) + about


def value_lines(preview: str, out: Stream) -> list[str]:
    """The result, short enough to look at."""
    lines = preview.splitlines() or [""]
    return [f"{out.paint('result', 'dim')}  {lines[0]}", *("        " + line for line in lines[1:])]


def pairs_lines(pairs: Iterable[tuple[str, str]], out: Stream) -> list[str]:
    """Names and what stands for them, aligned."""
    rows = [(name, shorten(text, 200)) for name, text in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{out.paint(name.ljust(width), 'dim')}  {text}" for name, text in rows]


def _shown(node: Node) -> str:
    return f"{node.electron} → {node.replaced_by}" if node.replaced_by else node.electron


def _rows(nodes: Sequence[N], kind: Callable[[N], Hashable], *, each: bool) -> list[tuple[list[N], str]]:
    """Alike nodes and their reason. Where an electron has many reasons they share a row: a table has to be read."""
    if each:
        return [([node], node.reason) for node in nodes]
    by_reason = alike(nodes, lambda node: (kind(node), _LABEL.sub("#…", node.reason)))
    many = Counter(kind(group[0]) for group in by_reason)
    rows = []
    for group in alike(by_reason, lambda g: kind(g[0]) if many[kind(g[0])] > MOST_REASONS else id(g)):
        members = [node for part in group for node in part]
        reasons = {node.reason for node in members}
        reason = members[0].reason if len(reasons) == 1 else _LABEL.sub("#…", members[0].reason)
        more = len(group) - 1
        rows.append((members, f"{members[0].reason}, and {count(more, 'other reason')}" if more else reason))
    return rows


def alike(nodes: Iterable[M], kind: Callable[[M], Hashable]) -> list[list[M]]:
    """Groups in the order of their first members."""
    groups: dict[Hashable, list[M]] = {}
    for node in nodes:
        groups.setdefault(kind(node), []).append(node)
    return list(groups.values())
