"""Tables of plain values that are looked at again and again: told to be the same by their bytes. Pure."""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from itertools import chain

from cas_store.digest import Digest, digest_of

_SIMPLE = frozenset({int, float, str, bool, complex, type(None)})
_TABLES = frozenset({list, dict, tuple})
_LEAST = 64  # items; smaller ones are digested as quickly
_VERSION = 2  # of marshal: later ones tell how often an object is referred to


class KnownTables:
    """Digests of lists, tuples and dicts by their bytes. These cost a thirtieth of the digest, and tell as much."""

    def __init__(self) -> None:
        self._known: dict[bytes, Digest] = {}
        self._others: set[bytes] = set()
        self._is_closed = False

    @staticmethod
    def content_of(value: object) -> bytes | None:
        """What tells the content of a table; None if the value is none, or holds more than exact builtin values."""
        kind = type(value)
        if kind not in _TABLES or len(value) < _LEAST:  # type: ignore[arg-type]
            return None
        try:
            return digest_of(kind.__name__.encode(), marshal.dumps(value, _VERSION))  # type: ignore[arg-type]
        except (ValueError, MemoryError):
            return None

    def close(self) -> None:
        """From now on tables are only compared: any that is not known has a digest that none of those has."""
        self._is_closed = True

    def known(self, content: bytes) -> Digest | None:
        """The digest of a table with this content, None if it has to be computed."""
        known = self._known.get(content)
        if known is None and self._is_closed and content not in self._others:
            return digest_of(b"another table", content)
        return known

    def remember(self, value: object, content: bytes, digest: Digest) -> None:
        """Keep the digest of a table."""
        # Bytes and arrays of the same bytes look alike to marshal: tables that hold any are digested each time.
        if _is_plain(value):
            self._known[content] = digest
        else:
            self._others.add(content)


def _is_plain(value: object) -> bool:
    row: list[Iterable[object]] = [value]  # type: ignore[list-item]
    while row:
        table = row.pop()
        items = list(chain.from_iterable(table.items()) if isinstance(table, dict) else table)
        kinds = {*map(type, items)} - _SIMPLE
        if not kinds <= _TABLES:
            return False
        if kinds:
            row += [item for item in items if type(item) in _TABLES]
    return True
