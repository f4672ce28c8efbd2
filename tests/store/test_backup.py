"""A backup is a store of one moment, though others write; compacting leaves the old file or the new."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from cas_store import BlobMissing, Delete, Put, PutBlob, Store, StoreRefused, SweepUnderWay, Table
from cas_store.backup import back_up
from cas_store.layout import Layout
from cas_store.sweeping import Victim

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Rounds
    from tests.store.conftest import Start

LARGE = 100_000

# Writes records, each with its blob in the same commit, and removes old ones with theirs, until it is killed.
WRITER = """
from cas_store.sweeping import Victim
store = Store.open(sys.argv[1])
made = []
print("begun", flush=True)
while True:
    n = len(made)
    blob = store.prepare([b"%d:%d." % (os.getpid(), n) + os.urandom(100_000 if n % 3 else 100)])
    key = b"%d-%d" % (os.getpid(), n)
    store.commit([PutBlob(blob), Put(Table.RECORDS, key, blob.digest)])
    made.append((key, blob.digest))
    if n % 4 == 3:
        key, digest = made[n - 2]
        store.commit([Delete(Table.RECORDS, key)])
        try:
            with store.barrier() as barrier:
                list(store.take(barrier, [Victim(digest, False)]))
        except SweepUnderWay:
            pass
"""
COMPACTS = """
store = Store.open(sys.argv[1])
print("begun", flush=True)
while True:
    try:
        store.compact()
    except StoreRefused:
        pass
    store.commit([Put(Table.META, b"n%d" % (time.time_ns() % 100), os.urandom(2000))])
    print("compacted", flush=True)
