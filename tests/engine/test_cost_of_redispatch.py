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
