"""Inside a lattice calls become nodes and control flow is ordinary Python; elsewhere electrons just run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from tests.engine.workflows import give, run, total

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def test_loops_and_branches_on_the_inputs_are_ordinary_python(mark: Mark) -> None:
    def flow(n: int, square: bool) -> Any:
        parts = [give(i) for i in range(n)]
        acc = give(0)
        for part in parts:
            acc = acc + (part * part if square else part)
        while n > 2:
            n -= 1
        return {"sum": acc, "n": n, "by name": {str(i): p for i, p in enumerate(parts)}, "total": total(parts)}

    assert run(flow, 4, square=True) == {"sum": 14, "n": 2, "by name": {"0": 0, "1": 1, "2": 2, "3": 3}, "total": 6}
    assert run(flow, 3, square=False)["sum"] == 3


def test_a_lattice_called_in_a_lattice_is_part_of_its_graph(mark: Mark) -> None:
    @ct.lattice
    def inner(n: Any) -> Any:
        return give(n) + 1

    def flow() -> Any:
        return inner(inner(1))

    assert run(flow) == 3


def test_electrons_outside_a_lattice_just_run(mark: Mark, ran: Ran) -> None:
    @ct.electron(stochastic=True, retries=2)
    def work(n: int) -> int:
        mark("work")
        return n + 1

    @ct.lattice
    def flow(n: int) -> Any:
        return work(n) * 2

    assert work(1) == 2
    assert flow(1) == 4
    assert ran() == ["work", "work"]
    assert ct.list_dispatches() == []
    assert inspect.signature(work) == inspect.signature(work.fn)
    assert getattr(work, "__name__") == "work"  # noqa: B009 - it has what its function has


def test_an_electron_called_inside_an_electron_just_runs(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def inner(n: int) -> int:
        mark("inner")
        return n + 1

    @ct.electron
    def outer(n: int) -> int:
        return inner(n) * 10

    def flow() -> Any:
        return outer(1)

    assert run(flow) == 20
    assert ran() == ["inner"]


def test_a_lattice_can_be_dispatched_inside_an_electron(mark: Mark) -> None:
    @ct.lattice
    def inside(n: int) -> Any:
        return give(n)

    @ct.electron
    def outer(n: int) -> Any:
        return ct.dispatch_sync(inside)(n).result

    def flow() -> Any:
        return outer(4)

    assert run(flow) == 4


def test_async_electrons(mark: Mark) -> None:
    @ct.electron
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    def flow() -> Any:
        return [fetch(i) for i in range(3)]

    assert run(flow) == [1, 2, 3]
    assert asyncio.run(fetch(1)) == 2


def test_async_electrons_fail_with_the_users_frames_alone(mark: Mark) -> None:
    @ct.electron
    async def fetch() -> int:
        await asyncio.sleep(0)
        raise LookupError("no such page")

    @ct.lattice
    def flow() -> Any:
        return fetch()

    error = str(ct.dispatch_sync(flow)().error)
    assert "LookupError: no such page" in error
    assert "in fetch" in error
    assert "asyncio" not in error
    assert "cas_engine" not in error


def test_a_dispatch_from_a_coroutine(mark: Mark) -> None:
    @ct.lattice
    def flow(n: int) -> Any:
        return give(n)

    async def main() -> list[Any]:
        return [ct.dispatch_sync(flow)(n).result for n in (1, 2)]

    assert asyncio.run(main()) == [1, 2]
