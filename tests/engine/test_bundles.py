"""A bundle takes a dispatch to another store as it is; whatever is wrong with one, nothing changes there."""

from __future__ import annotations

import io
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import cas_run as ct
from cas_engine.plans import records
from cas_store import BundleError, Put, Store, Table
from cas_store.bundle import BundleReader, BundleWriter
from cas_store.sweeping import Victim

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Mark, Ran, Rounds

LARGE = 50_000  # numbers of eight bytes: a part of its own


@pytest.fixture
def flow(mark: Mark, take_number: Callable[[], int]) -> Any:
    """All kinds at once: an array in parts, a sample, a sublattice, a step whose input comes out the same."""

    @ct.electron
    def load(n: int) -> Any:
        mark("load")
        return np.arange(LARGE) + n

    @ct.electron(stochastic=True)
    def draw(values: Any) -> int:
        mark("draw")
        return take_number()

    @ct.electron
    def size(values: Any) -> int:
        mark("size")
        return len(values)

    @ct.electron
    def double(n: int, by: int = 2) -> int:
        mark("double")
        return by * n

    @ct.lattice
    def inner(values: Any) -> tuple[int, int]:
        return draw(values), size(values)

    sub = ct.electron(inner)

    @ct.lattice
    def flow(n: int = 1) -> Any:
        values = load(n)
        return sub(values), double(size(values))

    return flow


@pytest.fixture
def small(mark: Mark) -> Any:
    @ct.electron
    def one(n: int) -> int:
        mark("one")
        return n + 1

    @ct.lattice
    def small(n: int = 1) -> int:
        return one(n)

    return small


def exported(*ids: str, store: Any = None) -> bytes:
    stream = io.BytesIO()
    ct.export_dispatches(ids, stream, store=store)
    return stream.getvalue()


def take(bundle: bytes, store: Any, *, trust: bool = True) -> ct.Bundle:
    return ct.import_bundle(io.BytesIO(bundle), trust=trust, store=store)


def everything(store: Store) -> Any:
    """What can be seen of a store."""
    with store.snapshot() as snapshot:
        rows = {table: list(snapshot.scan(table)) for table in Table}
    return rows, sorted(path.name for path in (store.path / "blobs").rglob("*") if path.is_file())


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "other")


def use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAS_RUN_STORE", str(store.path))


# There and back --------------------------------------------------------------------------------------------------


