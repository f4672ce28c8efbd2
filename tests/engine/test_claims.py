"""Keys of quick calls are claimed many at once, and a claim keeps nobody from what it will not come to."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cas_run as ct
from cas_engine.bookkeeping.location import open_store
from cas_store.tables import Table

if TYPE_CHECKING:
    from tests.conftest import Mark, Ran


def test_two_dispatches_of_one_chain_make_each_call_once(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def step(x: int) -> int:
        mark(f"step{x}")
        return x + 1

    @ct.lattice
    def chain(turn: int) -> Any:
        value: Any = 0
        for _ in range(300):
            value = step(value)
        return value

    both = [ct.dispatch(chain, executor="inline")(turn) for turn in range(2)]
    assert [ct.get_result(one, wait=True).result for one in both] == [300, 300]
    assert ran() == sorted(f"step{x}" for x in range(300))


def waited_for(there: Path) -> bool:
    end = time.monotonic() + 60
    while not there.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return there.exists()


def test_what_is_skipped_is_not_kept_claimed_while_the_rest_runs(tmp_path: Path, mark: Mark) -> None:
    open_again, failed = tmp_path / "open", tmp_path / "failed"

    @ct.electron(executor="inline")
    def step(x: int) -> int:
        return x + 1

    @ct.electron(executor="inline")
    def may_fail(x: int) -> int:
        if "FAILS" in os.environ:
            failed.touch()
            raise ValueError(x)
        return x

    @ct.electron(executor="thread")
    def slow(x: int) -> int:
        if "FAILS" in os.environ:
            waited_for(open_again)
        return x

    @ct.lattice
    def flow() -> Any:
        beside, value = slow(1), step(0)
        for _ in range(20):
            value = step(value)
        value = may_fail(value)
        for _ in range(5):
            value = step(value)
        return value, beside

    done = ct.dispatch_sync(flow, store=tmp_path / "elsewhere")
    keys = {node.label: bytes.fromhex(node.key or "") for node in done().nodes}
    os.environ["FAILS"] = "1"
    try:
        started = ct.dispatch(flow)()
        assert waited_for(failed)
        store = open_store(None)
        below = [keys[f"step#{i}"] for i in range(21, 26)]
        end = time.monotonic() + 60
        while (holders := store.claim(below, bytes(16))) != [None] * 5 and time.monotonic() < end:
            time.sleep(0.01)
        assert holders == [None] * 5
        assert ct.get_result(started).status == "RUNNING"
        store.release(below, bytes(16))
    finally:
        os.environ.pop("FAILS")
        open_again.touch()
    assert ct.get_result(started, wait=True).status == "FAILED"


def test_no_row_of_a_node_is_left_of_a_large_dispatch(tmp_path: Path) -> None:
    @ct.electron
    def leaf(i: int) -> int:
        return i

    @ct.electron
    def total(parts: list[int]) -> int:
        return sum(parts)

    @ct.lattice
    def fan(n: int) -> Any:
        return total([leaf(i) for i in range(n)])

    done = ct.dispatch_sync(fan, store=tmp_path, executor="inline")(4500)
    assert done.result == sum(range(4500))
    with open_store(tmp_path).snapshot() as snapshot:
        assert not list(snapshot.scan(Table.NODES))
