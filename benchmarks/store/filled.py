"""Makes a store of many records as if many dispatches had computed them: each names a thousand. A script.

    filled.py FOLDER RECORDS

One dispatch is real. The others have its manifest, and results, records and outcomes of their own, written by the
engine's own words; each record has a blob. Rows are written in order of their keys, which is what makes it fast.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cas_run as ct
from cas_engine.bookkeeping import ledger
from cas_engine.capsules.codec import encode
from cas_engine.plans import outcomes, records, written
from cas_engine.plans.outcome import NodeOutcome, NodeStatus
from cas_engine.plans.records import NO_PARTS, Record
from cas_store import Put, PutBlob, Store, Table, Write, digest_of

EACH = 1000  # nodes of a dispatch
AT_ONCE = 2000  # writes in a batch


@ct.electron
def step(value: int, number: int) -> int:
    return value + number


@ct.lattice
def chain(length: int) -> Any:
    value: Any = 0
    for number in range(length):
        value = step(value, number)
    return value


def fill(folder: Path, count: int) -> None:
    store = Store.open(folder)
    made = ct.dispatch_sync(chain, store=store, executor="inline")(EACH)
    real = ledger.get(store, made.dispatch_id)
    nodes = [computed(number, real.id) for number in range(count - EACH)]
    rows = sorted((key, row) for key, row, _ in nodes)
    write(store, (Put(Table.RECORDS, key, row) for key, row in rows))
    write(store, (Put(Table.CONTENTS, digest_of(b"content", key), row) for key, row in rows))
    blobs = sorted(digest_and_blob for *_, digest_and_blob in nodes)
    write(store, (PutBlob(store.prepare([blob])) for _, blob in blobs))
    for start in range(0, len(nodes), EACH):
        some = nodes[start : start + EACH]
        ended = [settled(key, records.loads(row)) for key, row, _ in some]
        blob = store.prepare(*written.dumps(ended))
        entry = replace(
            real,
            id=os.urandom(16).hex(),
            lattice_key=os.urandom(16).hex(),
            started=real.started - start - 1,
            finished=real.started - start,
            outcome=blob.digest.hex(),
            outputs=[ended[-1].blob.hex()],
            totals=outcomes.totals(ended),
        )
        store.submit([PutBlob(blob), *ledger.put(entry)])
    store.close()


def computed(number: int, dispatch: str) -> tuple[bytes, bytes, tuple[bytes, bytes]]:
    """Key, record, and blob with its digest."""
    [blob] = encode(number + (1 << 40)).pieces
    digest = digest_of(blob)
    key, value = digest_of(b"key", digest), digest_of(b"value", digest)
    record = Record(value, digest, 0.01, time.time(), len(blob), False, 0, NO_PARTS, (), "step", dispatch)  # noqa: FBT003
    return key, records.dumps(record), (digest, bytes(blob))


def settled(key: bytes, of: Record) -> NodeOutcome:
    return NodeOutcome(NodeStatus.RAN, "new", key, of.value, of.blob, of.size, False, of.seconds, of.created, {})  # noqa: FBT003


def write(store: Store, writes: Iterator[Write]) -> None:
    while batch := list(islice(writes, AT_ONCE)):
        store.submit(batch)


if __name__ == "__main__":
    start = time.perf_counter()
    fill(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(time.perf_counter() - start))