"""
BACKS_UP = """
store = Store.open(sys.argv[1])
print("begun", flush=True)
store.back_up(Path(sys.argv[2]))
"""
OPENS = """
store = Store.open(sys.argv[1])
store.commit([Put(Table.META, sys.argv[2].encode(), b"x")])
"""
HOLDS = """
store = Store.open(sys.argv[1])
print("begun", flush=True)
sys.stdin.readline()
store.commit([Put(Table.META, b"held", b"on")])
"""


def fill(store: Store, count: int, size: int = LARGE) -> dict[bytes, bytes]:
    """Records that name blobs; key → content."""
    made = {}
    for i in range(count):
        content = os.urandom(size)
        blob = store.prepare([content])
        store.commit([PutBlob(blob), Put(Table.RECORDS, b"key %d" % i, blob.digest)])
        made[b"key %d" % i] = content
    return made


def records_in(path: Path) -> dict[bytes, bytes]:
    """All records of a store with what their blobs hold: raises where a blob is missing."""
    store = Store.open(path, create=False)
    try:
        with store.snapshot() as snapshot:
            rows = dict(snapshot.scan(Table.RECORDS))
        found = {key: bytes(store.get_blob(digest)) for key, digest in rows.items()}
        assert store.damage == []
        return found
    finally:
        store.close()


def begun(start: Start, program: str, *arguments: object) -> subprocess.Popen[str]:
    process = start(program, *arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_backup_is_a_store_with_all_that_was_in_it(store: Store, tmp_path: Path) -> None:
    made = fill(store, 3) | fill(store, 2, size=100)
    done = store.back_up(tmp_path / "backup")
    assert records_in(tmp_path / "backup") == made
    assert (done.copied, done.missing) == (3, 0)
    assert Store.open(tmp_path / "backup").id == store.id
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(store: Store, tmp_path: Path) -> None:
    made = fill(store, 3)
    store.back_up(tmp_path / "backup")
    more = store.prepare([os.urandom(LARGE)])
    store.commit([PutBlob(more), Put(Table.RECORDS, b"more", more.digest)])
    gone = store.get(Table.RECORDS, b"key 0")
    assert gone is not None
    store._layout.blob(gone).unlink()  # as a sweep would, with its rows
    store._database.write(lambda transaction: store._blobs.remove(transaction, gone))
    store.commit([_delete(b"key 0")])
    del made[b"key 0"]
    done = store.back_up(tmp_path / "backup")
    assert (done.copied, done.kept, done.removed, done.missing) == (1, 2, 1, 0)
    assert records_in(tmp_path / "backup").keys() == made.keys() | {b"more"}
    # Looked at, it still is a backup.
    assert store.back_up(tmp_path / "backup").copied == 0


@pytest.mark.promise("bundle")
def test_beside_writers_and_sweeps_every_record_in_a_backup_has_its_blob(
    store: Store, start: Start, tmp_path: Path, rounds: Rounds
) -> None:
    writers = [begun(start, WRITER) for _ in range(2)]
    for _ in range(rounds(4, full=60)):
        assert store.back_up(tmp_path / "backup").missing == 0
        assert records_in(tmp_path / "backup")
    for writer in writers:
        assert writer.poll() is None
        writer.kill()


def test_where_a_sweep_comes_in_between_each_time_the_last_time_none_can(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    published = []

    def copy_and_sweep(descriptor: int) -> None:
        blob = store.prepare([os.urandom(LARGE)])
        store.commit([PutBlob(blob)])
        store._database.copy(descriptor)
        published.append(blob.digest)
        with suppress(SweepUnderWay), store.barrier() as barrier:
            list(store.take(barrier, [Victim(blob.digest, evicted=False)]))

    layout = Layout(store.path)
    done = back_up(layout, store.id, copy_and_sweep, tmp_path / "backup", None, no_sweeps=store.barrier)
    assert len(published) > 1
    assert done.missing == 0
    assert store.find_missing(published) == set(published[:-1])
    with Store.open(tmp_path / "backup", create=False) as copy:
        assert copy.find_missing(published) == set(published[:-1])


@pytest.mark.promise("bundle")
def test_killed_anywhere_a_backup_is_the_earlier_one_or_none_and_goes_on(
    store: Store, start: Start, tmp_path: Path, rounds: Rounds, seed: int
) -> None:
    chance = random.Random(seed)
    made = fill(store, 4)
    target = tmp_path / "backup"
    before: dict[bytes, bytes] = {}
    for i in range(rounds(6, full=200)):
        process = begun(start, BACKS_UP, target)
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.communicate()
        if (target / "STORE").exists():
            found = records_in(target)
            assert found in (before, made)
        store.back_up(target)
        before = dict(made)
        assert records_in(target) == made
        blob = store.prepare([content := os.urandom(LARGE)])
        store.commit([PutBlob(blob), Put(Table.RECORDS, b"round %d" % i, blob.digest)])
        made[b"round %d" % i] = content
        store.back_up(target) if i % 2 else None
        before = dict(made) if i % 2 else before


def test_only_an_empty_folder_or_an_earlier_backup_is_written_to(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    other = Store.open(tmp_path / "other")
    other.back_up(tmp_path / "others backup")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    wrong = ["other", "others backup", "full", "file", "store", "store/inside", ".", "no/such/place"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    for name in wrong:
        with pytest.raises(StoreRefused, match="\n  -> "):
            store.back_up(tmp_path / name)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_backup_that_was_worked_in_is_not_written_over(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    store.back_up(tmp_path / "backup")
    used = Store.open(tmp_path / "backup")
    used.commit([Put(Table.META, b"new", b"result")])
    used.close()
    with pytest.raises(StoreRefused, match="\n  -> "):
        store.back_up(tmp_path / "backup")
    assert Store.open(tmp_path / "backup").get(Table.META, b"new") == b"result"


def test_a_blob_that_the_store_has_lost_is_told(store: Store, tmp_path: Path) -> None:
    fill(store, 2)
    digest = store.get(Table.RECORDS, b"key 0")
    assert digest is not None
    store._layout.blob(digest).unlink()
    assert store.back_up(tmp_path / "backup").missing == 1
    with pytest.raises(BlobMissing):
        records_in(tmp_path / "backup")


# Compacting ------------------------------------------------------------------------------------------------------


def test_compacting_gives_back_what_removed_rows_took(store: Store) -> None:
    store.commit([Put(Table.META, b"%d" % i, os.urandom(4000)) for i in range(3000)])
    store.commit([_delete(b"%d" % i, Table.META) for i in range(2990)])
    before, after = store.compact()
    assert after < before / 10
    with store.snapshot() as snapshot:
        assert len(list(snapshot.scan(Table.META, b"29"))) == 10
    store.commit([Put(Table.META, b"and on", b"it goes")])
    assert store.get(Table.META, b"and on") == b"it goes"


def test_while_another_process_has_it_open_it_is_refused_and_says_which(store: Store, start: Start) -> None:
    fill(store, 2)
    process = begun(start, HOLDS)
    with pytest.raises(StoreRefused, match=rf"process {process.pid} "):
        store.compact()
    _, err = process.communicate("go\n", timeout=20)
    assert (process.returncode, err) == (0, "")
    assert store.get(Table.META, b"held") == b"on"
    store.compact()


@pytest.mark.promise("bundle")
def test_killed_anywhere_compacting_leaves_the_old_or_the_new(
    store: Store, start: Start, tmp_path: Path, rounds: Rounds, seed: int
) -> None:
    chance = random.Random(seed)
    made = fill(store, 20, size=3000)
    store.close()
    for _ in range(rounds(8, full=500)):
        process = begun(start, COMPACTS)
        time.sleep(chance.random() * 0.08)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert records_in(tmp_path / "store") == made
    process = start("Store.open(sys.argv[1])")  # whoever opens it next clears away what the last one left
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert [path.name for path in (tmp_path / "store" / "tmp").iterdir()] == []


def test_who_opens_a_store_while_it_is_compacted_has_the_new_one(store: Store, start: Start) -> None:
    """The number of the last transaction goes back when a file is compacted; LMDB's lock file must not know better."""
    made = fill(store, 5, size=3000)
    for i in range(300):
        store.commit([Put(Table.META, b"n", b"%d" % i)])
    store.close()
    compacting = begun(start, COMPACTS)
    for i in range(5):
        process = start(OPENS, i)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
    assert compacting.poll() is None
    compacting.kill()
    compacting.communicate()
    assert records_in(store.path) == made
    reopened = Store.open(store.path)
    assert [reopened.get(Table.META, b"%d" % i) for i in range(5)] == [b"x"] * 5
    reopened.close()


def _delete(key: bytes, table: Table = Table.RECORDS) -> Delete:
    return Delete(table, key)
