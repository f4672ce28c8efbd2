"""What is done to a store while it is killed, cut off, or given errors, and what has to be there afterwards.

Batch n has a record that names a blob, and a row in another table: all of it or nothing. Some blobs are large, some
content comes again and again, some blobs are in parts, and have one of them in common.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from cas_store import Insert, Put, PutBlob, Store, Table

Acknowledge = Callable[[int], None]


def pieces_of(n: int) -> tuple[list[bytes], list[bytes]]:
    """The blob of batch n, and its parts."""
    if n % 5 == 1:
        return [b"head%d" % n], [b"common%d," % (n % 3) * 9_000, b"own%d," % n * 12_000, b"small"]
    if n % 9 == 0:
        return [b"again%d," % (n % 27) * 12_000], []
    return [b"%d" % n, b"%d," % n * (20_000 if n % 3 == 0 else 100)], []


def batch(store: Store, n: int) -> list[PutBlob | Put | Insert]:
    blob = store.prepare(*pieces_of(n))
    return [
        PutBlob(blob),
        Put(Table.RECORDS, b"%08d" % n, blob.digest),
        Insert(Table.CONTENTS, b"%08d" % n, b"x" * (n % 500)),
    ]


def when_done(acknowledge: Acknowledge, n: int, done: Future[None]) -> None:
    """For a future: acknowledge what did not fail."""
    if done.exception() is None:
        acknowledge(n)


def write(store: Store, numbers: range, acknowledge: Acknowledge, threads: int = 3) -> None:
    """Commit these batches from several threads, some one by one, some many at once."""
    failures: list[BaseException] = []

    def work(some: range) -> None:
        futures = []
        try:
            for n in some:
                if n % 4:
                    future = store.submit(batch(store, n))
                    future.add_done_callback(partial(when_done, acknowledge, n))
                    futures.append(future)
                else:
                    store.commit(batch(store, n))
                    acknowledge(n)
            for future in futures:
                future.result(30)
        except BaseException as error:  # noqa: BLE001 - the thread's end is not the program's
            failures.append(error)

    crew = [threading.Thread(target=work, args=(numbers[k::threads],)) for k in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if failures:
        raise failures[0]


def check(store: Store, acknowledged: set[int]) -> None:
    """Raise AssertionError unless all that was acknowledged is there, and whatever is there is whole."""
    with store.snapshot() as snap:
        records = dict(snap.scan(Table.RECORDS))
        contents = dict(snap.scan(Table.CONTENTS))
    lost = acknowledged - {int(key) for key in records}
    assert not lost, f"acknowledged and lost: {sorted(lost)}"
    assert records.keys() == contents.keys(), f"half a batch: {records.keys() ^ contents.keys()}"
    missing = store.find_missing(records.values())
    assert not missing, f"records without their blobs: {sorted(int(k) for k, d in records.items() if d in missing)}"
    for key, digest in records.items():
        pieces, parts = pieces_of(int(key))
        assert store.get_blob(digest) == b"".join(pieces + parts), f"another blob in {key!r}"
        assert contents[key] == b"x" * (int(key) % 500), f"another row in {key!r}"
    assert store.damage == [], f"damage: {store.damage}"


def use_again(store: Store, n: int) -> None:
    """It is a store like any other: what is written now is kept, and what a crash left behind is not in the way."""
    write(store, range(n, n + 9), lambda n: None, threads=1)
    store.close()
    check(store, set(range(n, n + 9)))


def acknowledge_to(descriptor: int) -> Acknowledge:
    def acknowledge(n: int) -> None:
        os.write(descriptor, b"%d\n" % n)

    return acknowledge
