"""The dispatches of a store: listed, removed."""

from __future__ import annotations

import itertools

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.ledger import Status
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.errors import BadOption
from cas_engine.evaluating.result import Result
from cas_store.tables import Table
from cas_store.writes import Delete, Write


def list_dispatches(store: StoreChoice = None, limit: int | None = None) -> list[Result]:
    """The dispatches, the newest first; those of sublattices are found through their nodes."""
    opened = open_store(store)
    return [Result(opened, entry) for entry in itertools.islice(ledger.newest_first(opened), limit)]


def resolve_id(text: str, store: StoreChoice = None) -> str:
    """The full id that a shortened one, `@last` or `@last~1` means. Raises UnknownDispatch with the nearest ids."""
    return ledger.resolve(open_store(store), text)


def remove(dispatch_id: str, store: StoreChoice = None) -> str:
    """Take a dispatch out of the history; its id. Results stay: they may answer other dispatches.

    Raises UnknownDispatch, and BadOption while it runs or is pinned.
    """
    from cas_engine.bookkeeping.pins import is_pinned

    opened = open_store(store)
    full = ledger.resolve(opened, dispatch_id)
    entry = ledger.get(opened, full)
    if entry.status is Status.RUNNING:
        raise BadOption(f"dispatch {full[:12]} is running\n  -> cancel it first: `cas-run cancel {full[:12]}`")
    if is_pinned(opened, full):
        raise BadOption(f"dispatch {full[:12]} is pinned\n  -> unpin it first: `cas-run unpin {full[:12]}`")
    inner = [e for e in ledger.newest_first(opened, inner=True) if e.outer == full]
    writes: list[Write] = []
    for one in (entry, *inner):
        writes += ledger.delete(one)
        with opened.snapshot() as snapshot:
            rows = [key for key, _ in snapshot.scan(Table.NODES, bytes.fromhex(one.id))]
        writes += [Delete(Table.NODES, key) for key in rows]
    opened.commit(writes)
    opened.remove_logs(bytes.fromhex(one.id) for one in (entry, *inner))
    return full
