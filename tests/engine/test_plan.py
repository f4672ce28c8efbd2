"""A plan says before anything runs what would run, and why; running then does just that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import cas_run as ct
from cas_engine.errors import BadOption

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@pytest.fixture
def flow(mark: Mark) -> Any:
    @ct.electron
    def load(n: int) -> list[int]:
        mark("load")
        return list(range(n))

    @ct.electron
    def scale(data: list[int], by: int) -> list[int]:
        import time

        mark("scale")
        time.sleep(0.02)
        return [by * x for x in data]

    @ct.electron(stochastic=True)
    def sample(data: list[int]) -> int:
        mark("sample")
        return len(data)

    @ct.electron
    def report(n: int, scaled: list[int]) -> int:
        mark("report")
        return n + sum(scaled)

    @ct.lattice
    def flow(n: int = 3, by: int = 2) -> Any:
        data = load(n)
        return report(sample(data), scale(data, by))

    return flow


def decisions(plan: ct.Plan) -> dict[str, str]:
    return {node.label: node.decision for node in plan.nodes}


def reason(plan: ct.Plan, label: str) -> str:
    return next(node.reason for node in plan.nodes if node.label == label)


def test_the_plan_of_something_new_runs_nothing_and_leaves_nothing(flow: Any, ran: Ran) -> None:
    plan = ct.plan(flow)(n=4)
    assert ran() == []
    assert ct.list_dispatches() == []
    assert decisions(plan) == {"load": "miss", "sample": "miss", "scale": "miss", "report": "unknown"}
    assert (plan.hits, plan.misses, plan.unknown) == (0, 3, 1)
    assert reason(plan, "load") == "never run"
    assert "sample" in reason(plan, "report")
    assert ct.dispatch_sync(flow)(n=4).ran == 4


def test_the_plan_of_what_is_known_is_all_hits(flow: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(flow)()
    ran()
    for plan in (ct.plan(flow)(), ct.plan(first.dispatch_id)(), ct.plan(flow)(3, by=2)):
        assert set(decisions(plan).values()) == {"hit"}
        assert plan.estimate_s == 0.0
    assert ran() == []


def test_a_plan_says_why_and_how_long_it_took_last_time(flow: Any) -> None:
    first = ct.dispatch_sync(flow)()
    plan = ct.plan(first.dispatch_id)(by=5)
    assert decisions(plan) == {"load": "hit", "sample": "hit", "scale": "miss", "report": "miss"}
    assert "by" in reason(plan, "scale")
    assert "2" in reason(plan, "scale")
    assert "5" in reason(plan, "scale")
    assert "scale" in reason(plan, "report")
    assert plan.estimate_s >= 0.02
    replaced = ct.plan(first.dispatch_id, {"report": lambda n, scaled: n})()
    assert decisions(replaced)["report"] == "miss"
    assert "replaced" in reason(replaced, "report")
    forced = ct.plan(first.dispatch_id, recompute=["load"])()
    assert decisions(forced)["load"] == "miss"
    assert decisions(forced)["scale"] == "unknown"
    everything = ct.plan(flow, reuse_previous_results=False)()
    assert set(decisions(everything).values()) == {"miss"}
    with pytest.raises(BadOption, match="is a lattice"):
        ct.plan(flow, recompute=["load"])


def test_what_a_plan_calls_hits_and_misses_is_what_then_happens(flow: Any) -> None:
    first = ct.dispatch_sync(flow)()
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({}, {"by": 3}),
        ({}, {"n": 4}),
        ({"replace_electrons": {"sample": lambda data: 7}}, {}),
        ({"replace_electrons": {"scale": lambda data, by: data}}, {"by": 9}),
        ({"recompute": "stochastic"}, {}),
        ({"recompute": ["scale"]}, {}),
        ({"reuse_previous_results": False}, {}),
    ]
    for options, inputs in asked:
        plan = ct.plan(first.dispatch_id, **options)(**inputs)
        result = ct.get_result(ct.redispatch(first.dispatch_id, **options)(**inputs), wait=True)
        for planned, node in zip(plan.nodes, result.nodes, strict=True):
            assert planned.label == node.label
            if planned.decision == "hit":
                assert node.status == "hit"
            if planned.decision == "miss":  # early cutoff may still spare it
                assert node.status == "ran" or node.reason == "its inputs came out the same"


def test_a_plan_is_a_table(flow: Any) -> None:
    first = ct.dispatch_sync(flow)()
    lines = str(ct.plan(first.dispatch_id)(by=5)).splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["load", "hit"],
        ["sample", "hit"],
        ["scale", "miss"],
        ["report", "miss"],
    ]
    assert lines[-1].startswith("2 hits, 2 would run")


def test_changed_code_is_named(mark: Mark) -> None:
    def version(rate: int) -> Any:
        def factor() -> int:
            return rate

        @ct.electron
        def scale(n: int) -> int:
            return n * factor()

        @ct.lattice
        def flow() -> Any:
            return scale(1)

        return flow

    first = version(2)
    ct.dispatch_sync(first)()
    plan = ct.plan(version(3))()
    assert decisions(plan) == {"scale": "miss"}
    assert "rate" in reason(plan, "scale") or "factor" in reason(plan, "scale")


def test_what_no_key_counts_is_no_reason() -> None:
    @ct.electron
    def load(n: int) -> int:
        return n

    @ct.electron(ignore=["label"])
    def work(x: int, label: str, by: int = 2) -> int:
        return x * by

    @ct.lattice
    def flow(n: int, label: str) -> Any:
        return work(load(n), label, 2) if n else work(load(n), label)

    ct.dispatch_sync(flow)(0, "first")
    plan = ct.plan(flow)(1, "second")
    assert reason(plan, "load") == "input n 0 → 1"
    assert reason(plan, "work") == "upstream load"


def test_duplicates_are_planned_as_the_same_call(mark: Mark) -> None:
    @ct.electron
    def work(n: int) -> int:
        return n

    @ct.lattice
    def flow() -> Any:
        return [work(1), work(1)]

    plan = ct.plan(flow)()
    assert reason(plan, "work#1") == "same call as work#0"


def test_a_plan_of_a_sublattice_knows_it_as_one_node(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def leaf(n: int) -> int:
        mark("leaf")
        return n

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return leaf(n)

    @ct.lattice
    def flow(n: int) -> Any:
        return inner(n)

    first = ct.dispatch_sync(flow)(1)
    ran()
    assert decisions(ct.plan(first.dispatch_id)()) == {"inner": "hit"}
    assert decisions(ct.plan(first.dispatch_id)(2)) == {"inner": "miss"}
    assert decisions(ct.plan(first.dispatch_id, {"leaf": lambda n: -n})()) == {"inner": "miss"}
    assert ran() == []


def test_a_plan_before_a_failed_dispatch_is_repaired(mark: Mark) -> None:
    @ct.electron
    def fine() -> int:
        return 1

    @ct.electron
    def breaks(n: int) -> int:
        raise ValueError("no")

    @ct.lattice
    def flow() -> Any:
        return breaks(fine())

    failed = ct.dispatch_sync(flow)()
    assert decisions(ct.plan(failed.dispatch_id)()) == {"fine": "hit", "breaks": "miss"}
