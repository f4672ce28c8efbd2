"""Why nodes ran, told afterwards: from what was recorded, without the code and without running anything."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cas_engine import capsule, ledger
from cas_engine.capsule import CapsuleHeader
from cas_engine.explain import Baseline, Reasons
from cas_engine.graph import Row
from cas_engine.kept import outcomes_of
from cas_engine.location import StoreChoice, open_store
from cas_engine.result import NodeResult, Result, result_of
from cas_store.errors import CasRunError
from cas_store.store import Store


@dataclass(frozen=True, slots=True)
class Change:
    """One piece that differs. `route` leads to it from the electron; `diff` is unified, "" without sources."""

    kind: str  # "code", "class", "value", "package", "module", "file", "unresolved"
    name: str
    what: str  # "changed", "reached now", "no longer reached", or "1.7.0 → 1.7.1"
    route: tuple[str, ...]
    diff: str


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """Why one node is what it is. `cause` compares its key with that in the earlier dispatch."""

    label: str
    status: str
    reason: str
    cause: str
    changes: tuple[Change, ...]
    unresolved: tuple[str, ...]  # names in its code that no analysis could follow


@dataclass(frozen=True, slots=True)
class Explanation:
    """A dispatch against an earlier one; `against` is "" if there is none."""

    dispatch_id: str
    against: str
    nodes: tuple[NodeExplanation, ...]

    def to_json(self) -> dict[str, Any]:
        """As `cas-run explain --json` prints it."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"against {self.against[:12]}" if self.against else "nothing earlier to compare with"
        lines = [f"{self.dispatch_id[:12]}, {head}"]
        for node in self.nodes:
            lines += ["", f"{node.label}  {node.status}: {node.reason}"]
            if node.cause and node.cause != node.reason:
                lines.append(f"  {node.cause}")
            for change in node.changes:
                lines.append(f"  {change.kind} {change.name}: {change.what}")
                if len(change.route) > 1:
                    lines.append(f"    reached by {' -> '.join(change.route)}")
                lines += [f"    {line}" for line in change.diff.splitlines()]
            lines += [f"  not followed: {name}" for name in node.unresolved]
        return "\n".join(lines)


def explain(dispatch_id: str, node: str | None = None, *, store: StoreChoice = None) -> Explanation:
    """Why the nodes of a dispatch ran, or why one did: against its parent, or the nearest earlier one of the lattice.

    Raises UnknownDispatch, UnknownNode.
    """
    opened = open_store(store)
    result = result_of(opened, ledger.resolve(opened, dispatch_id))
    before = earlier_than(opened, result)
    chosen = [result.node(node)] if node is not None else [n for n in result.nodes if n.status != "hit"]
    reasons = None
    if before is not None:
        entry = ledger.get(opened, before.dispatch_id)
        reasons = Reasons(
            opened,
            result.manifest.graph,
            Baseline(before.manifest, outcomes_of(opened, entry)),
            dict(result.manifest.environment),
        )
    nodes = tuple(_explained(opened, result, before, reasons, one) for one in chosen)
    return Explanation(result.dispatch_id, "" if before is None else before.dispatch_id, nodes)


def _explained(
    store: Store, result: Result, before: Result | None, reasons: Reasons | None, node: NodeResult
) -> NodeExplanation:
    row = result.manifest.graph.row_of(node.index)
    head = _header(store, row)
    unresolved = () if head is None else tuple(c.name for c in head.components if c.kind == "unresolved")
    changes: tuple[Change, ...] = ()
    cause = ""
    if before is not None and reasons is not None:
        same = [one for one in before.nodes if one.label == node.label]
        if not same:
            cause = "the earlier dispatch has no such node"
        elif same[0].key == node.key and node.key:
            cause = "its key is the same"
        else:
            cause = reasons.why(node.index)
            changes = tuple(changes_between(store, before.manifest.graph.row_of(same[0].index), row))
    return NodeExplanation(node.label, node.status, node.reason, cause, changes, unresolved)


def earlier_than(store: Store, result: Result) -> Result | None:
    """The dispatch to compare with: the parent, else the nearest earlier one of the same lattice."""
    if result.parent is not None:
        try:
            return result_of(store, result.parent)
        except CasRunError:
            pass  # removed since
    for entry in ledger.newest_first(store):
        if entry.lattice == result.lattice and entry.started < result.started and entry.id != result.dispatch_id:
            return Result(store, entry)
    return None


def changes_between(store: Store, old: Row, new: Row) -> list[Change]:
    """All pieces of code, values and packages that differ between two electrons, from their capsules."""
    was, now = _header(store, old), _header(store, new)
    if was is None or now is None or (old.code == new.code and was.packages == now.packages):
        return []
    before = {(c.kind, c.name): c for c in was.components}
    after = {(c.kind, c.name): c for c in now.components}
    changes = []
    for where, piece in after.items():
        other = before.get(where)
        if other is not None and other.digest == piece.digest:
            continue
        if other is None:
            what = "reached now"
        elif piece.kind in ("value", "package") and other.detail != piece.detail:
            what = f"{other.detail} → {piece.detail}"
        else:
            what = "changed"
        route = _route(now, piece.name)
        changes.append(Change(piece.kind, piece.name, what, route, _diff(was, now, piece.name)))
    for where, piece in before.items():
        if where not in after:
            changes.append(Change(piece.kind, piece.name, "no longer reached", _route(was, piece.name), ""))
    return changes


def source_diff(store: Store, old: Row, new: Row) -> str:
    """The unified diff of every piece of source that differs between two electrons."""
    return "\n".join(change.diff or f"{change.name}: {change.what}" for change in changes_between(store, old, new))


def _route(head: CapsuleHeader, name: str) -> tuple[str, ...]:
    """The names by which the electron reaches a piece, itself first."""
    via = {c.name: c.via for c in head.components}
    route = [name]
    while (above := via.get(route[-1], "")) and above not in route:
        route.append(above)
    return tuple(reversed(route))


def _diff(was: CapsuleHeader, now: CapsuleHeader, name: str) -> str:
    old, new = was.sources.get(name), now.sources.get(name)
    if old is None or new is None or old == new:
        return ""
    return "".join(_unified(old.splitlines(keepends=True), new.splitlines(keepends=True), name)).rstrip("\n")


def _unified(old: Sequence[str], new: Sequence[str], name: str) -> list[str]:
    lines = difflib.unified_diff(old, new, f"{name} before", f"{name} now", n=2)
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


def _header(store: Store, row: Row) -> CapsuleHeader | None:
    try:
        return capsule.header(store.get_blob(row.capsule))
    except CasRunError:
        return None
