"""What the store has lost or finds damaged is computed again; nothing wrong ever comes out of it."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engine.workflows import again

import cas_run as ct
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.location import open_store
from cas_engine.graphs.options import Options
from cas_engine.plans import outcome, written
from cas_store import Append, Put, Table, Write

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]

LARGE = 100_000  # bytes that make a blob a file of its own


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


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[ct.NodeResult], Path]:
    """The file that the store keeps a node's result in, found by its content."""

    def file_of(node: ct.NodeResult) -> Path:
        content = bytes(node.result)
        found = [path for path in (tmp_path / "store" / "blobs").rglob("*") if _holds(path, content)]
        assert len(found) == 1
        return found[0]

    return file_of


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes().endswith(content)


def lose(path: Path) -> None:
    path.parent.chmod(0o700)
    path.unlink()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.chmod(0o600)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.fixture(params=[lose, damage, cut])
def hurt(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_lost_result_is_computed_again_when_it_is_needed(
    flow: Any, ran: Ran, file_of: Any, hurt: Any, other_process: Any
) -> None:
    first = ct.dispatch_sync(flow)()
    hurt(file_of(first.node("clean")))
    other_process()
    ran()
    other = again(first.dispatch_id)(of=2)
    assert other.result == 2 * (LARGE + 1)
    assert sorted(set(ran())) == ["clean", "size"]
    assert "gone" in other.node("clean").reason
    assert again(first.dispatch_id)(of=3).result == 3 * (LARGE + 1)
    assert ran() == ["size"]  # and it is mended


def test_results_lost_in_a_row_are_computed_again_from_the_top(
    flow: Any, ran: Ran, file_of: Any, hurt: Any, other_process: Any
) -> None:
    first = ct.dispatch_sync(flow)()
    files = [file_of(first.node("clean")), file_of(first.node("load"))]
    for file in files:
        hurt(file)
    other_process()
    ran()
    other = again(first.dispatch_id)(of=2)
    assert other.result == 2 * (LARGE + 1)
    assert sorted(set(ran())) == ["clean", "load", "size"]


def test_a_lost_result_that_nobody_needs_costs_nothing(
    flow: Any, ran: Ran, file_of: Any, hurt: Any, other_process: Any
) -> None:
    first = ct.dispatch_sync(flow)()
    hurt(file_of(first.node("load")))
    other_process()
    ran()
    assert again(first.dispatch_id)(of=2).result == 2 * (LARGE + 1)
    assert ran() in (["size"], ["load", "size"])  # whether it was looked at is the store's affair
    assert ct.dispatch_sync(flow)().result == LARGE + 1


def test_a_lost_result_of_the_whole_workflow_is_computed_again(
    flow: Any, ran: Ran, file_of: Any, hurt: Any, other_process: Any, mark: Mark
) -> None:
    @ct.electron
    def produce(n: int) -> bytes:
        mark("produce")
        return bytes([n]) * LARGE

    @ct.lattice
    def one(n: int) -> Any:
        return produce(n)

    first = ct.dispatch_sync(one)(7)
    hurt(file_of(first.node("produce")))
    other_process()
    ran()
    # What answers for the whole is read before it is said to be there.
    for result in (ct.dispatch_sync(one)(7), again(first.dispatch_id)()):
        assert result.status == "COMPLETED", result.error
        assert result.result == bytes([7]) * LARGE
    assert set(ran()) == {"produce"}


def test_a_result_that_is_gone_is_said_to_be_and_is_never_something_else(
    flow: Any, file_of: Any, hurt: Any, other_process: Any
) -> None:
    first = ct.dispatch_sync(flow)()
    hurt(file_of(first.node("clean")))
    other_process()
    later = ct.get_result(first.dispatch_id)
    assert later.result == LARGE + 1
    with pytest.raises(ct.CasRunError):
        _ = later.node("clean").result


def test_a_lost_sample_is_drawn_again_and_what_hangs_on_it_follows(
    mark: Mark, ran: Ran, take_number: Callable[[], int], file_of: Any, hurt: Any, other_process: Any
) -> None:
    @ct.electron(stochastic=True)
    def draw() -> bytes:
        mark("draw")
        return bytes([take_number()]) * LARGE

    @ct.electron
    def first_byte(data: bytes) -> int:
        mark("first_byte")
        return data[0]

    @ct.electron
    def both(data: bytes, first: int) -> bool:
        mark("both")
        return data[0] == first

    @ct.lattice
    def flow() -> Any:
        drawn = draw()
        return both(drawn, first_byte(drawn))

    parent = ct.dispatch_sync(flow)()
    assert parent.result is True
    hurt(file_of(parent.node("draw")))
    other_process()
    ran()
    child = again(parent.dispatch_id, recompute=["both"])()
    assert child.result is True  # never one with the other's
    assert "draw" in ran()
    assert ct.get_result(parent.dispatch_id).result is True


def test_a_lost_large_constant_is_said_so_and_a_new_dispatch_brings_it_back(
    mark: Mark, tmp_path: Path, hurt: Any, other_process: Any
) -> None:
    @ct.electron
    def size(data: bytes, of: int) -> int:
        return len(data) * of

    @ct.lattice
    def flow(data: bytes, of: int) -> Any:
        return size(data, of)

    data = b"x" * LARGE
    first = ct.dispatch_sync(flow)(data, 1)
    for path in (tmp_path / "store" / "blobs").rglob("*"):
        if _holds(path, data):
            hurt(path)
    other_process()
    lost = again_or_error(first.dispatch_id, of=2)
    assert "->" in lost
    assert ct.dispatch_sync(flow)(data, 3).result == 3 * LARGE
    assert again(first.dispatch_id)(of=4).result == 4 * LARGE


def again_or_error(dispatch_id: str, **inputs: Any) -> str:
    """What is said when it cannot be evaluated again, at once or as a failure."""
    try:
        result = again(dispatch_id)(**inputs)
    except ct.CasRunError as error:
        return str(error)
    assert result.status == "FAILED", result.result
    return str(result.error)


def files_in(store: Path) -> list[int]:
    return sorted(path.stat().st_size for path in (store / "blobs").rglob("*") if path.is_file())


@pytest.mark.parametrize("executor", ["thread", "processes"])
def test_an_array_that_an_input_and_several_results_have_is_stored_once_and_lost_for_all(
    mark: Mark, ran: Ran, tmp_path: Path, executor: str
) -> None:
    pool: Any = ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) if executor == "processes" else executor

    @ct.electron(executor=pool)
    def named(name: str, array: Any) -> Any:
        mark(name)
        return {name: array, "small": array[:10].copy()}

    @ct.electron
    def total(one: Any, two: Any) -> float:
        mark("total")
        one["a"][:] = 0  # in memory of its own
        return float(two["b"].sum())

    @ct.lattice
    def flow(array: Any, factor: int = 1) -> Any:
        one, two = named("a", array), named("b", array)
        return total(one, two) * factor, one

    array = np.arange(100_000.0)
    first = ct.dispatch_sync(flow)(array)
    assert first.result[0] == array.sum()
    assert np.array_equal(first.result[1]["a"], array)
    assert sorted(ran()) == ["a", "b", "total"]
    assert files_in(tmp_path / "store") == [array.nbytes]
    assert [node.size for node in first.nodes if node.electron == "named"] > [array.nbytes] * 2
    first.result[1]["a"][:] = 7
    assert np.array_equal(ct.get_result(first.dispatch_id).result[1]["a"], array)
    if executor == "processes":
        pool.shutdown()
        return

    (path,) = [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    # The input is in the same file: what is given anew brings it back, and nothing wrong comes out.
    second = ct.dispatch_sync(flow)(array, factor=2)
    assert second.result[0] == 2 * array.sum()
    assert np.array_equal(second.result[1]["a"], array)
    assert files_in(tmp_path / "store") == [array.nbytes]


def test_options_pickled_before_there_were_pauses_are_read_by_their_names() -> None:
    options = Options.__new__(Options)
    options.__setstate__(["f", True, "2", (), ("log",), "inline", 3, 1.5, 2])  # type: ignore[attr-defined]
    assert (options.name, options.executor, options.retries, options.timeout, options.outputs) == (
        "f",
        "inline",
        3,
        1.5,
        2,
    )
    assert (options.retry_delay, options.retry_on) == (0.0, None)
    assert pickle.loads(pickle.dumps(options)) == options


def test_nodes_of_a_dispatch_that_did_not_end_are_read_as_they_are_written_and_as_they_once_were(
    tmp_path: Path, flow: Any
) -> None:
    done = ct.dispatch_sync(flow, store=tmp_path)()
    store = open_store(tmp_path)
    entry = ledger.get(store, done.dispatch_id)
    load, clean, _ = outcomes_of(store, entry)
    holder = bytes.fromhex(entry.id)
    failed = clean._replace(status=outcome.NodeStatus.FAILED, reason="for once", extra={"error": "out of order"})
    rows: list[Write] = [
        Put(Table.NODES, holder + bytes(4), written.row_dumps(load)),
        Append(Table.NODES, holder, written.item_dumps(1, clean)),
    ]
    store.commit(rows)
    assert outcomes_of(store, replace(entry, outcome="")) == [load, clean, outcome.NOT_YET]
    store.commit([Append(Table.NODES, holder, written.item_dumps(1, failed))])
    assert outcomes_of(store, replace(entry, outcome="")) == [load, failed, outcome.NOT_YET]
