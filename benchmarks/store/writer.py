"""A process that makes records durable for some seconds: by the store, or by LMDB alone. A script.

    writer.py ours|raw FOLDER THREADS SECONDS GROUP

Each of the threads waits for its record to be durable before it makes the next. GROUP above 1: one thread that
waits only at the end; of LMDB alone, so many records to a commit. Answers with the seconds that each wait took,
or, with a group, with [seconds in all, records].
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb

from cas_engine.capsules.codec import encode
from cas_engine.plans.records import NO_PARTS, Record, dumps
from cas_store import Put, PutBlob, Store, Table, Write, digest_of
from cas_store.rows import Seal

Rows = list[tuple[str, bytes, bytes]]


def record() -> tuple[bytes, bytes, bytes]:
    """Key, row of a record, and blob of a result, as the engine writes them."""
    [blob] = encode(int.from_bytes(os.urandom(7), "big")).pieces
    value, key = os.urandom(16), os.urandom(16)
    name = digest_of(bytes(blob))
    row = Record(value, name, 0.01, 1.7e9, len(blob), False, 0, NO_PARTS, (), "step", key.hex())  # noqa: FBT003
    return key, dumps(row), bytes(blob)


def batch(store: Store) -> list[Write]:
    key, row, blob = record()
    return [PutBlob(store.prepare([blob])), Put(Table.RECORDS, key, row), Put(Table.CONTENTS, key, row)]


def rows() -> Rows:
    """The same rows for LMDB alone, sealed: what is measured is the commit, not the making of rows."""
    key, row, blob = record()
    seal = Seal(bytes(16), "records")
    sealed = seal.close(key, row)
    return [("blobs", digest_of(blob), seal.close(key, blob)), ("records", key, sealed), ("contents", key, sealed)]


def ours(folder: Path, threads: int, seconds: float, group: int) -> list[float]:
    store = Store.open(folder)
    store.commit(batch(store))
    if group == 1:
        return timed(lambda: store.commit(batch(store)), threads, seconds)
    return in_groups(lambda: store.submit(batch(store)).add_done_callback(raise_error), store.close, 1, seconds)


def raise_error(future: object) -> None:
    future.result()  # type: ignore[attr-defined]


def raw(folder: Path, threads: int, seconds: float, group: int) -> list[float]:
    folder.mkdir(exist_ok=True)
    environment = lmdb.open(str(folder), map_size=64 << 30, max_dbs=3, lib_version=0)
    handles = {name: environment.open_db(name.encode()) for name in ("blobs", "records", "contents")}

    def write() -> None:
        made = [row for _ in range(group) for row in rows()]
        with environment.begin(write=True) as transaction:
            for table, key, row in made:
                transaction.put(key, row, db=handles[table])

    write()
    return timed(write, threads, seconds) if group == 1 else in_groups(write, environment.close, group, seconds)


def timed(write: Callable[[], None], threads: int, seconds: float) -> list[float]:
    wait_for_the_word()
    end = time.perf_counter() + seconds

    def work() -> list[float]:
        taken = []
        start = time.perf_counter()
        while start < end:
            write()
            now = time.perf_counter()
            taken.append(now - start)
            start = now
        return taken

    with ThreadPoolExecutor(threads) as pool:
        return [each for worker in [pool.submit(work) for _ in range(threads)] for each in worker.result()]


def in_groups(write: Callable[[], None], finish: Callable[[], None], group: int, seconds: float) -> list[float]:
    wait_for_the_word()
    start = time.perf_counter()
    count = 0
    while time.perf_counter() < start + seconds:
        write()
        count += group
    finish()
    return [time.perf_counter() - start, count]


def wait_for_the_word() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    kind, where, *numbers = sys.argv[1:]
    measure = {"ours": ours, "raw": raw}[kind]
    print(json.dumps(measure(Path(where), int(numbers[0]), float(numbers[1]), int(numbers[2]))))
