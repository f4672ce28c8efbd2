"""The health of a store: what its folder and rows show, and whether what dispatches and records name is there.

A result that is lost is noted as taken away, once repaired: what hangs on it stays a hit, and it is computed again
when somebody needs it. What nothing can bring back is said, dispatch by dispatch.
"""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.bookkeeping.location import StoreChoice, path_of
from cas_engine.bookkeeping.references import named_by
from cas_engine.errors import CapsuleError, UnknownDispatch
from cas_engine.graphs.options import checked_share
from cas_engine.plans import records
from cas_engine.plans.records import Record
from cas_store.checkup import Checkup, Finding, Kind, check_is_there, examine
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.mending import enter_strays, make_readable, mend
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Put, Write

_AT_ONCE = 1024  # rows or blobs
_NAMES = 5  # of what needed a thing in quarantine


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A thing that was found damaged at some time, and what needs it still."""

    file: str
    what: str
    needed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was looked at and found; what was put in order; what is left."""

    rows: int
    blobs: int
    bytes_read: int
    dispatches: int
    seconds: float
    findings: tuple[Finding, ...]  # those left, if it was repaired
    mended: tuple[str, ...]
    quarantine: tuple[Quarantined, ...]

    def to_json(self) -> dict[str, Any]:
        """As `cas-run doctor --json` prints it."""
        return {
            "rows": self.rows,
            "blobs": self.blobs,
            "bytes_read": self.bytes_read,
            "dispatches": self.dispatches,
            "seconds": self.seconds,
            "findings": [
                {"kind": each.kind.value, "what": each.what, "why": each.why, "then": each.then}
                for each in self.findings
            ],
            "mended": list(self.mended),
            "quarantine": [
                {"file": each.file, "what": each.what, "needed_by": list(each.needed_by)} for each in self.quarantine
            ],
        }


def doctor(*, store: StoreChoice = None, sample: float | str = 1.0, repair: bool = False) -> Diagnosis:
    """Look at all of a store, or at a share of its large blobs, 0.05 or "5%"; with `repair`, put in order what can be.

    Raises BadOption; StoreError: there is none, it may not be used, or a repair needs it alone.
    """
    began = time.monotonic()
    share = checked_share(sample, "sample")
    path = path_of(store)
    check_is_there(path)
    found = examine(path, share=share)
    mended: list[str] = []
    if repair and not found.is_readable:
        mended += make_readable(path)
        found = examine(path, share=share)
    history = _History()
    if found.is_readable:
        opened = Store.open(path, create=False)
        if repair:
            # Also where the rows need no repair: that of somebody who was killed may have come so far.
            entered = enter_strays(opened)
            mended += [f"{entered:,} large blobs: entered again"] if entered else []
            mended += mend(opened, found)
            mended += _mend(opened, list(_History().look(opened)))
            found = examine(path, share=share) if mended else found
        history = _History(_wanted(opened))
        found.findings += history.look(opened)
    return _diagnosis(found, mended, history, time.monotonic() - began)


def _diagnosis(found: Checkup, mended: list[str], history: _History, seconds: float) -> Diagnosis:
    return Diagnosis(
        rows=sum(found.rows.values()),
        blobs=found.blobs,
        bytes_read=found.bytes_read,
        dispatches=history.dispatches,
        seconds=seconds,
        findings=tuple(found.findings),
        mended=tuple(mended),
        quarantine=tuple(history.quarantine()),
    )


