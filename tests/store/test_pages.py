"""Pages of LMDB read as bytes: nothing is found in a sound file, and all of what is not sound."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
import pytest

from cas_store import Delete, Put, Store, StoreDamaged, Table
from cas_store.datafile import leave_stamp
from cas_store.layout import Layout
from cas_store.pages import DataFile, Walk
from cas_store.salvage import salvage

if TYPE_CHECKING:
    from tests.store.conftest import Run


def test_a_file_in_use_is_sound_after_each_commit(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    environment = lmdb.open(str(tmp_path), map_size=1 << 30, max_dbs=4, lib_version=0, sync=False)
    tables = [environment.open_db(b"table%d" % n) for n in range(3)]
    descriptor = os.open(tmp_path / "data.mdb", os.O_RDONLY)
    content: dict[tuple[bytes, bytes], bytes] = {}
    for _ in range(40):
        with environment.begin(write=True) as transaction:
            for _ in range(dice.choice((1, 20, 600))):
                number = dice.randrange(3)
                key = dice.randbytes(dice.choice((1, 2, 2, 16, 17, 511)))
                if dice.random() < 0.6:
                    row = dice.randbytes(dice.choice((0, 1, 100, 1000, 2020, 2030, 9000, 65_000)))
                    transaction.put(key, row, db=tables[number])
                    content[b"table%d" % number, key] = row
                else:
                    transaction.delete(key, db=tables[number])
                    content.pop((b"table%d" % number, key), None)
        file = DataFile(descriptor)
        walk = Walk(file, file.metas()[0], leaves=True)
        assert {(table, key): row for table, key, row in walk.run()} == content
        assert (walk.faults, walk.is_free_list_whole, list(walk.lost_pages())) == ([], True, [])
        branches = Walk(file, file.metas()[0], leaves=False)
        assert list(branches.run()) == [] or branches.faults == []
        assert branches.faults == []
    os.close(descriptor)
    environment.close()


@pytest.fixture
def filled(store: Store) -> Store:
    """Two thousand rows in a tree of three levels, closed."""
    store.commit([Put(Table.RECORDS, b"key%05d" % n, b"v%d" % n * 20) for n in range(2000)])
    store.commit([Put(Table.META, b"m", b"1")])
    store.close()
    return store


def pages_of(store: Store, flags: int) -> list[int]:
    content = (store.path / "durable" / "data.mdb").read_bytes()
    return [at for at in range(8192, len(content), 4096) if content[at + 10] == flags and content[at + 11] == 0]


def root_of(store: Store) -> int:
    """Where the root of the table of records lies."""
    with (store.path / "durable" / "data.mdb").open("rb") as file:
        pages = DataFile(file.fileno())
        walk = Walk(pages, pages.metas()[0], leaves=False)
        for _ in walk.run():
            pass
    return walk.tables[b"records"].root * 4096


def overwrite(store: Store, at: int, content: bytes) -> None:
    with (store.path / "durable" / "data.mdb").open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("flags", [1, 2], ids=["branches", "leaves"])
def test_of_a_page_that_is_lost_only_its_own_rows_are_lost(filled: Store, flags: int) -> None:
    intact = (filled.path / "durable" / "data.mdb").read_bytes()
    for at in pages_of(filled, flags)[:8]:
        overwrite(filled, 0, intact)
        overwrite(filled, at, os.urandom(4096))
        try:
            Store.open(filled.path).get(Table.META, b"m")
        except StoreDamaged as damage:
            assert "cas-run doctor --repair" in str(damage)  # noqa: PT017 - a page that is free may hold anything
        else:
            filled.close()
            continue
        report = salvage(Layout(filled.path), filled.id)
        lost = 2000 - report.rows["records"]
        assert 0 <= lost < 60 if flags == 2 else lost == 0
        with Store.open(filled.path) as again:
            found = [again.get(Table.RECORDS, b"key%05d" % n) for n in range(2000)]
            assert all(value in (None, b"v%d" % n * 20) for n, value in enumerate(found))
            assert found.count(None) == lost
            assert again.damage == []


def test_rows_that_were_removed_do_not_come_back(filled: Store) -> None:
    with Store.open(filled.path) as store:
        for n in range(0, 2000, 100):
            store.commit([Delete(Table.RECORDS, b"key%05d" % k) for k in range(n, n + 100, 2)])
        store.commit([Put(Table.META, b"m", b"2")])
    intact = (filled.path / "durable" / "data.mdb").read_bytes()
    for at in [*pages_of(filled, 1), 0, 4096]:
        overwrite(filled, 0, intact)
        overwrite(filled, at + 10, b"\xff\xff\x01\x00\x01\x00")
        report = salvage(Layout(filled.path), filled.id)
        assert report.rows["records"] >= 1000 - 60
        with Store.open(filled.path) as again, again.snapshot() as snapshot:
            kept = [key for key, _ in snapshot.scan(Table.RECORDS)]
            if not report.is_behind:
                assert [key for key in kept if int(key[3:]) % 2 == 0] == []
                assert snapshot.get(Table.META, b"m") in (b"2", None)


def test_a_salvage_that_is_cut_short_is_done_again(filled: Store) -> None:
    overwrite(filled, root_of(filled), os.urandom(4096))
    (filled.path / "tmp" / "salvage").mkdir()
    (filled.path / "tmp" / "salvage" / "data.mdb").write_bytes(b"half")
    assert salvage(Layout(filled.path), filled.id).rows["records"] == 2000
    assert salvage(Layout(filled.path), filled.id).rows["records"] == 2000
    assert Store.open(filled.path).get(Table.RECORDS, b"key00000") == b"v0" * 20


def test_a_file_that_is_as_it_was_left_is_not_walked_again(filled: Store) -> None:
    file = filled.path / "durable" / "data.mdb"
    overwrite(filled, root_of(filled), bytes(4096))
    leave_stamp(file)  # as on a disk that fails: no time of the file tells
    os.utime(file.with_name("clean"), (time.time() + 9, time.time() + 9))
    assert filled.get(Table.META, b"m") == b"1"
    filled.close()
    before = file.stat()
    time.sleep(0.03)  # or its times were as they were
    os.utime(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StoreDamaged, match="--repair"):
        filled.get(Table.META, b"m")


READS = """
import collections
counts = collections.Counter()
sys.setprofile(lambda frame, event, arg: counts.update([arg.__name__]) if event == "c_call" else None)
store = Store.open(sys.argv[1])
sys.setprofile(None)
store.commit([Put(Table.META, b"m", os.urandom(8))])
print(counts["pread"])
"""


def test_who_comes_right_after_a_process_that_wrote_and_ended_walks_nothing(filled: Store, run: Run) -> None:
    run(READS)
    assert int(run(READS).stdout) < 30  # headers, and the few pages of the scratch: a walk reads sixty more


def test_what_is_written_right_after_the_file_was_left_is_found(filled: Store) -> None:
    """The clock that files are dated by may not have moved on since."""
    for n in range(10):
        with Store.open(filled.path) as store:
            store.commit([Put(Table.META, b"n", b"%d" % n)])
        intact = (filled.path / "durable" / "data.mdb").read_bytes()
        overwrite(filled, root_of(filled), bytes(4096))
        with pytest.raises(StoreDamaged, match="--repair"):
            Store.open(filled.path).get(Table.META, b"m")
        overwrite(filled, 0, intact)


def test_a_damaged_scratch_is_thrown_away(store: Store, run: Any) -> None:
    store.claim([b"k" * 16], b"h" * 16)
    store.close()
    (data,) = store.path.glob("scratch/*/data.mdb")
    shutil.copy(data, data.with_suffix(".intact"))
    for at in range(0, data.stat().st_size, 4096):
        content = bytearray(data.with_suffix(".intact").read_bytes())
        content[at + 8 : at + 16] = os.urandom(8)
        data.write_bytes(content)
    run("assert Store.open(sys.argv[1]).claim([b'k' * 16], b'i' * 16) == [None]")
