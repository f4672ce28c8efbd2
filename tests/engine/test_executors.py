"""Where an electron runs is chosen for it, its lattice or its dispatch, and changes nothing about what comes of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@ct.electron
def where(n: int = 0) -> str:
    import threading

    return threading.current_thread().name


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        yield pool


def test_electrons_of_one_dispatch_run_side_by_side_by_default(mark: Mark) -> None:
    both = threading.Barrier(2, timeout=20)

    @ct.electron
    def meet(n: int) -> int:
        both.wait()  # passes only if both are there
        return n

    @ct.lattice
    def flow() -> Any:
        return [meet(1), meet(2)]

    assert ct.dispatch_sync(flow)().result == [1, 2]


def test_inline_runs_one_after_the_other(mark: Mark) -> None:
    @ct.electron
    def alone(n: int) -> int:
        import time

        folder = Path(os.environ["TALLY"] + ".alone")
        folder.mkdir()  # fails if another one is there
        time.sleep(0.02)
        folder.rmdir()
        return n

    @ct.lattice
    def flow(n: int) -> Any:
        return [alone(i) for i in range(n)]

    assert ct.dispatch_sync(flow, executor="inline")(4).result == [0, 1, 2, 3]


def test_the_electron_says_first_then_the_dispatch_then_the_lattice(mark: Mark, threads: Any) -> None:
    def work(n: int) -> str:
        import threading

        return threading.current_thread().name

    picky = ct.electron(work, name="picky", executor=threads)
    plain = ct.electron(work, name="plain")

    @ct.lattice(executor="inline")
    def flow(n: int) -> Any:
        return [picky(n), plain(n + 100)]

    by_lattice = ct.dispatch_sync(flow)(1).result
    by_dispatch = ct.dispatch_sync(flow, executor="thread")(2).result
    assert by_lattice[0].startswith("mine")
    assert by_dispatch[0].startswith("mine")
    assert by_lattice[1] != by_dispatch[1]
    assert not by_lattice[1].startswith("mine")
    assert ct.dispatch_sync(flow, executor=threads)(3).result[1].startswith("mine")
    child = ct.redispatch(ct.dispatch_sync(flow)(4).dispatch_id, executor=threads, recompute="all")
    assert ct.get_result(child(), wait=True).result[1].startswith("mine")


def test_a_thread_pool_of_the_users(mark: Mark, threads: Any, ran: Ran) -> None:
    @ct.electron
    def work(n: int) -> int:
        mark("work")
        if n == 3:
            raise ValueError("three")
        return n

    @ct.lattice
    def flow() -> Any:
        return [work(n) for n in range(5)]

    result = ct.dispatch_sync(flow, executor=threads)()
    assert (result.ran, result.failed) == (4, 1)
    assert "ValueError: three" in str(result.error)
    assert ran() == ["work"] * 5
    assert ct.dispatch_sync(flow)().hits == 4  # what ran there is known here
    assert ran() == ["work"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.slow
def test_a_process_pool_of_the_users(mark: Mark, ran: Ran, method: str) -> None:
    import numpy as np

    factor = 3

    @ct.electron
    def make(n: int) -> Any:
        import os

        mark("make")
        return np.full(20_000, n), os.getpid()

    @ct.electron
    def total(made: Any, by: int) -> float:
        mark("total")
        if by == 0:
            raise ZeroDivisionError("by nothing")
        return float(made[0].sum()) * factor / by

    @ct.lattice
    def flow(by: int) -> Any:
        made = [make(n) for n in range(2)]
        return [total(one, by) for one in made], [one[1] for one in made]

    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        result = ct.dispatch_sync(flow, executor=pool)(2)
        assert result.status == "COMPLETED", result.error
        totals, pids = result.result
        assert totals == [0.0, 30_000.0]
        assert os.getpid() not in pids
        assert ran() == ["make", "make", "total", "total"]
        assert ct.dispatch_sync(flow)(2).hits == result.ran
        assert ran() == []
        failed = ct.dispatch_sync(flow, executor=pool)(0)
        assert failed.failed == 2
        assert "ZeroDivisionError: by nothing" in str(failed.error)
        assert "cas_engine" not in str(failed.error)
        assert "_RemoteTraceback" not in str(failed.error)
        missing = ct.dispatch_sync(flow, executor=pool)(3)
        assert missing.status == "COMPLETED"


@pytest.mark.slow
def test_a_worker_process_that_dies_is_the_failure_of_its_electron(mark: Mark) -> None:
    @ct.electron
    def die() -> None:
        import os

        os._exit(3)

    @ct.electron(executor="inline")
    def aside() -> int:
        return 1

    @ct.lattice
    def flow() -> Any:
        return [die(), aside()]

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        result = ct.get_result(ct.dispatch(flow, executor=pool)(), wait=True, timeout=30)
    assert [node.status for node in result.nodes] == ["failed", "ran"]
    assert "die" in str(result.error)


def test_an_executor_that_takes_no_more_work_is_said_so(mark: Mark) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    @ct.lattice
    def flow() -> Any:
        return where()

    result = ct.get_result(ct.dispatch(flow, executor=pool)(), wait=True, timeout=30)
    assert result.status == "FAILED"
    assert "executor takes no work" in str(result.error)
    assert "->" in str(result.error)
    # Elsewhere it runs: no more than that was wrong.
    assert ct.get_result(ct.redispatch(result.dispatch_id)(), wait=True).status == "COMPLETED"


def test_any_executor_of_the_standard_interface(mark: Mark) -> None:
    class Own(Executor):
        submitted = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.submitted += 1
            future: Future[Any] = Future()
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - as executors do
                future.set_exception(error)
            return future

    own = Own()

    @ct.electron(executor=own)
    def work(n: int) -> int:
        return n + 1

    @ct.lattice
    def flow() -> Any:
        return work(work(1))

    assert ct.dispatch_sync(flow)().result == 3
    assert own.submitted == 2


def test_a_dispatch_with_a_live_executor_can_be_redispatched(mark: Mark, threads: Any) -> None:
    @ct.electron(executor=threads)
    def work(n: int) -> str:
        import threading

        return threading.current_thread().name

    @ct.lattice(executor=threads)
    def flow(n: int) -> Any:
        return work(n)

    first = ct.dispatch_sync(flow)(1)
    assert first.result.startswith("mine")
    assert ct.get_result(ct.redispatch(first.dispatch_id)(2), wait=True).status == "COMPLETED"


def test_electrons_that_dispatch_and_wait_do_not_use_up_the_threads(mark: Mark) -> None:
    @ct.electron
    def leaf(n: int) -> int:
        return n

    @ct.lattice
    def inside(n: int) -> Any:
        return leaf(n)

    @ct.electron
    def outer(n: int) -> Any:
        return ct.dispatch_sync(inside)(n).result

    @ct.lattice
    def flow() -> Any:
        return [outer(n) for n in range(40)]

    result = ct.get_result(ct.dispatch(flow)(), wait=True, timeout=40)
    assert result.result == list(range(40))


def test_a_thousand_electrons(mark: Mark) -> None:
    @ct.electron
    def add(a: int, b: int) -> int:
        return a + b

    @ct.lattice
    def flow(n: int) -> Any:
        layer = [add(i, i) for i in range(n)]
        while len(layer) > 1:
            layer = [add(*pair) for pair in zip(layer[::2], layer[1::2], strict=True)]
        return layer[0]

    result = ct.dispatch_sync(flow)(512)
    assert result.result == 2 * sum(range(512))
    assert ct.dispatch_sync(flow)(512).ran == 0


def test_several_dispatches_at_once_share_what_they_compute(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def slow(n: int) -> int:
        import time

        mark(f"slow{n}")
        time.sleep(0.05)
        return n

    @ct.electron
    def total(parts: list[int], by: int) -> int:
        mark("total")
        return sum(parts) * by

    @ct.lattice
    def flow(by: int) -> Any:
        return total([slow(n) for n in range(6)], by)

    ids = [ct.dispatch(flow)(by) for by in range(5)]
    assert [ct.get_result(i, wait=True).result for i in ids] == [15 * by for by in range(5)]
    assert ran() == sorted([f"slow{n}" for n in range(6)] + ["total"] * 5)


def test_dispatches_from_many_threads(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def work(n: int) -> int:
        mark("work")
        return n * n

    @ct.lattice
    def flow(n: int) -> Any:
        return work(n % 4)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: ct.dispatch_sync(flow)(n).result, range(24)))
    assert results == [(n % 4) ** 2 for n in range(24)]
    assert ran() == ["work"] * 4


def test_what_an_observer_hears_is_what_happened(mark: Mark) -> None:
    @ct.electron
    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    @ct.electron
    def after(n: int) -> int:
        return n

    @ct.lattice
    def flow(n: int) -> Any:
        return [after(work(i)) for i in range(n)]

    ct.dispatch_sync(flow)(1)
    events: list[Any] = []
    result = ct.dispatch_sync(flow, observer=events.append)(3)
    assert [type(event).__name__ for event in (events[0], events[-1])] == ["Planned", "Finished"]
    assert (events[0].total, events[0].hits) == (6, 2)
    assert events[-1].status == result.status == "FAILED"
    finished = {e.label: e.status for e in events if type(e).__name__ == "NodeFinished"}
    assert finished == {node.label: node.status for node in result.nodes}
    started = {e.label for e in events if type(e).__name__ == "NodeStarted"}
    assert started == {node.label for node in result.nodes if node.status in ("ran", "failed")}
    assert {event.dispatch_id for event in events} == {result.dispatch_id}
