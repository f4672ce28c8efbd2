"""The table of dispatches: one row each, what is known of it at a glance, and the order they came in."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from cas_engine.errors import BadOption, UnknownDispatch
from cas_engine.plans.status import Status as Status  # noqa: PLC0414 - asked of the ledger, and told without a store
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Put, Write

POSITION = 24  # bytes of a place in the order of time
_DIGITS = 32  # of an id


@dataclass(frozen=True, slots=True)
class Entry:
    """One dispatch. Times in seconds since 1970; digests and ids in hex; "" where there is none.

    `outer` is the dispatch that a sublattice is part of. `totals` is empty until it is over.
    """

    id: str
    lattice: str
    lattice_key: str
    status: Status
    owner: str
    started: float
    finished: float
    parent: str
    outer: str
    manifest: str
    outcome: str
    outputs: list[str]  # the blobs that its result is made of
    files: list[list[str]]  # what its inputs name, with the digest of what was in them
    made: list[list[str]]  # the same of its results
    error: str
    inputs: dict[str, str]
    replaced: dict[str, str]
    recompute: list[str]
    reuse: bool
    totals: dict[str, Any]
    whole_hit: bool  # answered from the record of an earlier dispatch, as one


_FIELDS = tuple(field.name for field in fields(Entry))  # `asdict` copies all that is in them: a tenth of a millisecond


def put(entry: Entry) -> list[Write]:
    """The writes that enter or renew a dispatch."""
    return [Put(Table.DISPATCHES, bytes.fromhex(entry.id), dumps(entry)), Put(Table.TIMELINE, timeline_key(entry), b"")]


def dumps(entry: Entry) -> bytes:
    """The row of a dispatch."""
    return json.dumps({name: getattr(entry, name) for name in _FIELDS}, separators=(",", ":")).encode()


def loads(row: bytes) -> Entry:
    """The dispatch in a row."""
    raw = json.loads(row)
    raw["status"] = Status(raw["status"])
    return Entry(**raw)


def delete(entry: Entry) -> list[Write]:
    """The writes that take a dispatch out of the table."""
    return [Delete(Table.DISPATCHES, bytes.fromhex(entry.id)), Delete(Table.TIMELINE, timeline_key(entry))]


def get(store: Store, dispatch_id: str) -> Entry:
    """The entry of a full id, with the truth about one whose process died. Raises UnknownDispatch."""
    row = store.get(Table.DISPATCHES, bytes.fromhex(dispatch_id))
    if row is None:
        raise UnknownDispatch(dispatch_id, [])
    return _truthful(store, loads(row))


def newest_first(store: Store, *, inner: bool = False) -> Iterator[Entry]:
    """All dispatches, the newest first; those of sublattices only with `inner`."""
    with store.snapshot() as snapshot:
        keys = [key for key, _ in snapshot.scan(Table.TIMELINE, reverse=True)]
    for key in keys:
        row = store.get(Table.DISPATCHES, key[8:])
        if row is not None:
            entry = loads(row)
            if inner or not entry.outer:
                yield _truthful(store, entry)


def newest_before(store: Store, position: bytes | None) -> Iterator[tuple[bytes, Entry]]:
    """As `newest_first`, those of sublattices left out, from a position in the order of time on; each with its own.

    Of one moment, as far as which there are: use it up soon.
    """
    with store.snapshot() as snapshot:
        for key, _ in snapshot.scan(Table.TIMELINE, reverse=True, beyond=position):
            row = snapshot.get(Table.DISPATCHES, key[8:])
            if row is not None and not (entry := loads(row)).outer:
                yield key, _truthful(store, entry)


def every(store: Store) -> Iterator[Entry]:
    """All dispatches, by id: also those that are not in the order of time."""
    with store.snapshot() as snapshot:
        keys = [key for key, _ in snapshot.scan(Table.DISPATCHES)]
    for key in keys:
        row = store.get(Table.DISPATCHES, key)
        if row is not None:
            yield _truthful(store, loads(row))


def resolve(store: Store, text: str) -> str:
    """The full id that a shortened one, `@last` or `@last~2` means. Raises UnknownDispatch with the nearest ids."""
    if not isinstance(text, str):
        raise BadOption(_no_id(text))
    if (back := _before_last(text)) is not None:
        found = next(islice(newest_before(store, None), back, None), None)
        if found is None:
            raise UnknownDispatch(text, [])
        return found[1].id
    prefix = text.strip().lower().replace("-", "")
    is_hex = 0 < len(prefix) <= _DIGITS and not prefix.strip("0123456789abcdef")
    if is_hex and len(prefix) == _DIGITS and store.get(Table.DISPATCHES, bytes.fromhex(prefix)) is not None:
        return prefix
    if is_hex:
        alike = _ids(store, bytes.fromhex(prefix[: len(prefix) // 2 * 2]))
        ids = [one for one in alike if one.startswith(prefix)]
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise UnknownDispatch(text, ids[:5], ambiguous=True)
    raise UnknownDispatch(text, _nearest(prefix, _ids(store, b"")))


_FEW = 16  # digits of a number of dispatches that a store may have


def _before_last(text: str) -> int | None:
    """How many dispatches before the last `@last~2` means; None if it is not so written."""
    name, tilde, number = text.partition("~")
    if name != "@last" or (tilde and not (number.isdecimal() and len(number) < _FEW)):
        return None
    return int(number) if tilde else 0


def _ids(store: Store, prefix: bytes) -> list[str]:
    with store.snapshot() as snapshot:
        return [key.hex() for key, _ in snapshot.scan(Table.DISPATCHES, prefix)]


def _no_id(given: object) -> str:
    """What to do about something that is no id, and shows what was forgotten."""
    advice = "give the id that ct.dispatch(...)(...) gave"
    if callable(given):
        advice = "ct.dispatch(lattice) takes the inputs next, and then gives the id: ct.dispatch(lattice)(1, 2)"
    elif hasattr(given, "dispatch_id"):
        advice = "give its `dispatch_id`"
    return f"the id of a dispatch is a text, and this is of type {type(given).__name__}\n  -> {advice}"


def _nearest(prefix: str, ids: list[str]) -> list[str]:
    import difflib

    shortened = {i[: max(len(prefix), 8)]: i for i in ids}
    return [shortened[s] for s in difflib.get_close_matches(prefix, list(shortened), n=3, cutoff=0.5)]


def _truthful(store: Store, entry: Entry) -> Entry:
    if entry.status is Status.RUNNING and not store.is_alive(bytes.fromhex(entry.owner)):
        return replace(entry, status=Status.INTERRUPTED, error=entry.error or "its process ended before it was done")
    return entry


def timeline_key(entry: Entry) -> bytes:
    """Where it stands in the order of time."""
    return struct.pack(">Q", int(entry.started * 1e6)) + bytes.fromhex(entry.id)
