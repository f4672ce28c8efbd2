"""What a store gives up to stay small: what nothing names, then results that can be computed again.

`decide` says what goes, as a value that can be shown: showing it is the dry run. `gc` has it taken away.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.limits import Limits, checked_limits
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.bookkeeping.previews import PREFIX
from cas_engine.bookkeeping.survey import Keep, Kind, Survey, survey_of
from cas_engine.errors import UnknownDispatch
from cas_engine.plans import records
from cas_store.digest import Digest
from cas_store.store import Store
from cas_store.sweeping import OldRow, Victim
from cas_store.tables import Table
from cas_store.writes import Write

_LEAST_IDLE_S = 60.0  # what was of use in the last minute is as good as what was just now
_AT_ONCE = 1000
_WAIT_S = 600.0  # for another collection


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is to go: places in a survey's columns. `unnamed` nothing names; `evicted` can be computed again."""

    unnamed: array[int]
    evicted: array[int]
    total: int  # bytes of all blobs
    unnamed_bytes: int
    evicted_bytes: int
    over: int  # bytes that are more than the limit still, all of them needed


def decide(survey: Survey, limits: Limits, now: float) -> Sweep:
    """What has to go. The last to go are results that took long, for their size, and were of use of late."""
    size, kind, keep = survey.size, survey.kind, survey.keep
    total = survey.bytes
    unnamed = array("Q")
    if not survey.unread:  # else it may be named by what cannot be read
        unnamed = array("Q", (at for at in range(len(size)) if kind[at] == Kind.UNNAMED))
    unnamed_bytes = sum(size[at] for at in unnamed)
    evicted, evicted_bytes, left = array("Q"), 0, total - unnamed_bytes
    if limits.max_size is not None or limits.older_than is not None:
        last, seconds = survey.last, survey.seconds
        oldest = float("-inf") if limits.older_than is None else now - limits.older_than
        enough = float("inf") if limits.max_size is None else limits.max_size

        def worth(at: int) -> float:
            # Greedy-dual-size, with age as hyperbolic caching has it: it needs no note of when a result is used.
            return seconds[at] / (survey.with_parts(at) + 1) / max(now - last[at], _LEAST_IDLE_S)

        named, uses = survey.named, survey.uses[:]
        may_go = [at for at in range(len(size)) if named[at] and kind[at] == Kind.RESULTS and keep[at] == Keep.MAY_GO]
        if left > enough:
            may_go.sort(key=worth)
        for at in may_go:
            if last[at] < oldest or left > enough:
                # A part that another has too, or that is a result itself, goes with the last of them.
                for one in (at, *survey.members.get(at, ())):
                    uses[one] -= 1
                    if not uses[one]:
                        evicted.append(one)
                        evicted_bytes += size[one]
                        left -= size[one]
    over = 0 if limits.max_size is None else max(0, left - limits.max_size)
    return Sweep(unnamed, evicted, total, unnamed_bytes, evicted_bytes, over)


@dataclass(frozen=True, slots=True)
class Evicted:
    """The results of one electron that were given up; `seconds` is what they took."""

    electron: str
    results: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did, or would do.

    `unread` are dispatches that cannot be read; while there are any, nothing is removed for not being named.
    """

    dry_run: bool
    bytes_before: int
    bytes_after: int
    unnamed: int
    unnamed_bytes: int
    evicted: int
    evicted_bytes: int
    rows: int
    over: int
    electrons: tuple[Evicted, ...]
    unread: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `cas-run gc --json` prints it."""
        return asdict(self)


def gc(
    max_size: int | str | None = None,
    older_than: float | str | None = None,
    keep_last: int = 1,
    dry_run: bool = False,
    *,
    store: StoreChoice = None,
    wait_s: float = _WAIT_S,
) -> Collected:
    """Remove what nothing names, and evict results until the limits hold: least valuable first.

    max_size    bytes of results, inputs and code, or a text such as "20GB"
    older_than  evict results that were not of use for so long: seconds, or a text such as "30d"
    keep_last   results of that many dispatches of each lattice stay, whatever the limits
    dry_run     only tell what would go

    Inputs, code, samples and what pinned or running dispatches need are never evicted. What is evicted is computed
    again when it is needed; what hangs on it stays a hit. Raises BadOption; SweepUnderWay after `wait_s` seconds.
    """
    limits = checked_limits(max_size, older_than, keep_last)
    opened = open_store(store)
    if dry_run:
        survey = survey_of(opened, limits.keep_last)
        sweep = decide(survey, limits, time.time())
        return _told(survey, sweep, sweep.unnamed_bytes, sweep.evicted_bytes, sweep.unnamed, sweep.evicted)
    with opened.barrier(wait_s) as barrier:
        survey = survey_of(opened, limits.keep_last)
        return _perform(opened, barrier, survey, decide(survey, limits, time.time()))


