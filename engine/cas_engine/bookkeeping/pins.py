"""Dispatches whose results are to stay, whatever room they take."""

from __future__ import annotations

import json
import time

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.errors import UnknownDispatch
from cas_store.errors import BlobMissing
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Need, NeedRow, Put

_PREFIX = b"pin:"


def pin(dispatch_id: str, *, store: StoreChoice = None) -> int:
    """Keep all results of a dispatch, those of its sublattices included, until it is unpinned.

    How many of its results were evicted before; a redispatch computes them again. Raises UnknownDispatch.
    """
    opened = open_store(store)
    full = ledger.resolve(opened, dispatch_id)
    while True:
        blobs = _results_of(opened, full)
        missing = opened.find_missing(blobs)
        # Needed, so that a collection that is under way hears of it.
        needs = [Need(blob) for blob in sorted(blobs - missing)]
        row = Put(Table.META, _PREFIX + bytes.fromhex(full), json.dumps({"when": time.time()}).encode())
        try:
            opened.commit([NeedRow(Table.DISPATCHES, bytes.fromhex(full)), *needs, row])
        except BlobMissing:
            continue  # taken between the look and the commit
        return len(missing)


def unpin(dispatch_id: str, *, store: StoreChoice = None) -> bool:
    """Let its results be evicted again; whether it was pinned. Raises UnknownDispatch."""
    opened = open_store(store)
    full = ledger.resolve(opened, dispatch_id)
    was = is_pinned(opened, full)
    opened.commit([Delete(Table.META, _PREFIX + bytes.fromhex(full))])
    return was


def is_pinned(store: Store, dispatch_id: str) -> bool:
    """Whether a dispatch (its full id) is pinned."""
    return store.get(Table.META, _PREFIX + bytes.fromhex(dispatch_id)) is not None


def pinned(*, store: StoreChoice = None) -> list[str]:
    """The ids of the pinned dispatches."""
    with open_store(store).snapshot() as snapshot:
        return [key[len(_PREFIX) :].hex() for key, _ in snapshot.scan(Table.META, _PREFIX)]


def _results_of(store: Store, dispatch_id: str) -> set[bytes]:
    from cas_engine.bookkeeping.references import named_by

    blobs, seen, todo = set[bytes](), {dispatch_id}, [dispatch_id]
    while todo:
        try:
            named = named_by(store, ledger.get(store, todo.pop()))
        except UnknownDispatch:  # that of a sublattice may have been removed
            continue
        blobs.update(node.blob for node in named.results)
        todo += [inner for inner in named.inner if inner not in seen]
        seen.update(named.inner)
    return blobs
