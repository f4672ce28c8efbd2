"""A sweep takes away what nothing names, and nothing that anybody named meanwhile, wherever it is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from cas_store import (
    BlobEvicted,
    BlobMissing,
    Delete,
    Expect,
    Need,
    NeedRow,
    OldRow,
    Put,
    PutBlob,
    RowChanged,
    RowMissing,
    Store,
    SweepUnderWay,
    Table,
    Victim,
)

if TYPE_CHECKING:
    import subprocess

Start = Callable[..., "subprocess.Popen[str]"]
LARGE = 100_000

# What the programs below share: blobs of two sizes, each named by a row of records while it is wanted.
_NAMES = """
store = Store.open(sys.argv[1])

def content(i):
    return bytes([i]) * (100_000 if i % 2 else 100)

def key(i, writer):
    return bytes([i, writer]) * 8

def sweep():
    with store.barrier(wait_s=60) as barrier:
        with store.snapshot() as snapshot:
            named = {row for _, row in snapshot.scan(Table.RECORDS)}
        there = [digest for digest, _ in store.blob_sizes()] + list(store.stray_blobs())
        return list(store.take(barrier, (Victim(one, False) for one in there if one not in named)))
"""


def stored(store: Store, content: bytes, *names: bytes) -> bytes:
    blob = store.prepare([content])
    store.commit([PutBlob(blob), *(Put(Table.RECORDS, name, blob.digest) for name in names)])
    return blob.digest


def take(store: Store, *digests: bytes, evicted: bool = False) -> list[bytes]:
    with store.barrier() as barrier:
        return [digest for digest, _ in store.take(barrier, [Victim(one, evicted) for one in digests])]


@pytest.mark.parametrize("size", [10, LARGE])
def test_what_is_taken_is_gone_with_its_bytes(store: Store, size: int) -> None:
    digest, other = stored(store, b"a" * size), stored(store, b"b" * size)
    assert [one for one, took in store.blob_sizes() if took >= size] == sorted([digest, other])
    with store.barrier() as barrier:
        ((gone, freed),) = store.take(barrier, [Victim(digest, evicted=False)])
    assert (gone, freed >= size) == (digest, True)
    assert store.find_missing([digest, other]) == {digest}
    with pytest.raises(BlobMissing) as missing:
        store.get_blob(digest)
    assert not isinstance(missing.value, BlobEvicted)
    assert stored(store, b"a" * size) == digest
    assert store.get_blob(digest) == b"a" * size


def test_what_was_evicted_says_so_until_it_is_there_again(store: Store) -> None:
    digest = stored(store, b"x" * LARGE)
    take(store, digest, evicted=True)
    with pytest.raises(BlobEvicted, match="compute it again"):
        store.get_blob(digest)
    stored(store, b"x" * LARGE)
    assert store.get_blob(digest) == b"x" * LARGE


@pytest.mark.parametrize("size", [10, LARGE])
def test_what_was_published_or_needed_since_the_barrier_stays(store: Store, size: int) -> None:
    first, second, third = (stored(store, bytes([i]) * size) for i in range(3))
    prepared = store.prepare([b"\0" * size])  # before the barrier, and published behind it
    with store.barrier() as barrier:
        store.commit([PutBlob(prepared), Put(Table.RECORDS, b"name", first)])
        store.commit([Need(second)])
        gone = [one for one, _ in store.take(barrier, [Victim(d, evicted=False) for d in (first, second, third)])]
    assert gone == [third]


def test_what_somebody_holds_stays_until_it_lets_go(store: Store) -> None:
    digest, holder = stored(store, b"x" * LARGE), b"h" * 16
    store.hold(holder, [digest])
    assert take(store, digest) == []
    store.let_go(holder)
    assert take(store, digest) == [digest]


def test_what_the_dead_hold_is_let_go(store: Store, start: Start) -> None:
    digest = stored(store, b"x" * LARGE)
    program = start(
        """
        store = Store.open(sys.argv[1])
        store.hold(b"h" * 16, [bytes.fromhex(sys.argv[2])])
        print("held", flush=True)
        time.sleep(60)
        """,
        digest.hex(),
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "held\n"
    assert take(store, digest) == []
    program.kill()
    program.wait()
    assert take(store, digest) == [digest]


def test_a_batch_is_written_only_if_what_it_needs_is_there(store: Store) -> None:
    digest = stored(store, b"x", b"name")
    store.commit([Need(digest), NeedRow(Table.RECORDS, b"name"), Put(Table.META, b"one", b"")])
    take(store, digest)
    store.commit([Delete(Table.RECORDS, b"name")])
    behind = store.submit([Put(Table.META, b"behind", b"")])
    with pytest.raises(BlobMissing):
        store.commit([Need(digest), Put(Table.META, b"two", b"")])
    with pytest.raises(RowMissing):
        store.commit([NeedRow(Table.RECORDS, b"name"), Put(Table.META, b"three", b"")])
    behind.result()
    assert [store.get(Table.META, name) for name in (b"one", b"two", b"three", b"behind")] == [b"", None, None, b""]


def test_of_those_who_saw_a_row_as_it_was_one_may_change_it(store: Store) -> None:
    def turn(before: bytes | None, after: bytes) -> None:
        store.commit([Expect(Table.META, b"row", before), Put(Table.META, b"row", after)])

    turn(None, b"one")
    with pytest.raises(RowChanged):
        turn(None, b"two")
    turn(b"one", b"two")
    with pytest.raises(RowChanged):
        turn(b"one", b"three")
    assert store.get(Table.META, b"row") == b"two"


def test_a_row_that_changed_meanwhile_stays(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1"), Put(Table.RECORDS, b"b", b"1")])
    with store.barrier() as barrier:
        store.commit([Put(Table.RECORDS, b"a", b"2")])
        old = [OldRow(Table.RECORDS, name, b"1") for name in (b"a", b"b")]
        assert store.take_rows(barrier, old) == 1
    assert store.get(Table.RECORDS, b"a") == b"2"


def test_one_sweeps_at_a_time_and_the_dead_stand_in_nobodys_way(store: Store, start: Start) -> None:
    program = start("""
        store = Store.open(sys.argv[1])
        with store.barrier():
            print("sweeping", flush=True)
            time.sleep(60)
        """)
    assert program.stdout is not None
    assert program.stdout.readline() == "sweeping\n"
    with pytest.raises(SweepUnderWay), store.barrier():
        pass
    program.kill()
    program.wait()
    with store.barrier(), pytest.raises(SweepUnderWay), store.barrier():
        pass
    with store.barrier():
        pass


@pytest.mark.promise("gc")
def test_nothing_goes_missing_beside_four_writers_of_the_same_blobs(
    store: Store, start: Start, rounds: Callable[..., int]
) -> None:
    """Two sweep without a pause, one of them killed again and again; the writers name, unname and name again."""
    seconds = rounds(6, full=300)
    writers = [
        start(
            _NAMES
            + """
