"""A process that opens a store, by the store or by LMDB alone, reads all rows of it, or removes many. A script.

    opener.py ours|raw|scan|digests|remove FOLDER

Opening ends with a record that was read. Answers with the seconds, imports not counted, and the largest resident
size in bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from xxhash import xxh3_128_digest

from cas_store import Store, Table

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import memory

SOUGHT = b"\x80"


def ours(folder: Path) -> None:
    with Store.open(folder).snapshot() as snapshot:
        list(snapshot.scan(Table.RECORDS, SOUGHT, limit=1))


def raw(folder: Path) -> None:
    environment, handles = opened(folder)
    with environment.begin() as transaction, transaction.cursor(handles[Table.RECORDS]) as cursor:
        cursor.set_range(SOUGHT)
        bytes(cursor.value())


def scan(folder: Path, look: Callable[[Any], object] = len) -> None:
    environment, handles = opened(folder)
    with environment.begin(buffers=True) as transaction:
        for handle in handles.values():
            for key, value in transaction.cursor(handle):
                look(key)
                look(value)


def digests(folder: Path) -> None:
    scan(folder, xxh3_128_digest)


def remove(folder: Path) -> None:
    environment, handles = opened(folder)
    blobs, evicted = handles[Table.BLOBS], handles[Table.EVICTED]
    with environment.begin() as transaction:
        victims = list(transaction.cursor(blobs).iternext(values=False))[::2]
    for start in range(0, len(victims), 512):
        with environment.begin(write=True) as transaction:
            for key in victims[start : start + 512]:
                transaction.delete(key, db=blobs)
                transaction.put(key[:16], bytes(24), db=evicted)


def opened(folder: Path) -> tuple[lmdb.Environment, dict[Table, lmdb._Database]]:
    environment = lmdb.open(str(folder / "durable"), map_size=64 << 30, max_dbs=len(Table), lib_version=0)
    return environment, {table: environment.open_db(table.value.encode(), create=False) for table in Table}


if __name__ == "__main__":
    measure = {"ours": ours, "raw": raw, "scan": scan, "digests": digests, "remove": remove}[sys.argv[1]]
    where = Path(sys.argv[2])
    start = time.perf_counter()
    measure(where)
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, memory.peak()]))
