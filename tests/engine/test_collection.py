"""A collection frees what can be spared: nothing that cannot be computed again, and what went is computed again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engine.workflows import again

import cas_run as ct
from cas_engine.errors import BadOption, ResultEvicted
from cas_engine.evaluating.events import Planned
from cas_store import Store, Victim

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]
LARGE = 100_000


def decisions(plan: ct.Plan) -> dict[str, str]:
    return {node.label: node.decision for node in plan.nodes}


@pytest.fixture
def flow(mark: Mark) -> Any:
    """load → clean → size, with large values between them, and a small one at the end."""

    @ct.electron
    def load(n: int) -> bytes:
        mark("load")
        return bytes([n]) * LARGE

    @ct.electron
    def clean(data: bytes) -> bytes:
        mark("clean")
        return data + b"."

    @ct.electron
    def size(data: bytes, of: int = 1) -> int:
        mark("size")
        return len(data) * of

    @ct.lattice
    def flow(n: int = 1, of: int = 1) -> Any:
        return size(clean(load(n)), of)

    return flow


def test_without_limits_only_what_nothing_names_goes(flow: Any, ran: Ran) -> None:
    first, second = ct.dispatch_sync(flow)(1), ct.dispatch_sync(flow)(2)
    assert ct.gc().evicted == 0
    ct.remove(second.dispatch_id)
    done = ct.gc()
    assert (done.evicted, done.unnamed > 0) == (0, True)  # its manifest and outcome; results may answer others
    assert ct.gc().unnamed == ct.gc().rows == 0
    ran()
    assert ct.dispatch_sync(flow)(2).result == LARGE + 1
    assert ran() == []
    assert again(first.dispatch_id)(of=3).result == 3 * (LARGE + 1)
    assert ran() == ["size"]


def test_the_last_dispatch_of_each_lattice_stays_whole(flow: Any, ran: Ran) -> None:
    first, second = ct.dispatch_sync(flow)(1), ct.dispatch_sync(flow)(2, of=3)
    done = ct.gc(max_size=0)
    assert (done.evicted, done.over > 0) == (3, True)
    assert [node.result for node in second.nodes] == [b"\2" * LARGE, b"\2" * LARGE + b".", 3 * (LARGE + 1)]
    with pytest.raises(ResultEvicted, match=f"cas-run redispatch {first.dispatch_id[:12]}`"):
        _ = ct.get_result(first.dispatch_id).result
    with pytest.raises(ResultEvicted, match="--recompute load"):
        _ = ct.get_result(first.dispatch_id).node("load").result
    assert ct.gc(max_size=0).evicted == 0


def test_an_evicted_output_is_computed_again_with_no_more_than_it_needs(flow: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(flow)()
    ct.gc(max_size=0, keep_last=0)
    ran()
    plan = ct.plan(first.dispatch_id)()
    assert decisions(plan) == {"load": "miss", "clean": "miss", "size": "miss"}
    assert {node.reason for node in plan.nodes} == {"its result was evicted"}
    other = again(first.dispatch_id)()
    assert ran() == ["clean", "load", "size"]
    assert other.result == LARGE + 1
    assert {node.reason for node in other.nodes} == {"its result was evicted"}
    assert (other.ran, other.hits) == (3, 0)


def evict_only(store: Store, *nodes: ct.NodeResult) -> None:
    with store.barrier() as barrier:
        blobs = [node._one.blob for node in nodes]
        assert len(list(store.take(barrier, [Victim(blob, evicted=True) for blob in blobs]))) == len(nodes)


def test_what_hangs_on_an_evicted_result_stays_a_hit(flow: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(flow)()
    evict_only(ct.open_store(), first.node("load"), first.node("clean"))
    ran()
    assert ct.dispatch_sync(flow)().result == LARGE + 1
    assert again(first.dispatch_id)().result == LARGE + 1
    assert ran() == []
    # In a graph that is not answered as a whole, too.
    plan = ct.plan(first.dispatch_id)(of=2)
    assert decisions(plan) == {"load": "miss", "clean": "miss", "size": "miss"}
    told: list[Any] = []
    other = ct.get_result(ct.redispatch(first.dispatch_id, observer=told.append)(of=2), wait=True)
    assert (other.result, ran()) == (2 * (LARGE + 1), ["clean", "load", "size"])
    assert [(one.total, one.hits) for one in told if isinstance(one, Planned)] == [(3, 0)]


def test_only_what_a_call_needs_is_computed_again(flow: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(flow)()
    evict_only(ct.open_store(), first.node("load"))
    ran()
    plan = ct.plan(first.dispatch_id)(of=2)
    assert decisions(plan) == {"load": "hit", "clean": "hit", "size": "miss"}
    assert again(first.dispatch_id)(of=2).result == 2 * (LARGE + 1)
    assert ran() == ["size"]


def test_early_cutoff_needs_no_value_that_was_evicted(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def parse(text: str) -> list[str]:
        mark("parse")
        return text.split()

    @ct.electron
    def count(words: list[str]) -> int:
        mark("count")
        return len(words)

    @ct.electron
    def double(n: int) -> int:
        mark("double")
        return 2 * n

    @ct.lattice
    def flow(text: str) -> Any:
        return double(count(parse(text)))

    first = ct.dispatch_sync(flow)("a b")
    evict_only(ct.open_store(), first.node("count"))
    ran()
    assert ct.dispatch_sync(flow)("a  b").result == 4
    assert ran() == ["parse"]  # count came out the same, whatever it was


def test_equal_calls_are_computed_again_once(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def load(n: int) -> bytes:
        mark("load")
        return bytes(LARGE + n)

    @ct.electron
    def both(a: bytes, b: bytes, of: int) -> int:
        mark("both")
        return (len(a) + len(b)) * of

    @ct.lattice
    def flow(of: int) -> Any:
        return both(load(1), load(1), of), load(1)

    ct.dispatch_sync(flow)(1)
    ct.gc(max_size=0, keep_last=0)
    ran()
    again_ = ct.dispatch_sync(flow)(2)
    assert again_.result[0] == 4 * (LARGE + 1)
    assert ran() == ["both", "load"]


def test_samples_inputs_and_code_stay_for_as_long_as_the_history_names_them(
    mark: Mark, ran: Ran, take_number: Callable[[], int]
) -> None:
    @ct.electron(stochastic=True)
    def draw(data: bytes) -> bytes:
        mark("draw")
        return bytes([take_number()]) * LARGE

    @ct.electron
    def last(data: bytes) -> int:
        mark("last")
        return data[-1]

    @ct.lattice
    def flow(data: bytes) -> Any:
        return last(draw(data))

    first = ct.dispatch_sync(flow)(b"x" * LARGE)
    assert first.result == 1
    ct.gc(max_size=0, keep_last=0)
    ran()
    assert again(first.dispatch_id)().result == 1
    assert ran() == ["last"]
    ct.remove(first.dispatch_id)
    for one in ct.list_dispatches():
        ct.remove(one.dispatch_id)
    done = ct.gc(max_size=0)
    assert done.bytes_after == 0
    assert list(ct.open_store().blob_sizes()) == []


def test_pinned_results_stay_and_a_pinned_dispatch_is_not_removed(flow: Any) -> None:
    first, _ = ct.dispatch_sync(flow)(1), ct.dispatch_sync(flow)(2)
    assert ct.pin(first.dispatch_id) == 0
    assert ct.pinned() == [first.dispatch_id]
    ct.gc(max_size=0, keep_last=0)
    assert first.result == LARGE + 1
    assert first.node("load").result == b"\1" * LARGE
    with pytest.raises(BadOption, match="unpin"):
        ct.remove(first.dispatch_id)
    assert ct.unpin(first.dispatch_id) is True
    assert ct.unpin(first.dispatch_id) is False
    ct.gc(max_size=0, keep_last=0)
    assert ct.pin(first.dispatch_id) == 3


def test_the_least_valuable_goes_first(mark: Mark) -> None:
    @ct.electron
    def quick(n: int) -> bytes:
        return bytes([n]) * LARGE

    @ct.electron
    def slow(n: int) -> bytes:
        time.sleep(0.15)
        return bytes([n]) * (LARGE + 1)

    @ct.lattice
    def flow(n: int) -> Any:
        return slow(n), quick(n)

    done = ct.dispatch_sync(flow)(1)
    told = ct.gc(max_size=int(1.5 * LARGE), keep_last=0, dry_run=True)
    assert [one.electron for one in told.electrons] == ["quick"]
    assert done.node("quick").result == b"\1" * LARGE  # a dry run takes nothing
    assert ct.gc(max_size=int(1.5 * LARGE), keep_last=0).to_json() | {"dry_run": True, "rows": 0} == told.to_json()
    assert len(done.node("slow").result) == LARGE + 1


def test_older_than_spares_what_was_of_use_of_late(flow: Any) -> None:
    ct.dispatch_sync(flow)(1)
    assert ct.gc(older_than="1h", keep_last=0).evicted == 0
    assert ct.gc(older_than=0, keep_last=0).evicted == 3


@pytest.mark.parametrize(
    "wrong",
    [{"max_size": "20 zebras"}, {"max_size": "-1"}, {"older_than": "30"}, {"older_than": "x"}, {"keep_last": -1}],
)
def test_a_limit_that_is_none_is_refused(flow: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        ct.gc(**wrong)


def test_a_running_dispatch_keeps_what_it_found_and_what_it_made(
    mark: Mark, ran: Ran, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    go = str(tmp_path / "go")

    @ct.electron
    def load(n: int) -> bytes:
        mark("load")
        return bytes([n]) * LARGE

    @ct.electron
    def pause(data: bytes, of: int) -> int:
        mark("pause")
        while of > 1 and not os.path.exists(go):  # noqa: PTH110 - electrons are made of builtins
            time.sleep(0.01)
        return of

    @ct.electron
    def both(data: bytes, of: int) -> int:
        mark("both")
        return len(data) * of

    @ct.lattice
    def flow(of: int) -> Any:
        data = load(1)
        return both(data, pause(data, of))

    ct.dispatch_sync(flow)(1)
    ran()
    started = ct.dispatch(flow)(2)
    try:
        eventually(lambda: "pause" in ran())
        ct.gc(max_size=0, keep_last=0)
    finally:
        Path(go).touch()
    assert ct.get_result(started, wait=True).result == 2 * LARGE
    assert ran() == ["both"]


def test_sublattices_keep_and_lose_what_they_are_made_of(flow: Any, mark: Mark, ran: Ran) -> None:
    inside = ct.electron(flow)

    @ct.electron
    def plus(n: int) -> int:
        mark("plus")
        return n + 1

    @ct.lattice
    def outer(n: int) -> Any:
        return plus(inside(n))

    first = ct.dispatch_sync(outer)(1)
    ct.gc(max_size=0)
    assert ct.get_result(first.node("flow").dispatch or "").node("load").result == b"\1" * LARGE
    ct.gc(max_size=0, keep_last=0)
    ran()
    assert again(first.dispatch_id)().result == LARGE + 2
    assert ran() == ["clean", "load", "plus", "size"]
    for one in ct.list_dispatches():
        ct.remove(one.dispatch_id)
    assert ct.gc(max_size=0).bytes_after == 0


def test_a_dispatch_that_cannot_be_read_takes_nothing_with_it(flow: Any, ran: Ran) -> None:
    first, second = ct.dispatch_sync(flow)(1), ct.dispatch_sync(flow)(2)
    store = ct.open_store()
    ct.remove(second.dispatch_id)
    manifest = bytes.fromhex(first._entry.manifest)
    with store.barrier() as barrier:
        list(store.take(barrier, [Victim(manifest, evicted=False)]))
    done = ct.gc(max_size=0, keep_last=0)
    assert (done.unread, done.unnamed) == ((first.dispatch_id,), 0)
    ct.remove(first.dispatch_id)
    assert ct.gc(max_size=0, keep_last=0).bytes_after == 0


def test_an_array_that_two_results_have_goes_with_the_last_of_them(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def make(n: int) -> Any:
        mark("make")
        return np.full(LARGE, n)

    @ct.electron
    def pack(data: Any) -> dict[str, Any]:
        mark("pack")
        return {"data": data, "more": np.zeros(LARGE)}

    @ct.lattice
    def flow(n: int) -> Any:
        return pack(make(n))

    first = ct.dispatch_sync(flow)(1)
    store = ct.open_store()
    before = sum(size for _, size in store.blob_sizes())
    assert ct.gc().unnamed == 0
    evict_only(store, first.node("make"))  # the result, but not the array: the other has it too
    assert first.result["data"][0] == 1
    told = ct.gc(max_size=0, keep_last=0)
    assert told.evicted == 1
    after = sum(size for _, size in store.blob_sizes())
    assert before - after > 2 * LARGE * 8
    assert told.bytes_after == after
    assert ct.gc(max_size=0, keep_last=0).evicted == 0
    ran()
    assert again(first.dispatch_id)().result["data"][-1] == 1
    assert ran() == ["make", "pack"]
