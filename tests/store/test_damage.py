"""Flipped bits, cut files and rows in the wrong place are misses or refusals, never wrong values, never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import pytest

from cas_store import BlobDamaged, BlobMissing, Insert, Put, PutBlob, Store, Table
from cas_store.rows import Seal

READER = """
    import random, shutil, tempfile
    from cas_store.mending import make_readable

    # In memory, if the system has a folder there: nothing here depends on what a sync does.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = tempfile.TemporaryDirectory(prefix="cas-run-damage-", dir=memory)
    base, seed = Path(place.name) / "store", int(sys.argv[2])
    dice = random.Random(seed)

    def value(n):
        return b"value%d," % n * (n % 150 + 1)

    def large(n):
        return b"large%d," % n * 20_000

    def build():
        store = Store.open(base)
        for k in range(6):
            rows = [Put(Table.RECORDS, b"key%05d" % n, value(n)) for n in range(k * 50, k * 50 + 50)]
            blobs = [PutBlob(store.prepare([value(n)])) for n in range(k * 10, k * 10 + 10)]
            store.commit([*rows, *blobs, PutBlob(store.prepare([large(k)])), Put(Table.META, b"newest", b"%d" % k)])
        store.commit([Delete(Table.RECORDS, b"key%05d" % n) for n in range(0, 300, 30)])
        store.commit([Put(Table.META, b"newest", b"6")])
        store.commit([Put(Table.META, b"newest", b"7")])
        store.close()

    def read(path, behind=False, removed=range(0, 300, 30)):
        '''How many are missing. A wrong value is an AssertionError.'''
        store, missing = Store.open(path, create=False), 0
        for n in range(300):
            found = store.get(Table.RECORDS, b"key%05d" % n)
            assert found in (None, value(n)) and not (found and n in removed), (n, found)
            missing += found is None and n not in removed
        newest = store.get(Table.META, b"newest")
        assert newest in (None, b"7", b"6" if behind else None), newest
        missing += newest is None
        with store.snapshot() as snap:
            for key, found in snap.scan(Table.RECORDS):
                assert found == value(int(key[3:]))
        for content in [value(n) for n in range(60)] + [large(n) for n in range(6)]:
            try:
                assert store.get_blob(digest_of(content)) == content
            except (BlobMissing, BlobDamaged):
                missing += 1
        return missing

    def write(path, behind=False):
        store = Store.open(path, create=False)
        read(path, behind)
        store.commit([Put(Table.RECORDS, b"key%05d" % n, value(n)) for n in range(300)])
        assert read(path, behind, ()) < 80
        with store.snapshot() as snap:
            assert len(list(snap.scan(Table.RECORDS))) == 300
        return 0

    def child(job):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            try:
                os._exit(job())
            except StoreTooNew:
                os._exit(4)
            except StoreDamaged:
                os._exit(2)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def repair(path):
        # The header that was hit may have been the newest: then the last commit may be missing, and it says so.
        if status := child(lambda: make_readable(path) and 0):
            return status
        return child(lambda: write(path, behind=True))

    def flipped(content, at):
        if at < len(content):
            content[at] ^= 1 << dice.randrange(8)

    def case(path):
        shutil.copytree(base, path)
        files = [each for each in path.rglob("*") if each.is_file() and each.parent.name != "live"]
        file = path / "durable/data.mdb" if dice.random() < 0.75 else dice.choice(sorted(files))
        content = bytearray(file.read_bytes())
        size = max(len(content), 1)
        kind = dice.random()
        if kind < 0.5:
            flipped(content, dice.randrange(size))
        elif kind < 0.8:  # where a page says what it is
            flipped(content, dice.randrange(0, size, 4096) + dice.randrange(40))
        elif kind < 0.9:
            at = dice.randrange(0, size, 512)
            content[at : at + 512] = dice.choice([bytes(512), dice.randbytes(512)])[: len(content) - at]
        else:
            content = content[: dice.randrange(size)]
        file.chmod(0o600)
        file.write_bytes(content)
        status = child(lambda: 1 if read(path) else 0)
        if status == 4 and file.name == "STORE":
            # A digit of the format hit so that it says a later one: refused, and no repair may take it for this one.
            shutil.rmtree(path)
            return 2
        again = repair(path) if status == 2 else child(lambda: write(path)) if status in (0, 1) else 0
        assert again == 0, f"{file.name}: {status}, then {again}"
        shutil.rmtree(path)
        return status

    child(lambda: build() or 0)
    assert child(lambda: read(base)) == 0, "an intact store has misses"
    outcomes = [case(base.with_name("case")) for _ in range(int(sys.argv[3]))]
    print(*(outcomes.count(status) for status in (0, 1, 2)))
    assert set(outcomes) <= {0, 1, 2}, outcomes
"""


@pytest.mark.promise("damage")
@pytest.mark.parametrize("part", [1, 2])
def test_random_damage_gives_no_wrong_value_and_no_crash(run: Any, rounds: Any, seed: int, part: int) -> None:
    cases = rounds(200, full=5000)
    out = run(READER, seed + part, cases, seconds=60 + 2 * cases).stdout
    unharmed, misses, refused = map(int, out.split())
    assert unharmed + misses + refused == cases
    assert misses > 0
    assert refused > 0


def raw(store: Store, table: Table, change: Any) -> None:
    """Let somebody change raw rows behind the store's back."""
    store.close()
    environment = lmdb.open(str(store.path / "durable"), max_dbs=20, map_size=1 << 30, lib_version=0)
    with environment.begin(write=True) as transaction:
        change(transaction, environment.open_db(table.value.encode(), txn=transaction))
    environment.close()


