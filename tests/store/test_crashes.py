"""What was acknowledged survives kill -9 at any point, and no record is there without its blob."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from cas_store import Store, Table, digest_of

POINTS = 25

WRITER = """
    store = Store.open(sys.argv[1])
    first, lock = int(sys.argv[2]), threading.Lock()

    def content(n):
        return b"%d," % n * (30_000 if n % 7 == 0 else 100)

    def acknowledge(n):
        def done(future):
            future.result()
            os.write(1, b"%d\\n" % n)
        return done

    def write(n):
        blob = store.prepare([content(n)])
        writes = [Put(Table.RECORDS, b"%08d" % n, blob.digest), Insert(Table.CONTENTS, b"%08d" % n, b"x")]
        store.submit([PutBlob(blob), *writes]).add_done_callback(acknowledge(n))
        if n % 10 == 0:
            store.commit([])

    os.write(1, b"ready\\n")
    for n in range(first, first + 100_000):
        write(n)
"""


def content(n: int) -> bytes:
    return b"%d," % n * (30_000 if n % 7 == 0 else 100)


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(store: Store, start: Any) -> None:
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    told: set[int] = set()
    for point in range(POINTS):
        process = start(WRITER, point * 1_000_000)
        assert process.stdout.readline() == "ready\n"
        time.sleep(dice.random() ** 2 * 0.15)
        process.kill()
        out, _ = process.communicate()
        told.update(map(int, out.split()))
    assert len(told) > POINTS

    store.close()
    with store.snapshot() as snap:
        records = dict(snap.scan(Table.RECORDS))
        contents = dict(snap.scan(Table.CONTENTS))
    lost = told - {int(key) for key in records}
    assert not lost, f"seed {seed}: acknowledged and lost: {lost}"
    assert records.keys() == contents.keys(), f"seed {seed}: half a batch"
    assert store.find_missing(records.values()) == set(), f"seed {seed}: records without their blobs"
    for key, digest in records.items():
        assert digest == digest_of(content(int(key)))
        assert store.get_blob(digest) == content(int(key)), f"seed {seed}: {key!r}"
    assert store.damage == []


@pytest.mark.promise("kill")
def test_a_store_whose_founder_was_killed_is_founded_by_the_next(start: Any, run: Any) -> None:
    """Ten processes are killed while they found the store, each a little later."""
    for point in range(10):
        process = start("""
            print("ready", flush=True)
            for n in range(1000):
                store = Store.open(sys.argv[1] + sys.argv[2] + str(n))
        """, point)  # fmt: skip
        process.stdout.readline()
        time.sleep(0.01 + 0.003 * point)
        process.kill()
        process.communicate()
        run("""
            paths = sorted(Path(sys.argv[1]).parent.glob("store" + sys.argv[2] + "*"))
            assert paths
            for path in paths:
                store = Store.open(path)
                store.commit([Put(Table.RECORDS, b"a", b"1")])
                assert store.get(Table.RECORDS, b"a") == b"1"
                store.close()
        """, point)  # fmt: skip


@pytest.mark.promise("kill")
def test_a_commit_is_not_told_before_it_is_synced(store: Store, start: Any) -> None:
    """What another process reads after the acknowledgement is there, also right after it."""
    process = start("""
        store = Store.open(sys.argv[1])
        for n in range(50):
            store.commit([Put(Table.RECORDS, b"%d" % n, b"x")])
            print(n, flush=True)
    """)
    for line in process.stdout:
        assert store.get(Table.RECORDS, line.strip().encode()) == b"x"
    assert process.wait(10) == 0
