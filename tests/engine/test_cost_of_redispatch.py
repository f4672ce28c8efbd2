"""What a redispatch costs follows what changed: counted in calls that Python makes, which no busy machine disturbs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

import cas_run as ct


@ct.electron
def leaf(i: int) -> int:
    return i


@ct.electron
def gather(parts: list[Any]) -> int:
    return sum(parts)


@ct.electron
def polish(x: int) -> int:
    return x + 1


@ct.lattice
def fan(n: int) -> Any:
    return polish(polish(gather([leaf(i) for i in range(n)])))


def calls_of(work: Callable[[], object]) -> int:
    """How many functions Python calls in this thread; done once before, so that imports and caches are not counted."""
    work()
    count = 0

    def note(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture(scope="module")
def of_size(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Any, str]]:
    def made(n: int) -> tuple[Any, str]:
        folder = tmp_path_factory.mktemp(f"store{n}")
        return folder, ct.dispatch_sync(fan, store=folder, executor="inline")(n).dispatch_id

    return made


def test_an_unchanged_workflow_is_answered_and_its_result_read_at_the_same_cost_whatever_its_size(
    of_size: Callable[[int], tuple[Any, str]],
) -> None:
    def again(n: int) -> int:
        folder, first = of_size(n)

        def work() -> None:
            started = ct.redispatch(first, store=folder)()
            result = ct.get_result(started, wait=True, store=folder)
            assert (result.hits, result.ran, result.result) == (n + 3, 0, n * (n - 1) // 2 + 2)

        return calls_of(work)

    few, many = again(20), again(400)
    assert abs(many - few) < 100  # waiting for the disk is a loop; a node is many calls


@ct.electron(stochastic=True)
def draw(i: int) -> int:
    return i


@ct.electron
@ct.lattice
def inside(x: int) -> Any:
    return leaf(x)


@ct.electron
def again_and_again(x: int) -> int:
    return x


@ct.lattice
def mixed(n: int) -> Any:
    """Samples and a sublattice far from what is replaced, and right above it."""
    all_of_it = gather([*(leaf(i) for i in range(n)), *(draw(i) for i in range(n // 2)), inside(1)])
    return polish(polish(draw(all_of_it))), inside(again_and_again(draw(2)))


@pytest.mark.parametrize("change", ["replaced", "above a sublattice", "run again"])
def test_what_is_far_from_a_change_costs_nothing_also_where_it_was_drawn_or_is_a_lattice(
    tmp_path_factory: pytest.TempPathFactory, change: str
) -> None:
    number = iter(range(2, 100))

    def other(name: str) -> dict[str, Any]:
        space: dict[str, Any] = {}
        exec(f"def {name}(x):\n    return x + {next(number)}\n", space)
        return {name: space[name]}

    def again(n: int) -> int:
        folder = tmp_path_factory.mktemp(f"store{n}")
        first = ct.dispatch_sync(mixed, store=folder, executor="inline")(n).dispatch_id

        def work() -> None:
            given: dict[str, Any] = {"recompute": ["polish"]}
            if change != "run again":
                given = {"replace_electrons": other({"replaced": "polish"}.get(change, "again_and_again"))}
            started = ct.redispatch(first, store=folder, executor="inline", **given)()
            result = ct.get_result(started, wait=True, store=folder)
            assert (str(result.status), result.ran) == ("COMPLETED", 2)

        return calls_of(work)

    few, many = again(150), again(1500)
    # The manifest of a large graph lies in more parts; a call for each of its nodes would be 2,000 more.
    assert many < few + 1_500