@pytest.mark.promise("swap")
def test_a_row_under_another_key_is_rejected(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1"), Put(Table.RECORDS, b"b", b"2")])

    def swap(transaction: Any, table: Any) -> None:
        one, two = transaction.get(b"a", db=table), transaction.get(b"b", db=table)
        transaction.put(b"a", two, db=table)
        transaction.put(b"b", one, db=table)
        transaction.put(b"ab", one, db=table)

    raw(store, Table.RECORDS, swap)
    with store.snapshot() as snap:
        assert snap.get_many(Table.RECORDS, [b"a", b"b", b"ab"]) == [None, None, None]
        assert list(snap.scan(Table.RECORDS)) == []
    assert {damage.key for damage in store.damage} == {b"a", b"b", b"ab"}


@pytest.mark.promise("swap")
def test_a_row_of_another_table_or_store_is_rejected(store: Store, tmp_path: Path) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1")])
    rows: list[bytes] = []
    raw(store, Table.RECORDS, lambda transaction, table: rows.append(transaction.get(b"a", db=table)))
    raw(store, Table.CONTENTS, lambda transaction, table: transaction.put(b"a", rows[0], db=table))
    assert store.get(Table.CONTENTS, b"a") is None
    assert store.get(Table.RECORDS, b"a") == b"1"
    with Store.open(tmp_path / "other") as other:
        raw(other, Table.RECORDS, lambda transaction, table: transaction.put(b"a", rows[0], db=table))
        assert other.get(Table.RECORDS, b"a") is None


@pytest.mark.promise("swap")
def test_no_row_passes_in_the_place_of_another(store: Store, tmp_path: Path) -> None:
    keys = [b"a", b"b", b"ab", b"a" * 16, b"a" * 17]
    for table in Table:
        store.commit([Put(table, key, b"value of " + key) for key in keys])
    with store.walk() as walk:
        rows = [(name.decode(), key, row) for name, key, row in walk.run()]
    assert len(rows) > len(Table) * len(keys)
    other = Store.open(tmp_path / "other")
    for place, key, _ in rows:
        for own in (store, other):
            seal = Seal(own.id, place)
            passing = [(name, at) for name, at, row in rows if seal.open(key, row) is not None]
            assert passing == ([(place, key)] if own is store else [])
    other.close()


def test_where_the_key_ends_and_the_value_begins_counts() -> None:
    seal = Seal(b"i" * 16, "records")
    assert seal.open(b"a", seal.close(b"a", b"bc")) == b"bc"
    assert seal.open(b"ab", seal.close(b"a", b"bc")[:16] + b"c") is None
    assert seal.open(b"a", b"") is None
    assert seal.open(b"a" * 512, seal.close(b"a", b"bc")) is None  # as a scan of a damaged page may find it


def flip(transaction: Any, table: Any, key: bytes = b"a") -> None:
    row = bytearray(transaction.get(key, db=table))
    row[-1] ^= 1
    transaction.put(key, bytes(row), db=table)


def test_a_damaged_row_is_kept_aside_and_can_be_written_again(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1")])
    raw(store, Table.RECORDS, flip)
    assert store.get(Table.RECORDS, b"a") is None
    (damage,) = store.damage
    assert (damage.table, damage.key) == ("records", b"a")
    assert damage.kept is not None
    assert damage.kept.read_bytes().endswith(b"0")  # "1" with a bit flipped
    with store.snapshot() as snap:
        assert not snap.has(Table.RECORDS, b"a")
    store.commit([Insert(Table.RECORDS, b"a", b"2")])
    assert store.get(Table.RECORDS, b"a") == b"2"


def test_of_many_rows_only_the_damaged_are_missing(store: Store) -> None:
    keys = [b"%05d" % n for n in range(2500)]
    store.commit([Put(Table.RECORDS, key, key) for key in keys])
    raw(store, Table.RECORDS, lambda transaction, table: flip(transaction, table, b"01234"))
    with store.snapshot() as snap:
        found = snap.get_many(Table.RECORDS, [*keys, b"", b"x" * 600])
    assert found == [None if key == b"01234" else key for key in keys] + [None, None]
    assert [damage.key for damage in store.damage] == [b"01234"]


def test_an_insert_does_not_spare_a_damaged_row(store: Store) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1")])
    raw(store, Table.RECORDS, flip)
    store.commit([Insert(Table.RECORDS, b"a", b"2")])
    assert store.get(Table.RECORDS, b"a") == b"2"


def test_a_small_blob_that_is_damaged_is_replaced_by_the_next_that_is_equal(store: Store) -> None:
    blob = store.prepare([b"small"])
    store.commit([PutBlob(blob)])
    raw(store, Table.BLOBS, lambda transaction, table: flip(transaction, table, blob.digest))
    with pytest.raises(BlobDamaged):
        store.get_blob(blob.digest)
    with pytest.raises(BlobMissing):
        store.get_blob(blob.digest)
    store.commit([PutBlob(blob)])
    raw(store, Table.BLOBS, lambda transaction, table: flip(transaction, table, blob.digest))
    store.commit([PutBlob(blob)])
    assert bytes(store.get_blob(blob.digest)) == b"small"


@pytest.mark.parametrize("read_before", [False, True])
def test_a_damaged_identity_row_is_mended_from_the_store_file(store: Store, run: Any, read_before: bool) -> None:
    store.commit([Put(Table.RECORDS, b"a", b"1")])
    raw(store, Table.META, lambda transaction, table: flip(transaction, table, b"\x00store"))
    if read_before:
        assert store.get(Table.META, b"\x00store") is None
    store.close()
    run("assert Store.open(sys.argv[1]).get(Table.RECORDS, b'a') == b'1'")
    assert store.get(Table.META, b"\x00store") == (store.path / "STORE").read_bytes()
