"""A process that records a graph, or redispatches it. A script.

    worker.py record FOLDER NODES       evaluates a graph of about so many nodes; says its id
    worker.py same FOLDER ID            redispatches it, nothing changed
    worker.py replace FOLDER ID TEXT    with the electron that ten nodes are calls of replaced; TEXT makes it another
    worker.py read FOLDER ID            opens the store and reads the one row: what the machine can do

Answers with the seconds from after the imports to the result, the statuses counted, the bytes that the history of the
new dispatch takes, and the largest resident size in bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cas_run as ct
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.location import open_store
from cas_engine.dispatch import dispatch, get_result, redispatch
from cas_store import Store, Table

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import memory

BELOW = 10
WIDTH = 100


@ct.electron
def leaf(i: int) -> int:
    return i


@ct.electron
def gather(parts: list[int]) -> int:
    return sum(parts)


@ct.electron
def polish(x: int) -> int:
    return x + 1


@ct.lattice
def layered(nodes: int) -> Any:
    level: list[Any] = [leaf(i) for i in range(nodes * WIDTH // (WIDTH + 1))]
    while len(level) > 1:
        level = [gather(level[at : at + WIDTH]) for at in range(0, len(level), WIDTH)]
    last: Any = level[0]
    for _ in range(BELOW):
        last = polish(last)
    return last


def replacement(text: str) -> Callable[[int], int]:
    space: dict[str, Any] = {}
    exec(f"def polish(x):\n    return x + {int(text) + 2}\n", space)  # another code each time
    made: Callable[[int], int] = space["polish"]
    return made


def record(folder: Path, nodes: str) -> str:
    started = dispatch(layered, store=folder, executor="inline")(int(nodes))
    get_result(started, wait=True, store=folder)
    return started


def same(folder: Path, parent: str) -> str:
    started = redispatch(parent, store=folder)()
    assert get_result(started, wait=True, store=folder).result
    return started


def replace(folder: Path, parent: str, text: str) -> str:
    again = redispatch(parent, {"polish": replacement(text)}, store=folder, executor="inline")
    started = again()
    assert get_result(started, wait=True, store=folder).result
    return started


def read(folder: Path, parent: str) -> str:
    Store.open(folder).get(Table.DISPATCHES, bytes.fromhex(parent))
    return parent


def blobs_of(store: Store, entry: ledger.Entry) -> set[bytes]:
    return store.made_of(map(bytes.fromhex, (entry.manifest, entry.outcome)))


def main() -> None:
    verbs: dict[str, Callable[..., str]] = {"record": record, "same": same, "replace": replace, "read": read}
    work = verbs[sys.argv[1]]
    folder = Path(sys.argv[2])
    start, cpu = time.perf_counter(), time.process_time()
    made = work(folder, *sys.argv[3:])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = memory.peak()
    store = open_store(folder)
    entry = ledger.get(store, made)
    sizes = dict(store.blob_sizes())
    parent = ledger.get(store, entry.parent) if entry.parent else None
    known = blobs_of(store, parent) if parent is not None else set()
    told = {
        "id": made,
        "seconds": seconds,
        "cpu": cpu,
        "totals": entry.totals,
        "history": sum(sizes[one] for one in blobs_of(store, entry) - known),
        "peak": peak,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
