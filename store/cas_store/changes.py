"""What batches change in the tables, sealed and put in order before anybody else has to wait for it.

By order of key LMDB takes half the time for a row: the next one mostly lies where the last one did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING

from cas_store.rows import Seal
from cas_store.tables import Table
from cas_store.writes import NUMBER_SIZE, Append, Delete, Insert, Put, Write, row_of_items

if TYPE_CHECKING:
    import lmdb

_by_key = itemgetter(0)


class Changes:
    """Rows to be put, inserted, deleted and appended. Of one row what comes later counts."""

    def __init__(self, writes: Iterable[Write], seals: Mapping[str, Seal]) -> None:
        self._seals = seals
        self._rows: dict[Table, list[tuple[bytes, bytes]]] = {}  # of tables in which rows are only put
        self._steps: dict[Table, list[tuple[bytes, type, bytes]]] = {}  # of others
        self._items: dict[tuple[Table, bytes], list[bytes]] = {}
        found: dict[Table, list[Put | Insert | Delete]] = {}
        for write in writes:
            if isinstance(write, (Put, Insert, Delete)):
                found.setdefault(write.table, []).append(write)
            elif isinstance(write, Append):
                self._items.setdefault((write.table, write.prefix), []).append(write.item)
        for table, some in found.items():
            close = seals[table].close
            if all(type(one) is Put for one in some):
                rows = [(key, close(key, value)) for _, key, value in some]  # type: ignore[misc]
                self._rows[table] = sorted(rows, key=_by_key)  # stable: the last of a key stays the last
            else:
                steps = [
                    (one.key, type(one), b"" if isinstance(one, Delete) else close(one.key, one.value)) for one in some
                ]
                self._steps[table] = sorted(steps, key=_by_key)

    def make(self, transaction: lmdb.Transaction[bytes], handles: Mapping[str, lmdb._Database]) -> None:
        """Inside a write transaction. May be repeated."""
        for table, rows in self._rows.items():
            with transaction.cursor(handles[table]) as cursor:
                cursor.putmulti(rows)
        for table, steps in self._steps.items():
            handle, seal = handles[table], self._seals[table]
            for key, kind, row in steps:
                if kind is Delete:
                    transaction.delete(key, b"", handle)
                    continue
                if kind is Insert:
                    there = transaction.get(key, None, handle)
                    if there is not None and seal.open(key, there) is not None:
                        continue
                transaction.put(key, row, db=handle)
        for (table, prefix), items in self._items.items():
            with transaction.cursor(handles[table]) as cursor:
                key = prefix + _next_number(cursor, prefix).to_bytes(NUMBER_SIZE, "big")
                cursor.put(key, self._seals[table].close(key, row_of_items(items)))


def _next_number(cursor: lmdb.Cursor[bytes], prefix: bytes) -> int:
    """One more than the largest that stands behind a prefix."""
    found = cursor.prev() if cursor.set_range(prefix + b"\xff" * NUMBER_SIZE) else cursor.last()
    while found and (key := cursor.key()).startswith(prefix):
        if len(key) == len(prefix) + NUMBER_SIZE:
            return int.from_bytes(key[-NUMBER_SIZE:], "big") + 1
        found = cursor.prev()
    return 0
