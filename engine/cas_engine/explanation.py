"""Why nodes ran, told afterwards: from what was recorded, without the code and without running anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cas_engine import ledger
from cas_engine.accepted import note_of
from cas_engine.comparison import Argument, Change, arguments_of, changes_between, header_of
from cas_engine.explain import Baseline, Reasons
from cas_engine.fingerprint.environment import effective_with
from cas_engine.kept import outcomes_of
from cas_engine.location import StoreChoice, open_store
from cas_engine.result import NodeResult, Result, result_of
from cas_store.errors import CasRunError
from cas_store.store import Store


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
        for node in self.nodes:
            lines += ["", *_lines(node, each=not self.reused and len(self.nodes) == 1)]
        if self.reused:
            lines += ["", f"{self.reused:,} {'more ' if self.nodes else ''}reused"]
        return "\n".join(lines)


def _lines(node: NodeExplanation, *, each: bool) -> list[str]:
    lines = [f"{node.label}  {node.status}: {node.reason}"]
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


def explain(dispatch_id: str, node: str | None = None, *, store: StoreChoice = None) -> Explanation:
    """Why the nodes of a dispatch ran, or why one did: against its parent, or the nearest earlier one of the lattice.

    Raises UnknownDispatch, UnknownNode.
    """
    opened = open_store(store)
    result = result_of(opened, ledger.resolve(opened, dispatch_id))
    before = earlier_than(opened, result)
    chosen = _chosen(result, node) if node is not None else [n for n in result.nodes if n.status != "hit"]
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
    reused = 0 if node is not None else len(result.nodes) - len(chosen)
    return Explanation(result.dispatch_id, "" if before is None else before.dispatch_id, nodes, reused)


def _chosen(result: Result, node: str) -> list[NodeResult]:
    """The node of a label, or all of an electron. Raises UnknownNode."""
    return [n for n in result.nodes if n.electron == node and n.label != node] or [result.node(node)]


def _explained(
    store: Store, result: Result, before: Result | None, reasons: Reasons | None, node: NodeResult
) -> NodeExplanation:
    row = result.manifest.graph.row_of(node.index)
    head = header_of(store, row)
    told: dict[str, list[str]] = {"unresolved": [], "warning": []}
    for component in () if head is None else head.components:
        if component.kind in told:
            told[component.kind].append(component.name)
    inputs: tuple[Argument, ...] = ()
    changes: tuple[Change, ...] = ()
    cause = ""
    versions = dict(result.manifest.environment)
    if before is not None and reasons is not None:
        same = [one for one in before.nodes if one.label == node.label]
        if same:
            inputs = arguments_of(result, node, before, same[0])
            both = (dict(before.manifest.environment), versions)
            changes = tuple(changes_between(store, before.manifest.graph.row_of(same[0].index), row, both))
            cause = "its key is the same" if same[0].key == node.key != "" else reasons.why(node.index)
        else:
            cause = "the earlier dispatch has no such node"
    return NodeExplanation(
        label=node.label,
        status=node.status,
        reason=node.reason,
        cause=cause,
        inputs=inputs,
        changes=changes,
        accepted=note_of(store, effective_with(row.code, row.packages, versions)),
        unresolved=tuple(told["unresolved"]),
        warnings=(*told["warning"], *([node.warning] if node.warning else [])),
    )


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
