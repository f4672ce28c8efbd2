"""`ct.wait` makes a child wait for parents that give it nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.workflows import give

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def test_a_child_waits_for_parents_that_give_it_nothing(mark: Mark, tmp_path: Any) -> None:
    @ct.electron
    def write(n: int) -> None:
        import time

        time.sleep(0.1)
        (tmp_path / "table").write_text(str(n))

    @ct.electron
    def read() -> int:
        return int((tmp_path / "table").read_text())

    @ct.lattice
    def flow(n: int) -> Any:
        written = write(n)
        return ct.wait(read(), [written])

    assert ct.dispatch_sync(flow)(3).result == 3
    # A changed parent reaches the child, though it gives it nothing: its side effect may matter.
    assert ct.dispatch_sync(flow)(4).result == 4


def test_waiting_takes_handles_and_lists_of_them_in_any_order(mark: Mark) -> None:
    done: list[str] = []

    @ct.electron(executor="inline")
    def step(name: str) -> str:
        done.append(name)
        return name

    @ct.lattice
    def flow() -> Any:
        late, also = step("late"), step("also")
        first, second = step("first"), step("second")
        ct.wait(child=late, parents=first)
        ct.wait([also, late], [first, second])
        return [late, also]

    assert ct.dispatch_sync(flow)().result == ["late", "also"]


def test_electrons_that_wait_for_each_other_are_refused(mark: Mark) -> None:
    @ct.lattice
    def flow() -> Any:
        a, b = give(1), give(2)
        ct.wait(a, b)
        ct.wait(b, a)
        return [a, b]

    with pytest.raises(CasRunError, match=r"wait for each other.*(\n.*)*ct\.wait"):
        ct.dispatch(flow)()


def test_waiting_skips_what_waits_for_a_failure(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def breaks() -> None:
        raise ValueError("no")

    @ct.electron
    def child() -> None:
        mark("child")

    @ct.lattice
    def flow() -> Any:
        return ct.wait(child(), breaks())

    result = ct.dispatch_sync(flow)()
    assert (result.status, result.node("child").status, ran()) == ("FAILED", "skipped", [])
