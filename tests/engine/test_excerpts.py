"""A redispatch that looks at what a change can reach comes to what one that looks at the whole graph comes to."""

from __future__ import annotations

import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cas_run as ct
from cas_engine import planning
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.location import open_store
from cas_engine.evaluating import running
from cas_engine.evaluating.events import NodeFinished, Planned
from cas_engine.evaluating.excerpt import excerpt_of
from cas_engine.plans.policy import REUSE, checked_policy
from cas_engine.plans.records import blob_in
from cas_engine.preparing.preparation import Prepared, prepare_again
from cas_store.sweeping import Victim
from cas_store.tables import Table
from cas_store.writes import Delete

KINDS = "abcdes"


@ct.electron
def a(*parts: int) -> int:
    return 1 + sum(parts)


@ct.electron
def b(*parts: int) -> int:
    return 2 * sum(parts) % 7


@ct.electron
def c(*parts: int) -> int:
    return 3 + max(parts, default=0)


@ct.electron(stochastic=True)
def s(*parts: int) -> int:
    return random.Random(ct.seed()).randrange(20) + sum(parts)


@ct.electron(stochastic=True)
def t(*parts: int) -> int:
    """Of several with equal inputs in sublattices that run side by side, which draws first cannot be told."""
    return 4 + sum(parts)


@ct.electron
@ct.lattice
def d(*parts: int) -> Any:
    return a(b(*parts), 1)


@ct.electron
@ct.lattice
def e(*parts: int) -> Any:
    return c(t(*parts))


@ct.lattice
def any_graph(shape: list[tuple[str, list[int], int]], returned: list[int]) -> Any:
    made: list[Any] = []
    by_name = {"a": a, "b": b, "c": c, "d": d, "e": e, "s": s}
    for kind, above, constant in shape:
        made.append(by_name[kind](constant, *(made[i % len(made)] for i in above if made)))
    return [made[i % len(made)] for i in returned]


def a_same(*parts: int) -> int:
    """Other code that gives the same: what hangs on it is cut off early."""
    return sum(parts) + 1


def a_other(*parts: int) -> int:
    return 5 + sum(parts)


def b_other(*parts: int) -> int:
    return sum(parts) % 5


def c_fails(*parts: int) -> int:
    if sum(parts) % 3 == 0:
        raise ValueError("three")
    return sum(parts)


def s_other(*parts: int) -> int:
    return random.Random(ct.seed()).randrange(30) - sum(parts)


# What is replaced, and what runs all the same.
CHANGES: list[tuple[dict[str, Any], Any]] = [
    ({"a": a_same}, None),
    ({"a": a_other}, None),
    ({"b": b_other}, None),
    ({"c": c_fails}, None),
    ({"s": s_other}, None),
    ({"s": ct.electron(s_other, stochastic=True)}, None),
    ({"t": a_same}, None),
    ({"a": a_other, "b": b_other}, None),
    ({}, "stochastic"),
    ({}, ["b"]),
    ({"c": c_fails}, ["s"]),
    ({"b": b_other}, "stochastic"),
]
ONE_CALL = st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 30), max_size=3), st.integers(0, 2))
SHAPES = st.lists(ONE_CALL, min_size=1, max_size=14)


def told(result: ct.Result) -> list[Any]:
    return [
        (node.label, node.status, node.reason, node.key, node.value_digest, node.size, node.error, node.result)
        for node in result.nodes
    ]


def counts(result: ct.Result) -> list[Any]:
    return [result.status.value, result.hits, result.ran, result.failed, result.skipped, result.result]


def prepared_again(folder: Path, parent: str, one: tuple[dict[str, Any], Any]) -> tuple[Any, Any]:
    store = open_store(folder)
    return store, prepare_again(store, ledger.get(store, parent), one[0], checked_policy(one[1], reuse=True), (), {})


def fits(one: tuple[dict[str, Any], Any], shape: Any) -> bool:
    """Whether there is what it names."""
    named = {*one[0], *(one[1] if isinstance(one[1], list) else ())}
    return named <= {inner for kind, _, _ in shape for inner in {"d": "dab", "e": "ect"}.get(kind, kind)}


def again(folder: Path, parent: str, one: Any, *, whole: bool = False) -> ct.Result:
    """Redispatch, by what the change can reach or by the whole graph."""
    store, prepared = prepared_again(folder, parent, one if isinstance(one, tuple) else (one, None))
    if whole and isinstance(prepared, Prepared):
        prepared = replace(prepared, only_replaced=False)
    started = running.start(store, prepared, "inline", None)
    return ct.get_result(started, wait=True, store=folder)


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.lists(st.integers(0, 30), max_size=2), st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3))
def test_chains_of_replacements_come_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, returned: Any, changes: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    x, y = folder / "x", folder / "y"
    here = there = ct.dispatch_sync(any_graph, store=x, executor="inline")(shape, returned).dispatch_id
    shutil.copytree(x, y)
    for one in changes:
        if not fits(one, shape):
            continue
        part = again(x, here, one)
        all_of_it = again(y, there, one, whole=True)
        assert told(part) == told(all_of_it)
        assert counts(part) == counts(all_of_it)
        assert part.saved_s == pytest.approx(sum(node.saved_s for node in part.nodes))
        here, there = part.dispatch_id, all_of_it.dispatch_id


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.lists(st.integers(0, 30), max_size=2), st.sampled_from(CHANGES), st.sampled_from(CHANGES))
def test_a_plan_by_what_a_change_can_reach_is_that_of_the_whole_graph(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, returned: Any, first: Any, second: Any
) -> None:
    x = tmp_path_factory.mktemp("store")
    here = ct.dispatch_sync(any_graph, store=x, executor="inline")(shape, returned).dispatch_id
    if fits(first, shape):
        here = again(x, here, first).dispatch_id
    if fits(second, shape):
        store, prepared = prepared_again(x, here, second)
        plan = planning.plan_of(store, prepared)
        if isinstance(prepared, Prepared):
            prepared = replace(prepared, only_replaced=False)
        whole = planning.plan_of(store, prepared)
        assert {**plan.to_json(), "estimate_s": 0} == {**whole.to_json(), "estimate_s": 0}
        assert plan.estimate_s == pytest.approx(whole.estimate_s)
        assert list(pickle.loads(pickle.dumps(plan)).nodes) == list(whole.nodes)