def test_an_imported_dispatch_is_redispatched_as_where_it_ran(
    flow: Any, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ct.dispatch_sync(flow)(1)
    bundle = exported(done.dispatch_id)
    take(bundle, other)
    use(other, monkeypatch)
    ran()
    again = ct.get_result(ct.redispatch(done.dispatch_id)(), wait=True)
    assert again.result == done.result
    assert {node.status for node in again.nodes} == {"hit"}
    fresh = ct.dispatch_sync(flow)(1)
    assert fresh.result == done.result
    assert ran() == []
    # The length comes out the same: early cutoff works by what came along.
    changed = ct.get_result(ct.redispatch(done.dispatch_id)(2), wait=True)
    assert changed.result[1] == done.result[1]
    # Not `double`. The two calls of `size` have keys of their own, and may begin before either has a result.
    assert set(ran()) == {"draw", "load", "size"}


def test_the_same_dispatch_is_the_same_bytes_from_whatever_store(flow: Any, other: Store, tmp_path: Path) -> None:
    done = ct.dispatch_sync(flow)(1)
    ct.dispatch_sync(flow)(2)
    first = exported(done.dispatch_id)
    assert exported(done.dispatch_id) == first
    take(first, other)
    assert exported(done.dispatch_id, store=other) == first
    third = Store.open(tmp_path / "third")
    take(exported(done.dispatch_id, store=other), third)
    assert exported(done.dispatch_id[:10], store=third) == first


def test_a_sample_stays_that_of_its_dispatch(
    flow: Any, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ct.dispatch_sync(flow)(1)
    second = ct.get_result(ct.redispatch(first.dispatch_id, recompute="stochastic")(), wait=True)
    assert second.result[0][0] != first.result[0][0]
    take(exported(second.dispatch_id), other)
    take(exported(first.dispatch_id), other)
    use(other, monkeypatch)
    ran()
    for one in (first, second):
        again = ct.get_result(ct.redispatch(one.dispatch_id)(), wait=True)
        assert again.result == one.result
    assert ran() == []


def test_a_replacement_works_on_what_was_imported(
    flow: Any, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ct.dispatch_sync(flow)(1)
    take(exported(done.dispatch_id), other)
    use(other, monkeypatch)
    ran()

    def triple(n: int) -> int:
        return 3 * n

    again = ct.get_result(ct.redispatch(done.dispatch_id, replace_electrons={"double": triple})(), wait=True)
    assert again.result[1] == 3 * LARGE
    assert ran() == []


def test_a_failed_dispatch_goes_along_and_is_taken_up_there(
    mark: Mark, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ct.electron
    def fine() -> int:
        mark("fine")
        return 1

    @ct.electron
    def fails(n: int) -> int:
        raise ValueError(n)

    @ct.lattice
    def flow() -> int:
        return fails(fine())

    done = ct.dispatch_sync(flow)()
    take(exported(done.dispatch_id), other)
    use(other, monkeypatch)
    assert ct.get_result(done.dispatch_id).error == done.error
    ran()
    again = ct.get_result(ct.redispatch(done.dispatch_id, replace_electrons={"fails": lambda n: n})(), wait=True)
    assert again.result == 1
    assert ran() == []


def test_what_a_store_has_already_stays_as_it_is(flow: Any, other: Store) -> None:
    done = ct.dispatch_sync(flow)(1)
    bundle = exported(done.dispatch_id)
    take(bundle, other)
    before = everything(other)
    again = take(bundle, other)
    assert everything(other) == before
    assert (again.new_records, [one.is_here for one in again.dispatches]) == (0, [True, True])


def test_another_result_of_a_key_is_kept_and_told(
    small: Any, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ct.dispatch_sync(small)(1)
    bundle = exported(done.dispatch_id)
    use(other, monkeypatch)
    ours = ct.dispatch_sync(small)(1)
    key = bytes.fromhex(ours.nodes[0].key)
    row = other.get(Table.RECORDS, key)
    assert row is not None
    changed = records.dumps(records.loads(row).__class__(**{**_fields(records.loads(row)), "value": bytes(16)}))
    other.commit([Put(Table.RECORDS, key, changed)])
    found = take(bundle, other)
    assert found.kept == (f"one {key.hex()[:12]}",)
    assert other.get(Table.RECORDS, key) == changed
    # Its own children agree with what it had.
    ran()
    assert ct.get_result(ct.redispatch(done.dispatch_id)(), wait=True).result == 2
    assert ran() == []


def _fields(record: records.Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record._fields}


def test_an_id_that_is_another_dispatch_here_is_refused(small: Any, other: Store) -> None:
    done = ct.dispatch_sync(small)(1)
    bundle = exported(done.dispatch_id)
    take(bundle, other)
    key = bytes.fromhex(done.dispatch_id)
    row = other.get(Table.DISPATCHES, key)
    assert row is not None
    other.commit([Put(Table.DISPATCHES, key, json.dumps({**json.loads(row), "lattice": "other"}).encode())])
    with pytest.raises(BundleError, match="another one"):
        take(bundle, other)


def test_what_was_accepted_as_the_same_goes_along(
    mark: Mark, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lattice_of(add: int) -> Any:
        def step(n: int) -> int:
            mark("step")
            return n + add - add

        @ct.lattice
        def flow() -> int:
            return ct.electron(step)(1)

        return flow

    ct.dispatch_sync(lattice_of(1))()
    changed = ct.dispatch_sync(lattice_of(2))()
    ct.accept(changed.dispatch_id, "step")
    after = ct.dispatch_sync(lattice_of(2))()
    found = take(exported(after.dispatch_id), other)
    assert [one.electron for one in found.accepted] == ["step"]
    use(other, monkeypatch)
    ran()
    ct.get_result(ct.redispatch(after.dispatch_id, recompute=None)(), wait=True)
    ct.dispatch_sync(lattice_of(2))()
    assert ran() == []


def test_a_dispatch_that_runs_is_not_exported(small: Any) -> None:
    done = ct.dispatch_sync(small)(1)
    store = Store.open(os.environ["CAS_RUN_STORE"])
    key = bytes.fromhex(done.dispatch_id)
    row = store.get(Table.DISPATCHES, key)
    assert row is not None
    raw = {**json.loads(row), "status": "RUNNING", "owner": store.owner.hex()}
    store.commit([Put(Table.DISPATCHES, key, json.dumps(raw).encode())])
    with pytest.raises(BundleError, match="is running"):
        exported(done.dispatch_id)


def test_a_result_that_was_evicted_is_missing_from_a_bundle_and_computed_again(
    small: Any, ran: Ran, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ct.dispatch_sync(small)(1)
    store = Store.open(os.environ["CAS_RUN_STORE"])
    record = records.loads(store.get(Table.RECORDS, bytes.fromhex(done.nodes[0].key)) or b"")
    with store.barrier() as barrier:
        assert len(list(store.take(barrier, [Victim(record.blob, evicted=True)]))) == 1
    stream = io.BytesIO()
    assert ct.export_dispatches([done.dispatch_id], stream).evicted == 1
    take(stream.getvalue(), other)
    assert other.is_evicted(record.blob)
    use(other, monkeypatch)
    ran()
    assert ct.get_result(done.dispatch_id).status is ct.Status.COMPLETED
    assert ct.get_result(ct.redispatch(done.dispatch_id)(), wait=True).result == 2
    assert ran() == ["one"]


# Trust -----------------------------------------------------------------------------------------------------------


def test_without_trust_it_is_told_what_is_there_and_nothing_changes(flow: Any, other: Store, tmp_path: Path) -> None:
    done = ct.dispatch_sync(flow)(1)
    bundle = exported(done.dispatch_id)
    before = everything(other)
    with pytest.raises(ct.TrustNeeded) as told:
        take(bundle, other, trust=False)
    assert everything(other) == before
    found = told.value.bundle
    assert {code.name for code in found.code} >= {"load", "draw", "size", "double"}
    assert found.packages["numpy"] == (np.__version__, np.__version__)
    assert [one.lattice for one in found.dispatches] == ["flow", "inner"]
    with pytest.raises(ct.TrustNeeded):
        take(bundle, tmp_path / "nowhere", trust=False)
    for no_bundle in (tmp_path, Path("/dev/null"), tmp_path / "not there"):
        with pytest.raises(BundleError):
            ct.import_bundle(no_bundle, trust=True, store=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


# What is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.promise("bundle")
def test_cut_off_flipped_or_followed_by_something_it_is_refused(
    small: Any, other: Store, rounds: Rounds, seed: int
) -> None:
    bundle = exported(ct.dispatch_sync(small)(1).dispatch_id)
    before = everything(other)
    chance = random.Random(seed)
    step = 1 if rounds(1, full=2) > 1 else 7
    wrong = [bundle[:end] for end in range(chance.randrange(step), len(bundle), step)]
    for _ in range(rounds(1000, full=20_000)):
        flipped = bytearray(bundle)
        flipped[chance.randrange(len(bundle))] ^= 1 << chance.randrange(8)
        wrong.append(bytes(flipped))
    wrong += [bundle + b"\0", bundle + bundle, b"", b"PK\x03\x04" + bundle, b"../../etc/passwd\0" * 40]
    for one in wrong:
        with pytest.raises(BundleError, match="\n  -> "):
            take(one, other)
    assert everything(other) == before
    assert take(bundle, other).imported


def test_a_file_is_refused_by_its_length_before_anything_is_read(small: Any, other: Store, tmp_path: Path) -> None:
    bundle = bytearray(exported(ct.dispatch_sync(small)(1).dispatch_id))
    bundle[17 + 8 : 17 + 16] = (1 << 62).to_bytes(8, "little")
    bomb = tmp_path / "bomb"
    bomb.write_bytes(bundle)
    with pytest.raises(BundleError, match="cut off or damaged"):
        ct.import_bundle(bomb, trust=True, store=other)


def test_a_bundle_of_a_later_version_says_so(other: Store) -> None:
    with pytest.raises(BundleError, match="version 12"):
        take(b"cas-run bundle 12\n" + bytes(100), other)


def _crafted(bundle: bytes, change: Callable[[int, bytes, bytes], list[tuple[int, bytes, bytes]]]) -> bytes:
    """A bundle whose digests are right, with other entries."""
    entries = []
    for entry in BundleReader(io.BytesIO(bundle), "bundle"):
        entries += change(entry.kind, entry.key, entry.value())
    stream = io.BytesIO()
    writer = BundleWriter(stream)
    for kind, key, value in sorted(entries):
        writer.row(kind, key, value)
    writer.end()
    return stream.getvalue()


@pytest.mark.promise("bundle")
def test_one_that_was_made_up_is_refused_though_its_digests_are_right(
    flow: Any, other: Store, rounds: Rounds, seed: int
) -> None:
    bundle = exported(ct.dispatch_sync(flow)(1).dispatch_id)
    before = everything(other)
    chance = random.Random(seed)
    kinds = [entry.kind for entry in BundleReader(io.BytesIO(bundle), "bundle") if entry.value() is not None]
    made_up = [
        _crafted(bundle, lambda *entry, missing=missing: [] if entry[0] == missing else [entry])
        for missing in set(kinds) - {3, 4, 5}  # without records it is only less useful
    ]
    made_up.append(_crafted(bundle, lambda *entry: [entry, (4, bytes(16), entry[2])] if entry[0] == 4 else [entry]))
    made_up.append(_crafted(bundle, lambda *entry: [entry, (128, bytes(16), b"x")] if entry[0] == 1 else [entry]))
    made_up.append(_crafted(bundle, lambda *entry: [entry, (99, b"../../x", b"x")] if entry[0] == 1 else [entry]))
    for one in made_up:
        with pytest.raises(BundleError, match="\n  -> "):
            take(one, other)
    for _ in range(rounds(300, full=5000)):
        which, kind_of = chance.randrange(len(kinds)), iter(range(len(kinds)))

        def change(kind: int, key: bytes, value: bytes, which: int = which, count: Any = kind_of) -> list[Any]:
            if next(count) != which or kind >= 128:
                return [(kind, key, value)]
            bad = bytearray(value)
            bad[chance.randrange(len(bad))] = chance.randrange(256)
            return [(kind, key, bytes(bad))]

        crafted = _crafted(bundle, change)
        if crafted == bundle:
            continue
        # A time or a name may be another; what it is to be trusted with is the user's choice. It is never a crash.
        with pytest.raises((BundleError, ct.TrustNeeded), match="\n  -> "):
            take(crafted, other, trust=False)
    assert everything(other) == before


def test_a_file_that_is_no_bundle_is_not_written_over(small: Any, tmp_path: Path) -> None:
    done = ct.dispatch_sync(small)(1)
    mine = tmp_path / "thesis.tex"
    mine.write_text("years of work")
    with pytest.raises(BundleError, match="not a bundle"):
        ct.export_dispatches([done.dispatch_id], mine)
    assert mine.read_text() == "years of work"
    ct.export_dispatches([done.dispatch_id], tmp_path / "a")
    ct.export_dispatches([done.dispatch_id], tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "a"))] == ["a"]


def test_what_is_no_file_takes_a_bundle_and_stays_what_it_is(small: Any, tmp_path: Path) -> None:
    done = ct.dispatch_sync(small)(1)
    ct.export_dispatches(done.dispatch_id, tmp_path / "file")
    whole = (tmp_path / "file").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_bytes)
        ct.export_dispatches(done.dispatch_id, tmp_path / "pipe")
        assert read.result(20) == whole
    assert (tmp_path / "pipe").is_fifo()
    # And a link is followed, not taken away.
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_bytes(b"")
    ct.export_dispatches(done.dispatch_id, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == whole
