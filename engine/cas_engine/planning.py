"""What would run and what would be reused, and why: a dispatch that stops before it does anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cas_engine import ledger
from cas_engine.answers import load_manifest
from cas_engine.dispatch import checked_lattice
from cas_engine.errors import BadOption
from cas_engine.graph import Graph
from cas_engine.journal import BLOB_GONE, EVICTED, NOBODY, Journal
from cas_engine.location import StoreChoice, open_store
from cas_engine.plan import Decision, Hit, Miss, Planner, Same, Unknown, collecting_later
from cas_engine.planned import Plan, PlannedNode
from cas_engine.policy import checked_policy
from cas_engine.preparation import Answered, Prepared, prepare, prepare_again
from cas_store.store import Store


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
            return _plan_of(opened, prepare_again(opened, entry, replace_electrons, policy, args, kwargs))
        assert lattice is not None  # noqa: S101 - one of the two
        return _plan_of(opened, prepare(opened, lattice, args, kwargs, policy))

    return make


def _plan_of(store: Store, prepared: Prepared | Answered) -> Plan:
    if isinstance(prepared, Answered):
        graph = load_manifest(store, prepared.by).graph
        labels = graph.labels()
        nodes = tuple(
            PlannedNode(i, labels[i], graph.row_of(i).slot, "hit", "the whole workflow is unchanged", None)
            for i in range(len(graph))
        )
        return Plan(prepared.lattice, nodes)
    graph = prepared.manifest.graph
    labels = graph.labels()
    reasons = prepared.reasons(store)
    times = prepared.times()
    nodes_made: list[PlannedNode] = []
    journal = Journal(store, NOBODY)
    with journal.one_look(), collecting_later():
        planner = Planner(graph, prepared.prefixes(), prepared.policy, journal.lookup, prepared.kept)
        decisions = planner.decide_all(journal.lookup_many)
    for node, decision in enumerate(decisions):
        seconds = times.get(node)
        match decision:
            case Hit(_, record, reason):
                word, seconds = "hit", record.seconds
            case Same(_, first):
                word, reason = nodes_made[first].decision, f"same call as {labels[first]}"
            case Miss(_, forced):
                gone = journal.unusable.get(decision.key)
                word, reason = "miss", forced or gone or reasons.why(node)
            case Unknown(above):
                forced = prepared.policy.reason(graph.row_of(node))
                word, reason = ("miss", forced) if forced else ("unknown", f"waits for {labels[above]}")
        nodes_made.append(PlannedNode(node, labels[node], graph.row_of(node).slot, word, reason, seconds))
    for node, reason in _lost(graph, nodes_made, decisions, journal).items():
        nodes_made[node] = replace(nodes_made[node], decision="miss", reason=reason)
    return Plan(prepared.manifest.lattice.name, tuple(nodes_made))


_LOOKED_INTO = 1 << 30  # bytes: a plan should not take as long as the run


def _lost(
    graph: Graph, nodes: Sequence[PlannedNode], decisions: Sequence[Decision], journal: Journal
) -> dict[int, str]:
    """The hits that a run would find evicted or damaged when it loads them, and why: those it returns or calls need."""
    needed, lost, left = set(graph.output_parents), dict[int, str](), _LOOKED_INTO
    for node in reversed(range(len(graph))):
        decision = decisions[node]
        if isinstance(decision, Same):
            needed.update({decision.first} if node in needed else ())
            continue
        runs = nodes[node].decision != "hit"
        if isinstance(decision, Hit) and node in needed:
            blob = decision.record.blob
            if blob in journal.evicted:
                lost[node] = EVICTED
            elif left > 0:
                left -= decision.record.size
                if not journal.is_readable(blob):
                    lost[node] = BLOB_GONE
            runs = node in lost
        if runs:
            needed.update(graph.parents_of(node))
    same = {node: lost[one.first] for node, one in enumerate(decisions) if isinstance(one, Same) and one.first in lost}
    return lost | same
