"""What a reader sees: verified rows of one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING

from cas_store.quarantine import Quarantine
from cas_store.rows import Seal
from cas_store.tables import Table
from cas_store.views import View

if TYPE_CHECKING:
    from typing_extensions import Self

_AT_ONCE = 1000  # keys


class Snapshot:
    """Use it in a ``with`` block, and not for long: what it can see cannot be reused by writers.

    All of one moment, except that it jumps to the present when the map grows or the process forks.
    """

    __slots__ = ("_quarantine", "_seals", "_view")

    def __init__(self, view: View, seals: Mapping[str, Seal], quarantine: Quarantine) -> None:
        self._view = view
        self._seals = seals
        self._quarantine = quarantine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.close()

    def __del__(self) -> None:
        # One that was never closed would keep what it sees from being reused for as long as the process lives.
        self._view.close()

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value, or None: not there, or damaged (then quarantined and noted in ``store.damage``)."""
        row = self._view.get(table, key)
        if row is None:
            return None
        value = self._seals[table].open(key, row)
        if value is None:
            self._quarantine.row(table.value, key, self._seals[table])
        return value

    def get_many(self, table: Table, keys: Sequence[bytes]) -> list[bytes | None]:
        """A value or None for each key, in the order of the keys."""
        seal = self._seals[table]
        values: list[bytes | None] = []
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            rows = self._view.get_many(table, some)
            is_empty = rows.count(None) == len(rows)
            values += rows if is_empty else seal.open_many(some, rows, self._damaged(table))
        return values

    def _damaged(self, table: Table) -> Callable[[bytes], None]:
        return lambda key: self._quarantine.row(table.value, key, self._seals[table])

    def has(self, table: Table, key: bytes) -> bool:
        """Whether there is a row; its value is neither read nor verified."""
        return self._view.has(table, key)

    def lacking(self, table: Table, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys that there are no rows of; no value is read."""
        found: list[bytes] = []
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            there = self._view.has_many(table.value, some)
            if not all(there):
                found += [key for key, is_there in zip(some, there, strict=True) if not is_there]
        return found

    def scan(
        self,
        table: Table,
        prefix: bytes = b"",
        *,
        reverse: bool = False,
        limit: int | None = None,
        beyond: bytes | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values by order of key, for keys that begin with the prefix. Damaged rows are left out.

        `beyond`: only those after this key, or with `reverse` before it.
        """
        rows = self._scan(table, prefix, beyond, reverse=reverse)
        return rows if limit is None else islice(rows, max(limit, 0))

    def _scan(
        self, table: Table, prefix: bytes, beyond: bytes | None, *, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        seal, damaged = self._seals[table], self._damaged(table)
        for rows in self._view.chunks(table, prefix, reverse=reverse, beyond=beyond):
            keys = [key for key, _ in rows]
            for key, value in zip(keys, seal.open_many(keys, [row for _, row in rows], damaged), strict=True):
                if value is not None:
                    yield key, value