@ct.lattice
def fan(n: int) -> Any:
    first = b(*[a(i) for i in range(n)])
    return c(c(first)), b(7)


def test_only_what_hangs_on_the_change_is_looked_at_and_what_that_hangs_on(tmp_path: Path) -> None:
    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(30)
    store = open_store(tmp_path)
    prepared = prepare_again(store, ledger.get(store, done.dispatch_id), {"c": c_fails}, REUSE, (), {})
    assert isinstance(prepared, Prepared)
    part = excerpt_of(store, prepared)
    assert part is not None
    assert part.graph.labels() == ["b#0", "c#0", "c#1"]
    assert (list(part.numbers), list(part.given)) == ([30, 31, 32], [0])


@pytest.mark.parametrize("label", ["b#0", "b#1"])  # what the change hangs on, and what is returned beside it
def test_what_was_evicted_meanwhile_and_is_needed_runs_again(tmp_path: Path, label: str) -> None:
    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(4)
    store = open_store(tmp_path)
    row = store.get(Table.RECORDS, bytes.fromhex(done.node(label).key))
    assert row is not None
    with store.barrier() as barrier:
        assert list(store.take(barrier, [Victim(blob_in(row), evicted=True)]))
    result = again(tmp_path, done.dispatch_id, {"c": a_same})
    assert result.result == (8, 0)
    assert {node.label: node.status for node in result.nodes if node.status == "ran"} == dict.fromkeys(
        [label, "c#0", "c#1"], "ran"
    )


def test_a_record_that_is_gone_is_looked_for_by_content(tmp_path: Path) -> None:
    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(4)
    store = open_store(tmp_path)
    store.commit([Delete(Table.RECORDS, bytes.fromhex(done.node("b#0").key))])
    result = again(tmp_path, done.dispatch_id, {"c": a_same})
    assert result.node("b#0").reason == "its inputs came out the same"
    assert result.ran == 2


def test_what_is_found_gone_by_the_call_that_loads_it_is_made_again(tmp_path: Path) -> None:
    """The whole graph is looked at after all."""
    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(4)
    store = open_store(tmp_path)
    row = store.get(Table.RECORDS, bytes.fromhex(done.node("b#0").key))
    assert row is not None

    def evict(event: object) -> None:
        if isinstance(event, Planned):
            with store.barrier() as barrier:
                list(store.take(barrier, [Victim(blob_in(row), evicted=True)]))

    prepared = prepare_again(store, ledger.get(store, done.dispatch_id), {"c": a_same}, REUSE, (), {})
    started = running.start(store, prepared, "inline", evict)
    result = ct.get_result(started, wait=True, store=tmp_path)
    assert result.result == (8, 0)
    assert result.node("b#0").status == "ran"
    with store.snapshot() as snapshot:
        assert not list(snapshot.scan(Table.NODES))


def test_who_watches_hears_of_every_node_by_its_number_in_the_whole(tmp_path: Path) -> None:
    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(4)
    events: list[Any] = []
    again_ = ct.redispatch(done.dispatch_id, {"c": a_same}, store=tmp_path, executor="inline", observer=events.append)
    result = ct.get_result(again_(), wait=True, store=tmp_path)
    planned = next(one for one in events if isinstance(one, Planned))
    assert (planned.total, planned.hits) == (8, 6)
    heard = {one.index: (one.label, one.status, one.reason) for one in events if isinstance(one, NodeFinished)}
    assert heard == {node.index: (node.label, node.status, node.reason) for node in result.nodes}


def test_a_parent_removed_meanwhile_leaves_nothing_to_be_lost(tmp_path: Path) -> None:
    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(4)

    def forget(event: object) -> None:
        if isinstance(event, Planned) and event.hits < event.total and ct.list_dispatches(tmp_path)[1:]:
            ct.remove(done.dispatch_id, store=tmp_path)
            ct.gc(store=tmp_path)

    again_ = ct.redispatch(done.dispatch_id, {"c": a_same}, store=tmp_path, executor="inline", observer=forget)
    result = ct.get_result(again_(), wait=True, store=tmp_path)
    assert result.result == (8, 0)
    assert [node.result for node in result.nodes] == [1, 2, 3, 4, 6, 7, 8, 0]