def _perform(store: Store, barrier: bytes, survey: Survey, sweep: Sweep) -> Collected:
    """Take it away. Killed anywhere and run again, it comes to the same end."""
    rows = _forget_orphans(store, survey)
    _remove_logs(store)
    digests = list(survey.place)  # in the order of their places
    for digest, _ in store.take(barrier, (Victim(one, evicted=False) for one in survey.strays)):
        survey.place.pop(digest, None)
    gone: dict[bool, array[int]] = {False: array("Q"), True: array("Q")}
    freed = {False: 0, True: 0}
    for evicts, chosen in ((False, sweep.unnamed), (True, sweep.evicted)):
        # What is named before the parts that go with it; else in the order of digests, neighbours in the tables.
        ordered = sorted(chosen, key=lambda at: (not survey.named[at], at))
        victims = (Victim(digests[at], evicts and survey.is_remembered(at)) for at in ordered)
        for digest, size in store.take(barrier, victims):
            at = survey.place.pop(digest)
            gone[evicts].append(at)
            freed[evicts] += size
            if survey.is_remembered(at):
                survey.gone.add(digest)
    if not survey.unread:
        rows += store.take_rows(barrier, _idle_rows(store, survey))
    return _told(survey, sweep, freed[False], freed[True], gone[False], gone[True], rows=rows, dry_run=False)


def _forget_orphans(store: Store, survey: Survey) -> int:
    """Take dispatches out of the table that were sublattices of what is no longer in it."""
    count, writes = 0, list[Write]()
    for one in survey.orphans:
        with suppress(UnknownDispatch):  # removed meanwhile
            writes += ledger.delete(ledger.get(store, one))
            count += 1
        if len(writes) >= _AT_ONCE:
            store.commit(writes)
            writes = []
    if writes:
        store.commit(writes)
    return count


def _remove_logs(store: Store) -> None:
    """Take away what dispatches printed that are no longer in the table."""
    names = [name for name, _ in store.log_sizes()]  # before the look: who has printed has a row
    with store.snapshot() as snapshot:
        gone = [name for name in names if not snapshot.has(Table.DISPATCHES, name)]
    store.remove_logs(gone)


def _idle_rows(store: Store, survey: Survey) -> Iterator[OldRow]:
    """The rows that are of no use. In `survey.place` are blobs that are there, in `survey.gone` others with a name."""
    place, named = survey.place, survey.gone

    def is_idle(blob: Digest) -> bool:
        # The record of an evicted blob stays for as long as the history names it: all but the value is in it.
        return blob not in place and blob not in named and store.find_missing([blob]) != set()

    ended = survey.dispatches - survey.unfinished
    with store.snapshot() as snapshot:
        for table in (Table.RECORDS, Table.CONTENTS):
            for key, row in snapshot.scan(table):
                if is_idle(records.blob_in(row)):
                    yield OldRow(table, key, row)
        for key, row in snapshot.scan(Table.CAPSULES):
            if is_idle(row):
                yield OldRow(Table.CAPSULES, key, row)
        for key, row in snapshot.scan(Table.NODES):
            one = key[:16].hex()
            if one in ended or snapshot.get(Table.DISPATCHES, key[:16]) is None:
                yield OldRow(Table.NODES, key, row)
        for key, row in snapshot.scan(Table.LATTICES):
            if snapshot.get(Table.DISPATCHES, bytes.fromhex(json.loads(row)["id"])) is None:
                yield OldRow(Table.LATTICES, key, row)
        for prefix in (b"latest:", b"pin:"):
            for key, row in snapshot.scan(Table.META, prefix):
                whose = key[len(prefix) :] if prefix == b"pin:" else row
                if snapshot.get(Table.DISPATCHES, whose) is None:
                    yield OldRow(Table.META, key, row)
        for key, row in snapshot.scan(Table.META, PREFIX):
            if is_idle(key[len(PREFIX) :]):
                yield OldRow(Table.META, key, row)
        for key, row in snapshot.scan(Table.EVICTED):
            if key in place or key not in named:
                yield OldRow(Table.EVICTED, key, row)


def _told(
    survey: Survey,
    sweep: Sweep,
    unnamed_bytes: int,
    evicted_bytes: int,
    unnamed: array[int],
    evicted: array[int],
    *,
    rows: int = 0,
    dry_run: bool = True,
) -> Collected:
    sums: dict[str, tuple[int, int, float]] = {}
    for at in evicted:
        count, size, seconds = sums.get(name := survey.electron_of(at), (0, 0, 0.0))
        sums[name] = (count + survey.named[at], size + survey.size[at], seconds + survey.seconds[at] * survey.named[at])
    electrons = sorted((Evicted(name, *found) for name, found in sums.items()), key=lambda one: -one.bytes)
    return Collected(
        dry_run=dry_run,
        bytes_before=sweep.total,
        bytes_after=max(0, sweep.total - unnamed_bytes - evicted_bytes),
        unnamed=len(unnamed),
        unnamed_bytes=unnamed_bytes,
        evicted=sum(survey.named[at] for at in evicted),
        evicted_bytes=evicted_bytes,
        rows=rows,
        over=sweep.over,
        electrons=tuple(electrons),
        unread=tuple(survey.unread),
    )
