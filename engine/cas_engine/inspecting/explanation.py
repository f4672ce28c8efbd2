"""Why nodes ran, told afterwards: from what was recorded, without the code and without running anything."""

from __future__ import annotations

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.accepted import note_of
from cas_engine.bookkeeping.explain import NEVER, Baseline, Reasons
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.evaluating.result import NodeResult, Result, result_of
from cas_engine.fingerprint.environment import effective_with
from cas_engine.graphs.graph import Row, counted
from cas_engine.inspecting.comparison import arguments_of, changes_between, header_of
from cas_engine.plans.explained import Argument, Change, Explanation, NodeExplanation
from cas_store.errors import CasRunError
from cas_store.store import Store


def explain(dispatch_id: str, node: str | None = None, *, store: StoreChoice = None) -> Explanation:
    """Why the nodes of a dispatch ran, or why one did: against its parent, or the nearest earlier one of the lattice.

    Raises UnknownDispatch, UnknownNode.
    """
    opened = open_store(store)
    result = result_of(opened, ledger.resolve(opened, dispatch_id))
    before = earlier_than(opened, result)
    told = chosen(result, node) if node is not None else [n for n in result.nodes if n.status != "hit"]
    electrons = _Electrons(opened, result)
    nodes: list[NodeExplanation] = []
    if before is None:
        nodes += [electrons.explained(one, "", (), None) for one in told]
    else:
        entry = ledger.get(opened, before.dispatch_id)
        baseline = Baseline(before.manifest, outcomes_of(opened, entry))
        reasons = Reasons(opened, result.manifest.graph, baseline, dict(result.manifest.environment))
        earlier = {counted(one.label): one for one in before.nodes}
        for one in told:
            same = earlier.get(counted(one.label))
            if same is None:
                nodes.append(electrons.explained(one, "the earlier dispatch has no such node", (), None))
                continue
            cause = "its key is the same" if same.key == one.key != "" else reasons.why(one.index)
            cause = "" if cause == NEVER else cause  # it has run, and nothing that can be told is new
            arguments = arguments_of(opened, result, one, before, same)
            nodes.append(electrons.explained(one, cause, arguments, (before, same.index)))
    reused = 0 if node is not None else len(result.nodes) - len(told)
    return Explanation(result.dispatch_id, "" if before is None else before.dispatch_id, tuple(nodes), reused)


def chosen(result: Result, node: str) -> list[NodeResult]:
    """The node of a label, or all of an electron. Raises UnknownNode."""
    return [n for n in result.nodes if n.electron == node and n.label != node] or [result.node(node)]


def counterpart(before: Result, node: NodeResult) -> NodeResult | None:
    """The same call in an earlier dispatch, if it made it."""
    return next((one for one in before.nodes if counted(one.label) == counted(node.label)), None)


class _Electrons:
    """What there is to tell of an electron, looked up once for all of its nodes."""

    def __init__(self, store: Store, result: Result) -> None:
        self._store = store
        self._graph = result.manifest.graph
        self._versions = dict(result.manifest.environment)
        self._notes: dict[Row, tuple[str, tuple[str, ...], tuple[str, ...]]] = {}
        self._changes: dict[tuple[Row, Row], tuple[Change, ...]] = {}

    def explained(
        self, node: NodeResult, cause: str, arguments: tuple[Argument, ...], same: tuple[Result, int] | None
    ) -> NodeExplanation:
        """One node; `same` is the earlier dispatch and the node in it that is the same call."""
        row = self._graph.row_of(node.index)
        if row not in self._notes:
            head = header_of(self._store, row)
            told = [] if head is None else [(c.kind, c.name) for c in head.components]
            self._notes[row] = (
                note_of(self._store, effective_with(row.code, row.packages, self._versions)),
                tuple(name for kind, name in told if kind == "unresolved"),
                tuple(name for kind, name in told if kind == "warning"),
            )
        accepted, unresolved, warnings = self._notes[row]
        return NodeExplanation(
            label=node.label,
            status=node.status,
            reason=node.reason,
            cause=cause,
            inputs=arguments,
            changes=() if same is None else self._changed(row, *same),
            accepted=accepted,
            unresolved=unresolved,
            warnings=(*warnings, *([node.warning] if node.warning else [])),
        )

    def _changed(self, row: Row, before: Result, at: int) -> tuple[Change, ...]:
        old = before.manifest.graph.row_of(at)
        if (old, row) not in self._changes:
            versions = (dict(before.manifest.environment), self._versions)
            self._changes[old, row] = tuple(changes_between(self._store, old, row, versions))
        return self._changes[old, row]


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
