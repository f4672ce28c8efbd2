"""A lattice that is an electron is evaluated when it is reached, with concrete inputs, as a dispatch of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine.workflows import again

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def test_a_sublattice_builds_its_graph_from_data(search: Any, ran: Ran) -> None:
    result = ct.dispatch_sync(search)(4, 2)
    assert result.result == -(1 + 4 + 9)
    assert ran() == ["best", "collect", "crunch", "fit1", "fit2", "fit3", "load"]
    assert [node.electron for node in result.nodes] == ["load", "crunch", "best"]


def test_a_sublattice_has_a_dispatch_of_its_own(search: Any) -> None:
    result = ct.dispatch_sync(search)(3)
    inner = ct.get_result(str(result.node("crunch").dispatch))
    assert (inner.lattice, inner.status, inner.result) == ("crunch", "COMPLETED", 3)
    assert [node.label for node in inner.nodes] == ["fit#0", "fit#1", "collect"]
    assert inner.inputs == {"data": "[0, 1, 2]", "power": "1"}
    assert [r.dispatch_id for r in ct.list_dispatches()] == [result.dispatch_id]


def test_an_unchanged_sublattice_is_one_hit_and_is_not_even_traced(search: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(search)(3)
    ran()
    other = again(first.dispatch_id, {"best": lambda value: value + 100})()
    assert other.result == 103
    assert other.node("crunch").status == "hit"
    assert ran() == []
    assert other.node("crunch").dispatch == first.node("crunch").dispatch


def test_a_changed_sublattice_runs_only_its_inner_cone(search: Any, ran: Ran) -> None:
    ct.dispatch_sync(search)(3)
    ran()
    assert ct.dispatch_sync(search)(4).result == -6
    assert ran() == ["best", "collect", "crunch", "fit3", "load"]


def test_an_upstream_that_came_out_equal_leaves_the_sublattice_a_hit(search: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(search)(3)
    ran()

    def load(n: int) -> list[int]:
        mark("other load")
        return [0, 1, 2]

    other = again(first.dispatch_id, {"load": load})()
    assert other.result == first.result
    assert ran() == ["load", "other"]


def test_sublattices_nested_twice(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def leaf(n: int) -> int:
        mark(f"leaf{n}")
        return n

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return [leaf(i) for i in range(n)]

    @ct.electron
    @ct.lattice
    def middle(n: int) -> Any:
        return [inner(i) for i in range(n)]

    @ct.electron
    def double(n: int) -> int:
        return 2 * n

    @ct.lattice
    def outer(n: int) -> Any:
        return middle(double(n))

    assert ct.dispatch_sync(outer)(2).result == [[], [0], [0, 1], [0, 1, 2]]
    assert ran() == ["leaf0", "leaf1", "leaf2"]
    assert ct.dispatch_sync(outer)(2).result == [[], [0], [0, 1], [0, 1, 2]]
    assert ran() == []
    assert len(ct.dispatch_sync(outer)(3).result) == 6
    assert ran() == ["leaf3", "leaf4"]


def test_a_recursive_sublattice(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def add(a: int, b: int) -> int:
        mark(f"add{a}+{b}")
        return a + b

    @ct.electron
    @ct.lattice
    def fibonacci(n: int) -> Any:
        return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))

    @ct.lattice
    def flow(n: int) -> Any:
        return fibonacci(n)

    assert ct.dispatch_sync(flow)(6).result == 8
    assert ran() == ["add1+0", "add1+1", "add2+1", "add3+2", "add5+3"]


def test_a_loop_until_the_data_say_stop(mark: Mark) -> None:
    @ct.electron
    def halve(n: int) -> int:
        return n // 2

    @ct.electron
    @ct.lattice
    def until_small(n: int) -> Any:
        return n if n < 5 else until_small(halve(n))

    @ct.lattice
    def flow(n: int) -> Any:
        return until_small(n)

    assert ct.dispatch_sync(flow)(100).result == 3


def test_sublattices_side_by_side_take_handles_and_give_parts(mark: Mark) -> None:
    @ct.electron
    def load() -> dict[str, list[int]]:
        return {"a": [1, 2], "b": [3]}

    @ct.electron
    def one(n: int) -> int:
        return n

    @ct.electron(outputs=2)
    @ct.lattice
    def part(values: list[int], *, by: int = 1) -> Any:
        return sum([one(v * by) for v in values], one(0)), len(values)

    @ct.lattice
    def flow() -> Any:
        loaded = load()
        (a, n), (b, m) = part(loaded["a"]), part(loaded["b"], by=10)
        return [a + b, n, m]

    assert ct.dispatch_sync(flow)().result == [33, 2, 1]


def test_more_sublattices_than_run_at_a_time(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def work(n: int) -> int:
        mark("work")
        return n

    @ct.electron
    @ct.lattice
    def deep(n: int, left: int) -> Any:
        return work(n) if left == 0 else deep(n, left - 1)

    @ct.lattice
    def flow() -> Any:
        return [deep(n, 2) for n in range(20)]

    for executor in ("thread", "inline"):
        result = ct.get_result(ct.dispatch(flow, executor=executor)(), wait=True, timeout=60)
        assert result.result == list(range(20))
    assert ran() == ["work"] * 20


# Recompute, samples -----------------------------------------------------------------------------------------------


def test_what_is_forced_is_forced_in_sublattices_too(search: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(search)(3)
    everything = ran()
    again(first.dispatch_id, recompute="all")()
    assert ran() == everything
    again(first.dispatch_id, recompute=["fit"])()
    assert ran() == ["crunch", "fit1", "fit2"]
    again(first.dispatch_id, recompute=["load"])()
    assert ran() == ["load"]


def test_samples_in_a_sublattice_are_kept_and_drawn_again(mark: Mark, ran: Ran, take_number: Callable[[], int]) -> None:
    @ct.electron(stochastic=True)
    def draw(n: int) -> int:
        mark("draw")
        return take_number()

    @ct.electron
    def ten(n: int) -> int:
        mark("ten")
        return 10 * n

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return [ten(draw(n)) for _ in range(n)]

    @ct.electron
    def after(values: list[int], by: int) -> list[int]:
        mark("after")
        return [v * by for v in values]

    @ct.lattice
    def flow(n: int, by: int = 1) -> Any:
        return after(inner(n), by)

    first = ct.dispatch_sync(flow)(2)
    assert sorted(first.result) == [10, 20]
    second = again(first.dispatch_id, recompute="stochastic")()
    assert sorted(second.result) == [30, 40]
    ran()
    # Each child agrees with its own parent.
    for parent in (first, second):
        child = again(parent.dispatch_id)(by=3)
        assert child.result == [3 * v for v in parent.result]
        assert ran() == ["after"]
        other = again(parent.dispatch_id, {"ten": lambda n: ("sample", n)})()
        assert other.result == [("sample", v // 10) for v in parent.result]
        assert "draw" not in ran()


def test_equal_sublattices_that_draw_are_two_samples(mark: Mark, ran: Ran, take_number: Callable[[], int]) -> None:
    @ct.electron(stochastic=True)
    def draw(n: int) -> int:
        mark("draw")
        return take_number()

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return draw(n)

    @ct.electron
    @ct.lattice
    def middle(n: int) -> Any:
        return [inner(n), inner(n)]

    @ct.lattice
    def flow() -> Any:
        return [middle(1), middle(1)]

    first = ct.dispatch_sync(flow)()
    assert sorted([*first.result[0], *first.result[1]]) == [1, 2, 3, 4]
    assert ct.dispatch_sync(flow)().result == first.result
    assert again(first.dispatch_id)().result == first.result
    assert ran() == ["draw"] * 4


def test_a_sample_that_stands_in_inside_a_sublattice_makes_it_a_sample(
    mark: Mark, ran: Ran, take_number: Callable[[], int]
) -> None:
    @ct.electron
    def give(n: int) -> int:
        return n

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return give(n)

    @ct.lattice
    def flow() -> Any:
        return [inner(1), inner(1)]

    @ct.electron(stochastic=True)
    def draw(n: int) -> int:
        mark("draw")
        return take_number()

    first = ct.dispatch_sync(flow)()
    drawn = again(first.dispatch_id, {"give": draw})()
    assert sorted(drawn.result) == [1, 2]
    assert again(drawn.dispatch_id)().result == drawn.result
    assert ran() == ["draw", "draw"]
    anew = again(drawn.dispatch_id, recompute="stochastic")()
    assert sorted(anew.result) == [3, 4]
    by_name = again(drawn.dispatch_id, recompute=["draw"])()
    assert sorted(by_name.result) == [5, 6]
    assert again(drawn.dispatch_id)().result == drawn.result


# Failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_in_a_sublattice_is_the_failure_of_its_node_and_says_where(search: Any, mark: Mark, ran: Ran) -> None:
    def fit(x: int, power: int) -> int:
        if x == 2:
            raise ValueError("no fit for 2")
        mark(f"good{x}")
        return x

    first = ct.dispatch_sync(search)(3)
    ran()
    failed = again(first.dispatch_id, {"fit": fit})()
    assert (failed.status, failed.result) == ("FAILED", None)
    assert [(n.label, n.status) for n in failed.nodes] == [
        ("load", "hit"),
        ("crunch", "failed"),
        ("best", "skipped"),
    ]
    assert "ValueError: no fit for 2" in str(failed.node("crunch").error)
    inner = ct.get_result(str(failed.node("crunch").dispatch))
    assert inner.status == "FAILED"
    assert "fit#1" in str(inner.error)
    ran()
    # Mended by replacement, only what is missing runs.
    mended = again(failed.dispatch_id, {"fit": lambda x, power: 5})()
    assert mended.result == -10
    assert ran() == ["best", "collect", "crunch"]


def test_a_repaired_sublattice_reuses_what_had_finished_in_it(mark: Mark, ran: Ran, tmp_path: Path) -> None:
    @ct.electron
    def slow(n: int) -> int:
        mark("slow")
        return n

    @ct.electron
    def fragile(n: int) -> int:
        mark("fragile")
        return int((tmp_path / "input").read_text())

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return [slow(n), fragile(n)]

    @ct.lattice
    def flow() -> Any:
        return inner(1)

    failed = ct.dispatch_sync(flow)()
    assert failed.status == "FAILED"
    ran()
    (tmp_path / "input").write_text("7")
    assert again(failed.dispatch_id)().result == [1, 7]
    assert ran() == ["fragile"]


def test_a_sublattice_whose_function_raises_fails_with_the_users_frames(mark: Mark) -> None:
    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return {0: None}[n]

    @ct.lattice
    def flow() -> Any:
        return inner(1)

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    error = str(result.node("inner").error)
    assert "KeyError: 1" in error
    assert "in inner" in error
    assert "cas_engine" not in error


def test_a_cancelled_sublattice_is_cancelled(mark: Mark, ran: Ran, eventually: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def step(n: int) -> int:
        import time

        mark("step")
        while not gate.exists():
            time.sleep(0.005)
        return n

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        a = step(n)
        return step(a + 1)

    @ct.lattice
    def flow() -> Any:
        return inner(1)

    dispatch_id = ct.dispatch(flow)()
    eventually((tmp_path / "tally").exists)
    assert ct.cancel(dispatch_id)
    result = ct.get_result(dispatch_id, wait=True, timeout=20)
    gate.touch()
    assert result.status == "CANCELLED"
    assert result.node("inner").status == "cancelled"
    assert ct.get_result(ct.redispatch(dispatch_id)(), wait=True).result == 2
