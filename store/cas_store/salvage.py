"""A data file made anew from all that can be read of a damaged one.

Nothing is believed but rows whose seals fit. The damaged file is kept in quarantine; the new one takes its name by a
rename, so that whoever is killed on the way leaves the one or the other.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cas_store.database import Database
from cas_store.datafile import leave_stamp, misnamed
from cas_store.digest import DIGEST_SIZE
from cas_store.faults import translate
from cas_store.layout import IDENTITY_KEY, Layout, identity_text, sync_folder
from cas_store.pages import DataFile, PageFault, Walk, leaf_rows
from cas_store.rows import Seal
from cas_store.tables import Table
from cas_store.tenancy import alone

# What these say cannot be out of date: their keys are digests. All else is only taken from pages that are in use.
_IMMUTABLE = {Table.BLOBS.value, Table.CAPSULES.value}
_AT_ONCE = 4096  # rows in one transaction


@dataclass(slots=True)
class Salvage:
    """What came of it: rows by table, what had to be left, where the damaged file lies."""

    rows: Counter[str] = field(default_factory=Counter)
    found_beside: int = 0  # rows on pages that no tree led to any more
    unreadable: int = 0  # rows whose seal does not fit
    faults: list[str] = field(default_factory=list)
    is_behind: bool = False  # the newest header could not be used: what was committed last is missing
    kept: Path | None = None


def salvage(layout: Layout, store_id: bytes) -> Salvage:
    """Replace the data file by one that has all rows that can be read. Raises StoreRefused while others use it."""
    report = Salvage()
    fresh = layout.tmp / "salvage"
    for folder in (layout.durable, layout.tmp, layout.quarantine):
        folder.mkdir(mode=0o700, exist_ok=True)
    data_file = layout.durable / "data.mdb"
    try:
        with alone(layout.durable, "saving what can be read"):
            shutil.rmtree(fresh, ignore_errors=True)  # of one that was killed
            fresh.mkdir(mode=0o700)
            _write(fresh, _rows_of(data_file, store_id, report), layout, report)
            if data_file.exists():
                report.kept = layout.quarantine / f"data.mdb.{time.strftime('%Y%m%d-%H%M%S')}.{os.urandom(3).hex()}"
                report.kept.hardlink_to(data_file)
                sync_folder(layout.quarantine)
            (fresh / "data.mdb").replace(data_file)
            sync_folder(layout.durable)
            leave_stamp(data_file)
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise translate(error, layout.root, "saving what can be read") from error
    return report


def _write(fresh: Path, rows: Iterator[tuple[str, bytes, bytes]], layout: Layout, report: Salvage) -> None:
    tables = [table.value for table in Table]
    database = Database(fresh, tables, root=layout.root, lasting=True)
    seen: set[tuple[str, bytes]] = set()
    batch: list[tuple[str, bytes, bytes]] = []

    def put() -> None:
        def job(transaction: object) -> None:
            for table, key, row in batch:
                transaction.put(key, row, db=database.handles[table])  # type: ignore[attr-defined]

        database.write(job, "saving rows")
        batch.clear()

    try:
        put()
        for table, key, row in rows:
            if (table, key) in seen:
                continue
            seen.add((table, key))
            report.rows[table] += 1
            batch.append((table, key, row))
            if len(batch) >= _AT_ONCE:
                put()
        put()
    finally:
        database.close()


def _rows_of(path: Path, store_id: bytes, report: Salvage) -> Iterator[tuple[str, bytes, bytes]]:
    """Table, key and row: first those that the trees lead to."""
    seals = {table.value: Seal(store_id, table.value) for table in Table}
    meta = Table.META.value
    yield meta, IDENTITY_KEY, seals[meta].close(IDENTITY_KEY, identity_text(store_id))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        report.faults.append("it is missing")
        return
    try:
        yield from _rows_in(DataFile(descriptor), seals, report)
    except PageFault as fault:
        report.faults.append(str(fault))
    finally:
        os.close(descriptor)


def _rows_in(file: DataFile, seals: dict[str, Seal], report: Salvage) -> Iterator[tuple[str, bytes, bytes]]:
    walk, report.is_behind = _best_of(file)
    for name, key, row in walk.run():
        table = _table_of(key, row, seals, first=name.decode(errors="replace"))
        if table is None:
            report.unreadable += 1
        else:
            yield table, key, row
    report.faults += [*map(str, walk.faults), *misnamed(walk)]
    if not report.faults and not report.is_behind:
        return
    in_use = walk.is_free_list_whole and not report.is_behind
    damaged = {fault.page for fault in walk.faults}
    pages = {*walk.lost_pages(), *damaged} if in_use else range(2, file.size // file.page_size)
    for number in sorted(pages):
        for key, row in leaf_rows(file, number):
            table = _table_of(key, row, seals)
            if table is not None and (in_use or number in damaged or table in _IMMUTABLE):
                report.found_beside += 1
                yield table, key, row


def _best_of(file: DataFile) -> tuple[Walk, bool]:
    """The header to go by, and whether a newer one may have been lost.

    One part of it may be damaged: where the free pages are known, the others are in use; where the tables are whole,
    no more is needed. The header before the newest is a store too, but for the last commit.
    """
    tried = []
    for meta in file.likely_metas():
        for last_page in (meta.last_page, file.size // file.page_size - 1):
            walk = Walk(file, meta._replace(last_page=last_page), leaves=False)
            for _ in walk.run():
                pass
            is_usable = (walk.are_tables_whole and not misnamed(walk)) or walk.is_free_list_whole
            tried.append(((is_usable, walk.newest_freed, meta.transaction, -len(walk.faults)), walk.meta))
    if not tried:
        raise PageFault("it has no header left")
    (usable, *_), best = max(tried, key=lambda each: each[0])
    others = [meta.transaction for (is_usable, *_), meta in tried if meta.slot != best.slot and not is_usable]
    others += [] if len(tried) > 2 else [-1]
    return Walk(file, best, leaves=True), not usable or any(other != best.transaction - 1 for other in others)


def _table_of(key: bytes, row: bytes, seals: dict[str, Seal], first: str = "") -> str | None:
    """The table whose seal the row bears."""
    if len(row) < DIGEST_SIZE or not key:
        return None
    seal = seals.get(first)
    if seal is not None and seal.open(key, row) is not None:
        return first
    return next((name for name, each in seals.items() if each.open(key, row) is not None), None)
