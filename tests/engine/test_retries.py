"""An electron is tried again as it asks, and what takes longer than its timeout has failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@ct.electron
def process(n: int) -> int:
    import os

    return os.getpid()


def test_retries_run_until_one_returns(mark: Mark, ran: Ran, take_number: Callable[[], int]) -> None:
    @ct.electron(retries=3)
    def flaky() -> int:
        mark("flaky")
        number = take_number()
        if number < 3:
            raise ValueError(f"not yet {number}")
        return number

    @ct.lattice
    def flow() -> Any:
        return flaky()

    for executor in ("thread", "inline"):
        assert ct.dispatch_sync(flow, executor=executor)().result == 3
    assert ran() == ["flaky"] * 3


def test_retries_end(mark: Mark, ran: Ran) -> None:
    @ct.electron(retries=2)
    def broken() -> int:
        mark("broken")
        raise ValueError("never")

    @ct.lattice
    def flow() -> Any:
        return broken()

    result = ct.dispatch_sync(flow)()
    assert (result.status, result.failed) == ("FAILED", 1)
    assert ran() == ["broken"] * 3


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_it_is_tried_again_only_after_the_exceptions_that_were_named(mark: Mark, ran: Ran, executor: str) -> None:
    class Busy(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(code)
            self.code = code

    def is_busy(error: BaseException) -> bool:
        return isinstance(error, Busy) and error.code == 503

    def broken(error: BaseException) -> bool:
        raise KeyError("no such thing")

    def work(code: int) -> None:
        mark(f"code{code}")
        if code <= 0:
            raise ConnectionResetError
        raise Busy(code)

    by_class = ct.electron(work, name="by_class", retries=2, retry_on=Busy)
    by_classes = ct.electron(work, name="by_classes", retries=2, retry_on=(ConnectionError, KeyError))
    by_function = ct.electron(work, name="by_function", retries=2, retry_on=is_busy)
    by_broken = ct.electron(work, name="by_broken", retries=2, retry_on=broken)

    @ct.lattice
    def flow() -> Any:
        return by_class(1), by_class(0), by_classes(-1), by_function(503), by_function(404), by_broken(2)

    result = ct.dispatch_sync(flow, executor=executor)()
    assert {node.label: node.tries for node in result.nodes} == {
        "by_class#0": 3,
        "by_class#1": 1,
        "by_classes": 3,
        "by_function#0": 3,
        "by_function#1": 1,
        "by_broken": 1,
    }
    assert ran() == sorted(["code1", "code-1", "code503"] * 3 + ["code0", "code404", "code2"])
    assert "KeyError: 'no such thing'" in str(result.error)
    # It is recorded, and no part of the key.
    again = ct.get_result(ct.redispatch(result.dispatch_id, executor=executor)(), wait=True)
    assert {node.label: node.tries for node in again.nodes} == {node.label: node.tries for node in result.nodes}


def test_a_try_waits_for_its_time_and_others_go_on(mark: Mark, take_number: Callable[[], int], tmp_path: Path) -> None:
    times = tmp_path / "times"

    @ct.electron(retries=3, retry_delay=0.1)
    def flaky() -> int:
        import time

        with times.open("a") as file:
            file.write(f"{time.monotonic()}\n")
        number = take_number()
        if number < 4:
            raise ValueError
        return number

    @ct.electron
    def aside(n: int) -> int:
        return n

    @ct.lattice
    def flow() -> Any:
        return flaky(), aside(aside(aside(1)))

    order: list[str] = []
    result = ct.dispatch_sync(flow, observer=lambda event: order.append(getattr(event, "label", "")))()
    assert result.result == (4, 1)
    began = [float(line) for line in times.read_text().split()]
    pauses = [after - before for before, after in pairwise(began)]
    assert all(pause >= wanted for pause, wanted in zip(pauses, (0.1, 0.2, 0.4), strict=True))
    assert order[-2] == "flaky"


@pytest.mark.parametrize(
    "options",
    [
        {"retry_delay": -1},
        {"retry_delay": "soon"},
        {"retry_on": "ValueError"},
        {"retry_on": [int]},
        {"retry_on": int},
        {"retry_on": ()},
        {"timeout": 0},
        {"timeout": float("nan")},
    ],
)
def test_what_is_no_way_to_try_again_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ct.UsageError, match=next(iter(options))) as refused:
        ct.electron(lambda: 1, name="work", retries=1, **options)
    assert "electron `work`" in str(refused.value)


def test_a_sublattice_that_runs_out_of_time_is_stopped(mark: Mark, ran: Ran, tmp_path: Path) -> None:
    @ct.electron(executor="process")
    def step(n: int) -> int:
        import time

        mark("step")
        time.sleep(0.3)
        return n + 1

    @ct.electron(timeout=0.8)
    @ct.lattice
    def inner() -> Any:
        n = 0
        for _ in range(100):
            n = step(n)
        return n

    @ct.lattice
    def flow() -> Any:
        return inner()

    result = ct.get_result(ct.dispatch(flow)(), wait=True, timeout=20)
    assert "timeout=0.8" in str(result.error)
    inside = ct.get_result(str(result.nodes[0].dispatch), wait=True, timeout=20)
    assert inside.status == "CANCELLED"
    assert len(ran()) < 10


def test_retries_of_a_sublattice_take_up_what_had_finished(
    mark: Mark, ran: Ran, take_number: Callable[[], int]
) -> None:
    @ct.electron
    def fine() -> int:
        mark("fine")
        return 1

    @ct.electron
    def flaky(n: int) -> int:
        mark("flaky")
        if take_number() < 2:
            raise ValueError("not yet")
        return n

    @ct.electron(retries=1)
    @ct.lattice
    def inner() -> Any:
        return flaky(fine())

    @ct.lattice
    def flow() -> Any:
        return inner()

    assert ct.dispatch_sync(flow)().result == 1
    assert ran() == ["fine", "flaky", "flaky"]


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_what_takes_longer_than_its_timeout_has_failed(mark: Mark, ran: Ran, executor: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron(timeout=0.2, executor=executor)
    def slow() -> int:
        import time

        mark("slow")
        while not gate.exists():
            time.sleep(0.005)
        return 1

    @ct.electron
    def aside() -> int:
        return 2

    @ct.lattice
    def flow() -> Any:
        return [slow(), aside()]

    result = ct.get_result(ct.dispatch(flow)(), wait=True, timeout=20)
    gate.touch()
    assert [node.status for node in result.nodes] == ["failed", "ran"]
    assert "timeout=0.2" in str(result.error)
    assert ran() == ["slow"]
    # The late answer of the lost call is not taken for a result.
    assert ct.dispatch_sync(flow)().result == [1, 2]
    assert ran() == ["slow"]


def test_timeout_counts_for_each_try(mark: Mark, ran: Ran, take_number: Callable[[], int], tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron(timeout=0.3, retries=2)
    def slow_at_first() -> int:
        import time

        number = take_number()
        mark("try")
        while number < 3 and not gate.exists():
            time.sleep(0.005)
        return number

    @ct.lattice
    def flow() -> Any:
        return slow_at_first()

    result = ct.get_result(ct.dispatch(flow)(), wait=True, timeout=20)
    gate.touch()
    assert (result.result, ran()) == (3, ["try"] * 3)


def test_calls_that_ran_out_of_time_do_not_use_up_the_threads(mark: Mark, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron(timeout=0.2)
    def stuck(n: int) -> int:
        import time

        while not gate.exists():
            time.sleep(0.01)
        return n

    @ct.electron
    def fine(n: int) -> int:
        return n

    @ct.lattice
    def flow() -> Any:
        stuck_ones = [stuck(n) for n in range(45)]
        return stuck_ones, [fine(n) for n in range(45)]

    result = ct.get_result(ct.dispatch(flow)(), wait=True, timeout=30)
    assert (result.ran, result.failed) == (45, 45)
    gate.touch()


def test_the_time_in_the_queue_does_not_count(mark: Mark) -> None:
    @ct.electron(timeout=0.5)
    def nap(n: int) -> int:
        import time

        time.sleep(0.1)
        return n

    @ct.lattice
    def flow(n: int) -> Any:
        return [nap(i) for i in range(n)]

    width = 8 * (min(32, (os.cpu_count() or 1) + 4))
    assert ct.dispatch_sync(flow)(width).status == "COMPLETED"
