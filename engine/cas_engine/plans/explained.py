"""Why nodes ran, as a value that can be printed and sent. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One piece that differs. `route` leads to it from the electron; `diff` is unified, "" without sources."""

    kind: str  # "code", "class", "value", "package", "module", "file", "variable", "unresolved"
    name: str
    what: str  # "changed", "reached now", "no longer reached", or "1.7.0 → 1.7.1"
    route: tuple[str, ...]
    diff: str


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call: as it is, and as it was where it is not the same ("" else)."""

    name: str
    what: str  # "unchanged", "changed", "new", "left out", "ignored"
    now: str
    before: str

    def __str__(self) -> str:
        both = self.before and self.now and self.before != self.now
        shown = f"{self.before} → {self.now}" if both else self.now or self.before
        return f"input {self.name}  {self.what}  {shown}".rstrip()


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """Why one node is what it is. `cause` compares its key with that in the earlier dispatch."""

    label: str
    status: str
    reason: str
    cause: str
    inputs: tuple[Argument, ...]
    changes: tuple[Change, ...]
    accepted: str  # who took its code for the same as before, and when; "" if nobody did
    unresolved: tuple[str, ...]  # names in its code that no analysis could follow
    warnings: tuple[str, ...]  # what its code does that keys can't see, and what was odd about its result


@dataclass(frozen=True, slots=True)
class Explanation:
    """A dispatch against an earlier one; `against` is "" if there is none."""

    dispatch_id: str
    against: str
    nodes: tuple[NodeExplanation, ...]
    reused: int  # nodes that are not told of, as they were hits

    def to_json(self) -> dict[str, Any]:
        """As `cas-run explain --json` prints it."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"against {self.against[:12]}" if self.against else "nothing earlier to compare with"
        lines = [f"{self.dispatch_id[:12]}, {head}"]
        alike: dict[tuple[object, ...], list[NodeExplanation]] = {}
        for node in self.nodes:
            electron = node.label.partition("#")[0]
            alike.setdefault((electron, replace(node, label="", inputs=())), []).append(node)
        for group in alike.values():
            more = f", and {len(group) - 1:,} more" if len(group) > 1 else ""
            lines += ["", *_lines(group[0], more, each=not self.reused and len(self.nodes) == 1)]
        if self.reused:
            lines += ["", f"{self.reused:,} {'more ' if self.nodes else ''}reused"]
        return "\n".join(lines)


def _lines(node: NodeExplanation, more: str, *, each: bool) -> list[str]:
    lines = [f"{node.label}{more}  {node.status}: {node.reason}"]
    if node.cause and node.cause != node.reason:
        lines.append(f"  {node.cause}")
    lines += [f"  {argument}" for argument in node.inputs if each or argument.what not in ("unchanged", "ignored")]
    for change in node.changes:
        lines.append(f"  {change.kind} {change.name}: {change.what}")
        if len(change.route) > 1:
            lines.append(f"    reached by {' -> '.join(change.route)}")
        lines += [f"    {line}" for line in change.diff.splitlines()]
    lines += [f"  {node.accepted}"] if node.accepted else []
    lines += [f"  not followed: {name}" for name in node.unresolved]
    lines += [f"  note: {text}" for text in node.warnings]
    return lines
