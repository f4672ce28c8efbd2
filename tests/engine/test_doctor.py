"""The doctor finds what is wrong with a store, puts in order what can be, says what is lost, and invents nothing."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

import cas_run as ct
from cas_engine.bookkeeping import ledger
from cas_engine.inspecting.doctor import Diagnosis, doctor
from cas_store import Delete, Put, Store, StoreDamaged, StoreError, StoreMissing, StoreRefused, Table

LARGE = 200_000


@ct.electron
def stretch(text: str) -> bytes:
    ran.append("stretch")
    return text.encode() * LARGE


@ct.electron
def length(content: bytes) -> int:
    ran.append("length")
    return len(content)


@ct.lattice
def measured(text: str = "x") -> Any:
    return length(stretch(text))


ran: list[str] = []


@pytest.fixture
def filled(tmp_path: Path) -> Store:
    """A store with one dispatch."""
    store = Store.open(tmp_path / "filled")
    assert result(store) == LARGE
    ran.clear()
    return store


def result(store: Store) -> Any:
    return ct.get_result(ct.dispatch(measured, store=store)(), wait=True, store=store).result


def kinds(found: Diagnosis) -> list[str]:
    return sorted({each.kind.value for each in found.findings})


def large_file(store: Store) -> Path:
    (file,) = store.path.glob("blobs/*/*")
    return file


def wound(file: Path) -> None:
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(b"wound")
    file.chmod(0o400)


def test_a_sound_store_has_no_findings(filled: Store) -> None:
    assert doctor(store=filled).findings == ()
    found = doctor(store=filled, repair=True)
    assert (found.findings, found.mended, found.quarantine) == ((), (), ())
    assert found.rows > 5
    assert found.dispatches == 1
    assert found.bytes_read > LARGE


def test_a_result_that_is_damaged_is_put_aside_and_what_hangs_on_it_stays_a_hit(filled: Store) -> None:
    wound(large_file(filled))
    assert kinds(doctor(store=filled)) == ["blob"]
    assert kinds(doctor(store=filled)) == ["blob"]  # looking changes nothing
    found = doctor(store=filled, repair=True)
    assert found.findings == ()
    (kept,) = found.quarantine
    assert "measured" in kept.needed_by[0]
    assert result(filled) == LARGE
    assert "length" not in ran
    assert doctor(store=filled).findings == ()


def test_a_share_of_the_large_blobs_looks_at_all_of_their_sizes(filled: Store) -> None:
    wound(large_file(filled))
    assert doctor(store=filled, sample=0.0).findings == ()
    large_file(filled).unlink()
    assert kinds(doctor(store=filled, sample=0.0)) == ["blob", "result"]
    assert doctor(store=filled, repair=True).findings == ()


def test_a_file_that_may_be_written_to_is_made_read_only(filled: Store) -> None:
    large_file(filled).chmod(0o666)
    assert kinds(doctor(store=filled)) == ["mode"]
    assert doctor(store=filled, repair=True).findings == ()
    assert large_file(filled).stat().st_mode & 0o777 == 0o400


def test_what_is_not_in_the_order_of_time_is_entered_and_what_leads_nowhere_is_removed(filled: Store) -> None:
    (entry,) = ledger.every(filled)
    filled.commit([Delete(Table.TIMELINE, ledger.timeline_key(entry)), Put(Table.TIMELINE, bytes(24), b"")])
    assert kinds(doctor(store=filled)) == ["index"]
    assert list(ledger.newest_first(filled)) == []
    assert doctor(store=filled, repair=True).findings == ()
    assert list(ledger.newest_first(filled)) == [entry]


def test_a_dispatch_that_has_lost_its_code_is_named_until_it_is_forgotten(filled: Store) -> None:
    (entry,) = ledger.every(filled)
    manifest = ct.get_result(entry.id, store=filled).manifest
    filled.commit([Delete(Table.BLOBS, manifest.lattice.capsule)])
    found = doctor(store=filled, repair=True)
    assert kinds(found) == ["history"]
    assert entry.id[:12] in found.findings[0].what
    assert "redispatched" in found.findings[0].why
    filled.commit([Delete(Table.BLOBS, bytes.fromhex(entry.manifest))])
    assert "lost" in doctor(store=filled).findings[0].why
    filled.commit(ledger.delete(entry))
    assert doctor(store=filled).findings == ()


def test_what_is_no_record_is_told_and_removed(filled: Store) -> None:
    filled.commit([Put(Table.RECORDS, b"k" * 16, b"short"), Put(Table.CONTENTS, b"k" * 16, b"x" * 200)])
    assert kinds(doctor(store=filled)) == ["result"]
    assert doctor(store=filled, repair=True).findings == ()
    assert result(filled) == LARGE


def hit_pages(folder: Path) -> None:
    """Every second page but the headers."""
    file = folder / "durable" / "data.mdb"
    with file.open("r+b") as opened:
        for at in range(8192, file.stat().st_size, 8192):
            opened.seek(at + 8)
            opened.write(os.urandom(8))


DEEDS: dict[str, Callable[[Path], Any]] = {
    "pages": hit_pages,
    "cut": lambda folder: os.truncate(folder / "durable" / "data.mdb", 20_000),
    "emptied": lambda folder: os.truncate(folder / "durable" / "data.mdb", 0),
    "without rows": lambda folder: shutil.rmtree(folder / "durable"),
    "without identity": lambda folder: (folder / "STORE").unlink(),
    "unreadable identity": lambda folder: (folder / "STORE").write_bytes(b"{"),
    "another identity": lambda folder: (folder / "STORE").write_text('{"format": 1, "id": "%s"}' % ("ab" * 16)),
    "a header": lambda folder: os.pwrite(os.open(folder / "durable" / "data.mdb", os.O_WRONLY), bytes(4096), 0),
}


@pytest.mark.promise("damage")
@pytest.mark.parametrize("deed", DEEDS)
def test_a_store_that_cannot_be_opened_is_refused_and_can_be_used_after_a_repair(filled: Store, deed: str) -> None:
    filled.close()
    folder = filled.path.with_name("copy")
    shutil.copytree(filled.path, folder)
    DEEDS[deed](folder)
    if deed != "without identity":  # which the rows have too
        with pytest.raises(StoreDamaged, match=r"\n  -> "):
            Store.open(folder)
    assert {"structure", "identity"} & set(kinds(doctor(store=folder)))
    found = doctor(store=folder, repair=True)
    assert {"structure", "identity", "row"} & set(kinds(found)) == set()
    assert found.mended
    assert result(Store.open(folder)) == LARGE
    lost = doctor(store=folder, repair=True)
    assert {each.kind.value for each in lost.findings} <= {"history"}


REPAIRS = """
import sys
from cas_engine.inspecting.doctor import doctor
print("ready", flush=True)
doctor(store=sys.argv[1], repair=True)
"""


@pytest.mark.promise("damage")
def test_killed_anywhere_and_run_again_a_repair_comes_to_the_same_end(filled: Store, rounds: Any, seed: int) -> None:
    filled.close()
    chance = random.Random(seed)
    damaged, folder = filled.path.with_name("damaged"), filled.path.with_name("copy")
    for _ in range(rounds(6, full=100)):
        ends = []
        deed = chance.choice([name for name in DEEDS if name != "another identity"])
        for folder_of in (damaged, folder):
            shutil.rmtree(folder_of, ignore_errors=True)
        shutil.copytree(filled.path, damaged)
        DEEDS[deed](damaged)
        for kills in (0, 2):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(damaged, folder)
            for _ in range(kills):
                process = subprocess.Popen([sys.executable, "-c", REPAIRS, str(folder)], stdout=subprocess.PIPE)
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                time.sleep(chance.random() * 0.1)
                process.kill()
                process.communicate()
            found = doctor(store=folder, repair=True)
            ends.append(({each.what for each in found.findings}, set(rows_of(folder))))
            Store.open(folder).close()
        assert ends[0] == ends[1], deed


def rows_of(folder: Path) -> list[tuple[str, bytes]]:
    with Store.open(folder).walk() as walk:
        return [(name.decode(), key) for name, key, _ in walk.run()]


def flip(folder: Path, table: str, key: bytes, byte: int) -> None:
    environment = lmdb.open(str(folder / "durable"), max_dbs=20, map_size=1 << 30, lib_version=0)
    with environment.begin(write=True) as transaction:
        handle = environment.open_db(table.encode(), txn=transaction)
        row = bytearray(transaction.get(key, b"", handle))
        row[byte] ^= 1
        transaction.put(key, bytes(row), db=handle)
    environment.close()


@pytest.mark.promise("damage")
def test_whatever_is_damaged_the_next_dispatch_gives_the_right_value(filled: Store) -> None:
    filled.close()
    folder = filled.path.with_name("copy")
    victims = [*rows_of(filled.path), *(("file", bytes.fromhex(file.name)) for file in [large_file(filled)])]
    filled.close()
    assert {table for table, _ in victims} >= {"records", "contents", "blobs", "dispatches", "lattices", "capsules"}
    for table, key in victims:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(filled.path, folder)
        wound(next(folder.glob("blobs/*/*"))) if table == "file" else flip(folder, table, key, -1)
        store = Store.open(folder)
        assert result(store) == LARGE, (table, key)
        found = doctor(store=store, repair=True)
        assert {each.kind.value for each in found.findings} <= {"history"}, (table, key, found.findings)
        assert result(store) == LARGE, (table, key)
        store.close()


def test_a_repair_waits_for_nobody_who_has_the_rows_open(filled: Store, tmp_path: Path) -> None:
    from cas_store.tenancy import alone

    with pytest.raises(StoreRefused, match="in use"), alone(filled.path / "durable", "a repair"):
        pass
    filled.close()
    with alone(filled.path / "durable", "a repair"):
        pass


def test_where_there_is_no_store_nothing_is_made(tmp_path: Path) -> None:
    for repair in (False, True):
        with pytest.raises(StoreMissing):
            doctor(store=tmp_path / "nowhere", repair=repair)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "STORE").write_text("{")
    with pytest.raises(StoreError, match="backup"):
        doctor(store=tmp_path, repair=True)
