"""What would run and what would be reused, and why: a dispatch that stops before it does anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.explain import Reasons
from cas_engine.bookkeeping.journal import BLOB_GONE, EVICTED, NOBODY, Journal
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.dispatch import checked_lattice
from cas_engine.errors import BadOption
from cas_engine.graphs.graph import Graph, Labels
from cas_engine.plans.decisions import HIT, MISS, SAME, UNKNOWN
from cas_engine.plans.outcomes import unchanged
from cas_engine.plans.plan import Planner, collecting_later
from cas_engine.plans.planned import Plan, PlannedNode, PlannedNodes
from cas_engine.plans.policy import checked_policy
from cas_engine.plans.records import Record
from cas_engine.plans.settling import Settling
from cas_engine.preparing.preparation import Answered, Prepared, prepare, prepare_again
from cas_store.digest import Digest
from cas_store.store import Store

if TYPE_CHECKING:
    from cas_engine.evaluating.excerpt import Excerpt


def plan(
    what: Any,
    replace_electrons: Mapping[str, Callable[..., Any]] | None = None,
    reuse_previous_results: bool = True,
    recompute: str | list[str] | None = None,
    *,
    store: StoreChoice = None,
) -> Callable[..., Plan]:
    """A function that takes inputs as `redispatch(...)` or `dispatch(...)` would, and returns the Plan; runs nothing.

    `what` is a dispatch's id or a lattice. Raises what `redispatch` raises.
    """
    policy = checked_policy(recompute, reuse_previous_results)
    opened = open_store(store)
    parent = ledger.resolve(opened, what) if isinstance(what, str) else None
    lattice = None if parent is not None else checked_lattice(what)
    if lattice is not None and (replace_electrons or recompute):
        raise BadOption(
            f"replace_electrons and recompute change a recorded dispatch, and `{lattice.name}` is a lattice\n"
            "  -> give the id of one of its dispatches"
        )

    def make(*args: Any, **kwargs: Any) -> Plan:
        if parent is not None:
            entry = ledger.get(opened, parent)
            return plan_of(opened, prepare_again(opened, entry, replace_electrons, policy, args, kwargs))
        assert lattice is not None  # noqa: S101 - one of the two
        return plan_of(opened, prepare(opened, lattice, args, kwargs, policy))

    return make


def plan_of(store: Store, prepared: Prepared | Answered) -> Plan:
    """What would become of what was prepared."""
    if isinstance(prepared, Answered):
        return Plan(prepared.lattice, _AllHits(load_manifest(store, prepared.by).graph))
    name, nodes = prepared.manifest.lattice.name, None
    if prepared.only_replaced:
        from cas_engine.evaluating.excerpt import excerpt_of

        part = excerpt_of(store, prepared)
        nodes = None if part is None else _planned_in(store, prepared, part)
    return Plan(name, nodes or _planned(store, prepared))


def _planned(store: Store, prepared: Prepared) -> _Planned:
    graph = prepared.manifest.graph
    decided = _Decided(store, prepared, graph, prepared.kept, {})
    return _Planned(decided, prepared.reasons(store), prepared.times, Labels(graph))


def _planned_in(store: Store, prepared: Prepared, part: Excerpt) -> _PlannedInPart | None:
    """As the whole graph would be planned; None if it has to be, for something is gone that was counted on."""
    decided = _Decided(store, prepared, part.graph, part.kept, part.given)
    if decided.lost:
        return None
    labels = Labels(prepared.manifest.graph)
    return _PlannedInPart(
        part, _Planned(decided, part.reasons(store, prepared), part.times, Labels(part.graph)), labels
    )


class _AllHits(PlannedNodes):
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._labels = Labels(graph)

    def count_of(self, decision: str) -> int:
        return len(self) if decision == "hit" else 0

    def estimate_s(self) -> float:
        return 0.0

    def __len__(self) -> int:
        return len(self._graph)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        node = range(len(self))[index]
        slot = self._graph.row_of(node).slot
        return PlannedNode(node, self._labels[node], slot, "hit", "the whole workflow is unchanged", None)


_WORDS = "hit", "miss", "unknown"
_HIT, _MISS, _UNKNOWN = range(3)


class _Decided:
    """What the planner says of a graph, as columns; `words` has the decision of each node, by its place in `_WORDS`."""

    def __init__(
        self,
        store: Store,
        prepared: Prepared,
        graph: Graph,
        kept: Mapping[Digest, Record] | None,
        given: Mapping[int, tuple[Digest, Record]],
    ) -> None:
        self.graph = graph
        self.journal = Journal(store, NOBODY)
        self.hits = Settling(len(graph))
        with self.journal.one_look(), collecting_later():
            planner = Planner(graph, prepared.prefixes(), prepared.policy, self.journal.lookup, kept, given)
            self.decisions = planner.decide_all(self.journal.lookup_many, self.hits.hits)
        self.forced = [prepared.policy.reason(row) for row in graph.rows]
        self.words = self.decisions.kinds.translate(_WORD_OF_KIND)
        if any(self.forced):
            for node in self.decisions.of_kind(UNKNOWN):
                self.words[node] = _MISS if self.forced[graph.electron_of[node]] else _UNKNOWN
        other = self.decisions.other
        for node in self.decisions.of_kind(SAME):
            self.words[node] = self.words[other[node]]
        self.lost = self._lost()
        for node in self.lost:
            self.words[node] = _MISS

    def _lost(self) -> dict[int, str]:
        """The hits that a run would find evicted or damaged when it loads them: those it returns or calls need."""
        kinds, other = self.decisions.kinds, self.decisions.other
        if HIT not in kinds:
            return {}
        needed = set(self.graph.output_parents)
        for kind in (MISS, UNKNOWN):
            for node in self.decisions.of_kind(kind):
                needed.update(self.graph.parents_of(node))
        lost, left, todo = dict[int, str](), _LOOKED_INTO, sorted(needed)
        while todo:
            node = todo.pop()
            if kinds[node] == SAME:
                node = other[node]
                if node in needed:
                    continue
                needed.add(node)
            if kinds[node] != HIT:
                continue
            record = self.hits.record(node)
            if record.blob in self.journal.evicted:
                lost[node] = EVICTED
            elif left > 0:
                left -= record.size
                if not self.journal.is_readable(record.blob):
                    lost[node] = BLOB_GONE
            if node in lost:
                above = set(self.graph.parents_of(node)) - needed
                needed |= above
                todo += sorted(above)
        same = self.decisions.of_kind(SAME) if lost else ()
        return lost | {node: lost[other[node]] for node in same if other[node] in lost}


_LOOKED_INTO = 1 << 30  # bytes: a plan should not take as long as the run
_WORD_OF_KIND = bytes(_UNKNOWN if kind == UNKNOWN else _MISS if kind == MISS else _HIT for kind in range(256))


class _Planned(PlannedNodes):
    def __init__(
        self, decided: _Decided, reasons: Reasons, times: Callable[[], Mapping[int, float]], labels: Sequence[str]
    ) -> None:
        self._d = decided
        self._reasons = reasons
        self._find_times = times
        self._labels = labels

    @cached_property
    def _times(self) -> Mapping[int, float]:
        return self._find_times()

    def count_of(self, decision: str) -> int:
        return self._d.words.count(_WORDS.index(decision))

    def estimate_s(self) -> float:
        words, lost = self._d.words, self._d.lost
        known = sum(seconds for node, seconds in self._times.items() if words[node] != _HIT and node not in lost)
        return known + sum(self[node].seconds or 0.0 for node in lost)

    def __len__(self) -> int:
        return len(self._d.words)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        node = range(len(self))[index]
        slot, word = self._d.graph.row_of(node).slot, _WORDS[self._d.words[node]]
        is_found = self._d.decisions.kinds[node] == HIT
        seconds = self._d.hits.record(node).seconds if is_found else self._times.get(node)
        return PlannedNode(node, self._labels[node], slot, word, self._reason(node), seconds)

    def _reason(self, node: int) -> str:
        decisions, journal = self._d.decisions, self._d.journal
        kind, other, key = decisions.kinds[node], decisions.other[node], decisions.keys[node]
        if node in self._d.lost:
            return self._d.lost[node]
        if kind == SAME:
            return f"same call as {self._labels[other]}"
        if kind == UNKNOWN:
            return self._d.forced[self._d.graph.electron_of[node]] or f"waits for {self._labels[other]}"
        return decisions.words[other] or journal.unusable.get(key or b"") or self._reasons.why(node)


class _PlannedInPart(PlannedNodes):
    """All nodes, where what was planned is an excerpt: the others are as they were."""

    def __init__(self, part: Excerpt, planned: _Planned, labels: Sequence[str]) -> None:
        self._part = part
        self._planned = planned
        self._labels = labels
        self._place = {number: i for i, number in enumerate(part.numbers)}
        self._rest = unchanged(part.whole)

    def count_of(self, decision: str) -> int:
        others = len(self) - len(self._planned) if decision == "hit" else 0
        return self._planned.count_of(decision) + others

    def estimate_s(self) -> float:
        return self._planned.estimate_s()

    def __len__(self) -> int:
        return len(self._rest)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        node = range(len(self))[index]
        label, slot = self._labels[node], self._part.slot_of(node)
        at = self._place.get(node)
        if at is None or at in self._part.given:
            one = self._rest[node]
            return PlannedNode(node, label, slot, "hit", one.reason, one.seconds)
        return replace(self._planned[at], index=node)