@dataclass(slots=True)
class _History:
    """One pass over dispatches and records."""

    wanted: dict[str, bytes] = field(default_factory=dict)  # files in quarantine -> digest, key or id
    dispatches: int = 0
    _users: dict[bytes, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    def look(self, store: Store) -> Iterator[Finding]:
        """What is not there though something names it."""
        wanted = set(self.wanted.values())
        with store.snapshot() as snapshot:
            listed = {key for key, _ in snapshot.scan(Table.TIMELINE)}
        for entry in ledger.every(store):
            self.dispatches += 1
            who = f"dispatch {entry.id[:12]} ({entry.lattice})"
            key = ledger.timeline_key(entry)
            if key not in listed:
                yield Finding(Kind.INDEX, who, "it is not in the order of time", _ENTERED, Table.TIMELINE.value, key)
            listed.discard(key)
            yield from self._look_at(store, entry, who, wanted)
        for key in sorted(listed):
            what = f"timeline {key.hex()}"
            yield Finding(Kind.INDEX, what, "there is no such dispatch", "`--repair` removes it", "timeline", key)
        yield from _records(store)

    def _look_at(self, store: Store, entry: Entry, who: str, wanted: set[bytes]) -> Iterator[Finding]:
        if wanted & {bytes.fromhex(entry.id)}:
            self._users[bytes.fromhex(entry.id)][who] = None
        if entry.status is Status.RUNNING or not entry.manifest:
            return
        try:
            named = named_by(store, entry)
        except (BlobMissing, BlobDamaged, CapsuleError, UnknownDispatch, ValueError, KeyError) as error:
            why = f"what it evaluated, or what came of it, is lost ({str(error).partition(chr(10))[0]})"
            then = f"its results are still hits; `cas-run rm {entry.id[:12]}` forgets it"
            yield Finding(Kind.HISTORY, who, why, then)
            return
        for need in wanted & (named.blobs() | named.keys):
            self._users[need][who] = None
        gone = store.find_missing(named.lasting)
        if gone:
            parts, are = ("a part", "is") if len(gone) == 1 else (f"{len(gone)} parts", "are")
            why = f"{parts} of its code, inputs or samples {are} lost: it can't be redispatched"
            then = f"dispatch it again from its source; `cas-run rm {entry.id[:12]}` forgets it"
            yield Finding(Kind.HISTORY, who, why, then)

    def quarantine(self) -> Iterator[Quarantined]:
        """What lies there, and which dispatches name it."""
        for file, need in self.wanted.items():
            what = file.rpartition(".")[0].replace("-", " ")
            users = list(self._users.get(need, ()))
            more = [f"and {len(users) - _NAMES:,} more"] if len(users) > _NAMES else []
            yield Quarantined(file, what, (*users[:_NAMES], *more))


_ENTERED = "`--repair` enters it anew"


def _wanted(store: Store) -> dict[str, bytes]:
    folder = store.path / "quarantine"
    found = {}
    for name in sorted(each.name for each in folder.iterdir()) if folder.is_dir() else ():
        text = name.partition(".")[0].rpartition("-")[2]
        try:
            found[name] = bytes.fromhex(text)
        except ValueError:
            found[name] = b""  # the file of the rows, or STORE
    return found


def _records(store: Store) -> Iterator[Finding]:
    """Records whose result is not there, though nobody took it away on purpose."""
    for table in (Table.RECORDS, Table.CONTENTS):
        batch: dict[bytes, bytes] = {}
        with store.snapshot() as snapshot:
            for key, row in snapshot.scan(table):
                batch[key] = row
                if len(batch) == _AT_ONCE:
                    yield from _results(store, table, batch)
                    batch = {}
        yield from _results(store, table, batch)


def _results(store: Store, table: Table, rows: dict[bytes, bytes]) -> Iterator[Finding]:
    blobs = {key: _blob_in(row) for key, row in rows.items()}
    missing = store.find_missing({blob for blob in blobs.values() if blob is not None})
    for key, blob in blobs.items():
        if blob is not None and (blob not in missing or store.is_evicted(blob)):
            continue
        record = _record_in(rows[key])
        if record is None or blob is None:
            what = f"{table.value} {key.hex()}"
            yield Finding(Kind.RESULT, what, "it is no record", "`--repair` removes it", table.value, key)
            continue
        what = f"result {blob.hex()[:12]} of {record.electron or 'an electron'}"
        then = "drawn anew when it is needed" if record.is_sample else "computed again when it is needed"
        yield Finding(Kind.RESULT, what, f"it is not there, though {table.value} has it", then, table.value, key)


def _blob_in(row: bytes) -> Digest | None:
    try:
        return records.head(row).blob
    except struct.error:
        return None


def _record_in(row: bytes) -> Record | None:
    try:
        return records.loads(row)
    except (struct.error, ValueError, KeyError, TypeError):
        return None


def _mend(store: Store, lost: list[Finding]) -> list[str]:
    writes: list[Write] = []
    done: list[str] = []
    for each in lost:
        if each.kind is Kind.INDEX:
            is_known = store.get(Table.DISPATCHES, each.key[8:]) is not None
            writes.append(Put(Table.TIMELINE, each.key, b"") if is_known else Delete(Table.TIMELINE, each.key))
            done.append(f"{each.what}: entered in the order of time" if is_known else f"{each.what}: removed")
        elif each.kind is Kind.RESULT:
            row = store.get(Table(each.table), each.key)
            if row is None:
                continue
            record = _record_in(row)
            if record is None or record.is_sample:
                # Not as one that was taken away: a sample does not come back, and must not be taken for another.
                writes.append(Delete(Table(each.table), each.key))
            else:
                writes.append(Put(Table.EVICTED, record.blob, struct.pack("<d", time.time())))
            done.append(f"{each.what}: {'removed' if record is None else f'noted as gone; {each.then}'}")
    for start in range(0, len(writes), _AT_ONCE):
        store.commit(writes[start : start + _AT_ONCE])
    return list(dict.fromkeys(done))
