"""One consistent view of the tables: raw rows, in bytes. Safe between threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import lmdb

from cas_store.digest import DIGEST_SIZE
from cas_store.errors import StoreError

if TYPE_CHECKING:
    from cas_store.database import Database

_FIRST_CHUNK = 16
_CHUNK = 256  # rows taken at once from a scan: between chunks the lock is free


class View:
    """A read transaction, begun when first needed and again when the database had to move."""

    __slots__ = ("_buffers", "_closed", "_cursors", "_database", "_handles", "_transaction", "lock")

    def __init__(self, database: Database, *, buffers: bool = False) -> None:
        self._database = database
        self._buffers = buffers
        self.lock = threading.RLock()  # again: a forgotten snapshot may be collected at any point
        self._transaction: lmdb.Transaction[bytes] | None = None
        self._handles: dict[str, lmdb._Database] = {}
        self._cursors: dict[str, lmdb.Cursor[bytes]] = {}
        self._closed = False

    def get(self, table: str, key: bytes) -> bytes | None:
        """The raw row, or None."""
        while True:
            with self.lock:
                transaction = self._transaction or self._begin()
                if transaction is not None:
                    try:
                        return transaction.get(key, None, self._handles[table])
                    except lmdb.BadValsizeError:
                        return None  # no row can have such a key
                    except (lmdb.Error, MemoryError) as error:
                        raise self._database.damaged(error) from error
            self._database.make_ready()

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The raw rows, in the order of the keys; one locking for many."""
        while True:
            with self.lock:
                transaction = self._transaction or self._begin()
                if transaction is not None:
                    get, handle = transaction.get, self._handles[table]
                    try:
                        return [get(key, None, handle) for key in keys]
                    except lmdb.BadValsizeError:
                        return [get(key, None, handle) if key else None for key in keys]
                    except (lmdb.Error, MemoryError) as error:
                        raise self._database.damaged(error) from error
            self._database.make_ready()

    def has(self, table: str, key: bytes) -> bool:
        """Whether there is a row; its value is not read."""
        while True:
            with self.lock:
                if self._transaction is not None or self._begin() is not None:
                    try:
                        return self._cursor(table).set_key(key)
                    except lmdb.BadValsizeError:
                        return False
                    except (lmdb.Error, MemoryError) as error:
                        raise self._database.damaged(error) from error
            self._database.make_ready()

    def has_many(self, table: str, keys: Sequence[bytes]) -> list[bool]:
        """As `has` of each, in the order of the keys; one locking for many."""
        while True:
            with self.lock:
                if self._transaction is not None or self._begin() is not None:
                    set_key = self._cursor(table).set_key
                    try:
                        return [set_key(key) for key in keys]
                    except lmdb.BadValsizeError:
                        break
                    except (lmdb.Error, MemoryError) as error:
                        raise self._database.damaged(error) from error
            self._database.make_ready()
        return [self.has(table, key) for key in keys]

    def scan(self, table: str, prefix: bytes, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Raw rows whose key begins with the prefix, in order of key."""
        for rows in self.chunks(table, prefix, reverse=reverse):
            yield from rows

    def chunks(
        self, table: str, prefix: bytes, *, reverse: bool, beyond: bytes | None = None
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """The same, many at a time: few at first, for whoever wants few. `beyond` is the last key not wanted."""
        last = beyond
        size = _FIRST_CHUNK
        while True:
            with self.lock:
                ready = self._transaction is not None or self._begin() is not None
                if ready:
                    step = self._chunk_back if reverse else self._chunk
                    try:
                        rows = step(table, prefix, last, size)
                    except (lmdb.Error, MemoryError) as error:
                        raise self._database.damaged(error) from error
            if not ready:
                self._database.make_ready()
                continue
            if rows and not rows[-1][0].startswith(prefix):
                rows = [row for row in rows if row[0].startswith(prefix)]
            if rows:
                yield rows
            if len(rows) < size:
                return
            last = rows[-1][0]
            size = _CHUNK

    def sizes(self, table: str) -> Iterator[tuple[bytes, int, bytes]]:
        """Each key and the size of its row; of a key longer than a digest what is in it too. Needs buffers."""
        last: bytes | None = None
        while True:
            with self.lock:
                ready = self._transaction is not None or self._begin() is not None
                if ready:
                    try:
                        rows = self._sizes(table, last)
                    except (lmdb.Error, MemoryError) as error:
                        raise self._database.damaged(error) from error
            if not ready:
                self._database.make_ready()
                continue
            yield from rows
            if len(rows) < _CHUNK:
                return
            last = rows[-1][0]

    def _sizes(self, table: str, last: bytes | None) -> list[tuple[bytes, int, bytes]]:
        cursor = self._cursor(table)
        found = cursor.first() if last is None else cursor.set_range(last)
        if last is not None and found and bytes(cursor.key()) == last:
            found = cursor.next()
        rows: list[tuple[bytes, int, bytes]] = []
        while found and len(rows) < _CHUNK:
            key, row = bytes(cursor.key()), cursor.value()
            # Copied within the lock: a buffer is good only as long as the transaction.
            rows.append((key, len(row), bytes(row[DIGEST_SIZE:]) if len(key) > DIGEST_SIZE else b""))
            found = cursor.next()
        return rows

    def close(self) -> None:
        """End it. Idempotent."""
        if self._closed:
            return
        with self.lock:
            self._closed = True
            self.end()
        self._database.forget(self)

    def number(self) -> int | None:
        """The last transaction that it sees, None if it has not begun. Caller holds the lock."""
        return None if self._transaction is None else self._transaction.id()

    def end(self) -> None:
        """End the transaction only. Caller holds the lock."""
        transaction, self._transaction = self._transaction, None
        self._cursors.clear()
        if transaction is not None:
            transaction.abort()

    def _begin(self) -> lmdb.Transaction[bytes] | None:
        if self._closed:
            msg = "this snapshot is closed\n  -> read inside its `with` block"
            raise StoreError(msg)
        self._transaction = self._database.begin_read(buffers=self._buffers)
        self._handles = self._database.handles
        return self._transaction

    def _cursor(self, table: str) -> lmdb.Cursor[bytes]:
        cursor = self._cursors.get(table)
        if cursor is None:
            assert self._transaction is not None  # noqa: S101
            cursor = self._cursors[table] = self._transaction.cursor(self._handles[table])
        return cursor

    def _chunk(self, table: str, prefix: bytes, last: bytes | None, size: int) -> list[tuple[bytes, bytes]]:
        """Up to so many rows from the first with the prefix, or behind the last; at the end some without it."""
        cursor = self._cursor(table)
        if last is None:
            found = cursor.set_range(prefix) if prefix else cursor.first()
        else:
            found = cursor.set_range(last)
            if found and cursor.key() == last:
                found = cursor.next()
        # By LMDB's own iterator: a call for each row took six times as long.
        return list(islice(cursor.iternext(), size)) if found else []

    def _chunk_back(self, table: str, prefix: bytes, last: bytes | None, size: int) -> list[tuple[bytes, bytes]]:
        cursor = self._cursor(table)
        bound = _after(prefix) if last is None else last
        # To the first key that is not below the bound, and one back; without such a key, to the very last.
        found = cursor.prev() if bound and cursor.set_range(bound) else cursor.last()
        return list(islice(cursor.iterprev(), size)) if found else []


def _after(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix; empty when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
