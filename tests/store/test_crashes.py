"""Processes that are killed while they found a store or commit. At random points, and many: tests/torture."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cas_store import Store, Table


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
