"""What comparing and checking found, as lines: differences, explanations, results that did not repeat. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cas_run.ids import short_id
from cas_run.phrases import count, duration, seconds, size
from cas_run.report import alike
from cas_run.table import Column, lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cas_engine.evaluating.verification import Verification
    from cas_engine.inspecting.doctor import Diagnosis
    from cas_engine.plans.compared import Diff, NodeDiff
    from cas_run.shapes import Dispatch
    from cas_run.table import Cell
    from cas_run.terminal import Stream

MOST_NAMES = 3
MOST_ROWS = 40


def warning_lines(result: Dispatch, out: Stream) -> list[str]:
    """What is remarkable about results though nothing failed, each kind once."""
    lines: list[str] = []
    for group in alike([n for n in result.nodes if n.warning], lambda node: (node.electron, node.warning)):
        others = f", and {count(len(group) - 1, 'more node')} too" if len(group) > 1 else ""
        lines.append(f"{out.paint(group[0].label, 'yellow')}: {group[0].warning}{others}")
    return [*lines, f"-> {_UNSTEADY}", ""] if lines else []


_UNSTEADY = "if it draws, say electron(stochastic=True); if it reads what its key does not know, depends_on=[...]"


def audit_line(checked: int, different: Sequence[str], out: Stream) -> str:
    """What came of running a share of the hits again."""
    if not different:
        return f"audit: {count(checked, 'hit')} ran again, and came out as recorded"
    names = ", ".join(different[:MOST_NAMES]) + (", ..." if len(different) > MOST_NAMES else "")
    text = f"audit: {len(different):,} of {count(checked, 'hit')} came out different: {names}"
    return f"{out.paint(text, 'bold red')}\n-> {_UNSTEADY}"


def verified_lines(found: Verification, out: Stream, *, each: bool) -> list[str]:
    """What did not come out as recorded, or every check; and the sum."""
    shown = [check for check in found.checks if each or check.verdict != "equal"]
    lines: list[str] = []
    for group in alike(shown, lambda check: (check.electron, check.verdict, check.detail)):
        first = group[0]
        others = f", and {count(len(group) - 1, 'more node')}" if len(group) > 1 else ""
        verdict = out.paint(first.verdict, "green" if first.verdict == "equal" else "bold red")
        lines.append(f"{out.paint(first.label, 'bold')}{others}: {verdict}")
        lines += [f"  -> {first.detail}"] if first.detail else []
    equal = sum(check.verdict == "equal" for check in found.checks)
    took = duration(sum(check.seconds for check in found.checks))
    total = f"{equal:,} of {count(len(found.checks), 'result')} came out as recorded, in {took}"
    return [*lines, *([""] if lines else []), total if found.checks else "nothing to check: no deterministic result"]


def explained_lines(text: str, out: Stream) -> list[str]:
    """An explanation, its labels and diffs in colour."""
    lines = []
    for line in text.splitlines():
        bare = line.lstrip()
        style = _DIFF_STYLE.get(bare[:1], "") if line.startswith("    ") else ""
        if style and not bare.startswith(("+++", "---")):
            lines.append(out.paint(line, style))
        elif line[:1] not in ("", " ") and "  " in line:
            label, rest = line.split("  ", 1)
            lines.append(f"{out.paint(label, 'bold')}  {rest}")
        else:
            lines.append(line)
    return lines


_DIFF_STYLE = {"+": "green", "-": "red", "@": "cyan"}


def diff_lines(diff: Diff, out: Stream, *, each: bool) -> list[str]:
    """Two dispatches side by side; with many nodes, alike ones in one row unless `each` is asked for."""
    names = [out.paint(name, "bold") for name in diff.lattice]
    lines = [f"{short_id(diff.a)} {names[0]}  against  {short_id(diff.b)} {names[1]}"]
    for title, pairs in (("input", diff.inputs), ("package", diff.environment)):
        lines += [f"{title} {name}: {was or 'none'} → {now or 'none'}" for name, (was, now) in pairs.items()]
    rows: list[Sequence[Cell]] = [
        (
            f"{group[0].label}, and {len(group) - 1:,} more" if len(group) > 1 else group[0].label,
            (group[0].result, _COMPARED_STYLE.get(group[0].result, "")),
            group[0].amount if len(group) == 1 else "",
            group[0].cause,
            seconds(sum(node.seconds_a for node in group)) if group[0].result != "only in b" else "",
            seconds(sum(node.seconds_b for node in group)) if group[0].result != "only in a" else "",
        )
        for group in _rows_of(diff, each=each or len(diff.nodes) <= MOST_ROWS)
    ]
    lines += ["", *lines_of(_COMPARED, rows, paint=out.paint, width=out.width)]
    counts = Counter(node.result for node in diff.nodes)
    parts = [f"{counts[word]:,} {word}" for word in _COMPARED_STYLE if counts[word]]
    return [*lines, "", ", ".join([*parts, f"result {diff.result}"])]


def _rows_of(diff: Diff, *, each: bool) -> list[list[NodeDiff]]:
    if each:
        return [[node] for node in diff.nodes]
    return alike(diff.nodes, lambda node: (node.label.partition("#")[0], node.result, node.cause.partition("#")[0]))


_COMPARED = (
    Column("node", elastic=True),
    Column("result"),
    Column("how much", elastic=True),
    Column("why", elastic=True),
    Column("seconds", right=True),
    Column("now", right=True),
)
_COMPARED_STYLE = {
    "equal": "cyan",
    "changed": "yellow",
    "only in a": "red",
    "only in b": "green",
    "missing": "bold red",
}


def diagnosis_lines(found: Diagnosis, out: Stream, *, each: bool) -> list[str]:
    """What is wrong with a store, what was done about it, what lies in quarantine; and the sum."""
    lines: list[str] = []
    for group in alike(found.findings, lambda one: (one.kind, one.why, one.then)):
        kind = out.paint(group[0].kind.value, "bold red")
        lines += [f"{kind}  {one.what}: {one.why}" for one in (group if each else group[:1])]
        if len(group) > 1 and not each:
            lines.append(f"  and {count(len(group) - 1, 'more', 'more')}")
        lines.append(f"  -> {group[0].then}")
    done = out.paint("mended", "green")
    lines += [f"{done}  {text}" for text in (found.mended if each else found.mended[:MOST_ROWS])]
    if len(found.mended) > MOST_ROWS and not each:
        lines.append(f"  and {len(found.mended) - MOST_ROWS:,} more")
    for kept in found.quarantine if each else found.quarantine[:MOST_NAMES]:
        needed = f", needed by {', '.join(kept.needed_by)}" if kept.needed_by else ""
        lines.append(f"{out.paint('quarantine', 'dim')}  {kept.what}{needed}")
    if len(found.quarantine) > MOST_NAMES and not each:
        lines.append(f"  and {len(found.quarantine) - MOST_NAMES:,} more")
    looked = f"{count(found.rows, 'row')}, {count(found.blobs, 'blob')} ({size(found.bytes_read)}) and "
    looked += f"{count(found.dispatches, 'dispatch', 'dispatches')} in {duration(found.seconds)}"
    wrong = count(len(found.findings), "finding")
    left = f"{wrong} left" if found.mended else wrong
    if not found.findings:
        left = "all in order now" if found.mended else "all in order"
    lines += [*([""] if lines else []), f"{looked}: {left}"]
    if any(each.kind.value != "history" for each in found.findings) and not found.mended:
        lines.append("-> `cas-run doctor --repair` puts in order what can be")
    return lines