import random
rng, me, until = random.Random(int(sys.argv[2])), int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
count = 0
while time.monotonic() < until:
    i = rng.randrange(24)
    blob = store.prepare([content(i)])
    if rng.random() < 0.3:
        time.sleep(rng.random() / 100)
    store.commit([PutBlob(blob), Put(Table.RECORDS, key(i, me), blob.digest)])
    assert store.get_blob(blob.digest) == content(i), "gone"
    if rng.random() < 0.3:  # named by what was seen to be there, not published
        try:
            other = digest_of(content(rng.randrange(24)))
            store.commit([Need(other), Put(Table.RECORDS, key(i, me), other)])
            store.get_blob(other)
        except BlobMissing as gone:
            assert store.get(Table.RECORDS, key(i, me)) != gone.digest, "lost"
    if rng.random() < 0.6:
        store.commit([Delete(Table.RECORDS, key(i, me))])
    count += 1
print(count)
""",
            me,
            seconds,
        )
        for me in range(4)
    ]
    sweeper = _NAMES + "\nwhile True:\n    print(len(sweep()), flush=True)\n"
    until, steady, kills = time.monotonic() + seconds, start(sweeper), 0
    while time.monotonic() < until:
        victim = start(sweeper)
        time.sleep(0.3 + kills % 7 * 0.05)
        victim.kill()
        victim.wait()
        kills += 1
    for writer in writers:
        out, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
        assert int(out) > 0
    steady.kill()
    swept, _ = steady.communicate()
    assert sum(map(int, swept.split()[:-1] or ["0"])) > 0, "the sweeps found nothing to take: this test tests nothing"
    with store.snapshot() as snapshot:
        named = {row for _, row in snapshot.scan(Table.RECORDS)}
    for digest in named:
        store.get_blob(digest)
    there = {digest for digest, _ in store.blob_sizes()} | set(store.stray_blobs())
    take(store, *(there - named))
    assert {digest for digest, _ in store.blob_sizes()} == named
    assert list(store.stray_blobs()) == []


@pytest.mark.promise("gc")
def test_a_sweep_that_was_taken_for_dead_takes_nothing_more(store: Store, run: Callable[..., object]) -> None:
    digest = stored(store, b"wanted by nobody")
    with store.barrier() as barrier:
        store.close()  # with it goes the name by which others know that this process lives
        run("with Store.open(sys.argv[1]).barrier(): pass")
        with pytest.raises(SweepUnderWay):
            list(store.take(barrier, [Victim(digest, evicted=False)]))
    assert store.find_missing([digest]) == set()


@pytest.mark.promise("gc")
def test_what_is_published_again_while_a_sweep_tells_what_went_stays(store: Store) -> None:
    digests = [stored(store, content) for content in (b"one", b"two" * LARGE, b"three")]
    with store.barrier() as barrier:
        going = store.take(barrier, [Victim(digest, evicted=False) for digest in digests])
        next(going)
        for content in (b"one", b"two" * LARGE, b"three"):
            stored(store, content)
        list(going)
    assert store.find_missing(digests) == set()


@pytest.mark.promise("gc")
def test_killed_anywhere_and_run_again_it_comes_to_the_same_end(
    store: Store, start: Start, rounds: Callable[..., int]
) -> None:
    wanted = {stored(store, bytes([i]) * (LARGE if i % 2 else 10), bytes([i])) for i in range(0, 40, 4)}
    program = _NAMES + "\nprint('go', flush=True)\nsweep()\nprint('done', flush=True)\n"
    for attempt in range(rounds(8, full=60)):
        for i in range(40):
            stored(store, bytes([i]) * (LARGE if i % 2 else 10))
        process = start(program)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(attempt % 15 * 0.004)
        process.kill()
        process.communicate()
        assert store.find_missing(wanted) == set()
        assert all(store.get_blob(digest) for digest in wanted)
    there = {digest for digest, _ in store.blob_sizes()} | set(store.stray_blobs())
    take(store, *(there - wanted))
    assert {digest for digest, _ in store.blob_sizes()} == wanted
    assert json.dumps(sorted(path.name for path in (store.path / "tmp").iterdir())) == "[]"
