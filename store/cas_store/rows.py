"""Rows that prove themselves: a digest over store, table, key and value stands before the value. Pure.

A row moved to another key, another table or another store fails as a flipped bit does.

    row = digest (16) + value
    digest = xxh3_128(store id (16) + length of name (1) + table's name + length of key (2) + key + value)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xxhash import xxh3_128_digest

from cas_store.digest import DIGEST_SIZE
from cas_store.tables import KEY_LIMIT

_LENGTHS = tuple(n.to_bytes(2, "big") for n in range(KEY_LIMIT + 1))


class Seal:
    """Closes and opens the rows of one table of one store."""

    __slots__ = ("_prefix",)

    def __init__(self, store_id: bytes, table: str) -> None:
        name = table.encode()
        self._prefix = store_id + bytes([len(name)]) + name

    def close(self, key: bytes, value: bytes) -> bytes:
        """The row to write for this key and value."""
        return xxh3_128_digest(b"".join((self._prefix, _LENGTHS[len(key)], key, value))) + value

    def open(self, key: bytes, row: bytes) -> bytes | None:
        """The value in a row, or None when the row is damaged or not this key's."""
        value = row[DIGEST_SIZE:]
        try:
            digest = xxh3_128_digest(b"".join((self._prefix, _LENGTHS[len(key)], key, value)))
        except IndexError:  # a scan came upon a key whose length is damaged
            return None
        return value if digest == row[:DIGEST_SIZE] else None

    def open_many(
        self, keys: Sequence[bytes], rows: Sequence[bytes | None], damaged: Callable[[bytes], None]
    ) -> list[bytes | None]:
        """As :meth:`open` for each, in half the time; tells the keys of damaged rows."""
        prefix = self._prefix
        values: list[bytes | None] = []
        for key, row in zip(keys, rows):  # noqa: B905  (as many, and in the hot path)
            if row is None:
                values.append(None)
                continue
            value = row[DIGEST_SIZE:]
            try:
                digest = xxh3_128_digest(b"".join((prefix, _LENGTHS[len(key)], key, value)))
            except IndexError:  # as above
                digest = b""
            if digest == row[:DIGEST_SIZE]:
                values.append(value)
            else:
                damaged(key)
                values.append(None)
        return values
