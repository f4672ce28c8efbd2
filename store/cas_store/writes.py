"""What a batch is made of. Pure values; a batch becomes durable as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Union

from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest
from cas_store.tables import Table

# Named tuples, not dataclasses: some are made for each node, and a frozen dataclass costs twice as much.

NUMBER_SIZE = 8  # bytes of the number in the key of a row of items


class Put(NamedTuple):
    """Enter a row, over one that is there."""

    table: Table
    key: bytes
    value: bytes


class Insert(NamedTuple):
    """Enter a row unless an intact one is there."""

    table: Table
    key: bytes
    value: bytes


class Append(NamedTuple):
    """Add an item to those that have its prefix. Rows of few bytes are many: those of a commit become one.

    Its key is the prefix and a number (8, big-endian), larger than any there is; its items are in order: `items_in`.
    """

    table: Table
    prefix: bytes
    item: bytes


class Delete(NamedTuple):
    """Remove a row if it is there."""

    table: Table
    key: bytes


class PutBlob(NamedTuple):
    """Publish a blob that was prepared in this process."""

    blob: PreparedBlob


class Need(NamedTuple):
    """Write the batch only if this blob is there; BlobMissing if not."""

    blob: Digest


class NeedRow(NamedTuple):
    """Write the batch only if this row is there; RowMissing if not."""

    table: Table
    key: bytes


class Expect(NamedTuple):
    """Write the batch only if this row still is what it was seen to be, None for not there; RowChanged if not."""

    table: Table
    key: bytes
    value: bytes | None


Condition = (Need, NeedRow, Expect)  # what a batch asks for, and writes nothing
Write = Union[  # noqa: UP007  (an alias at run time, Python 3.10)
    Put, Insert, Append, Delete, PutBlob, Need, NeedRow, Expect
]


def row_of_items(items: Iterable[bytes]) -> bytes:
    """The value of a row of items: the length of each (4, big-endian) before it."""
    return b"".join([piece for item in items for piece in (len(item).to_bytes(4, "big"), item)])


def items_in(value: bytes) -> Iterator[bytes]:
    """The items in such a value."""
    at = 0
    while at < len(value):
        end = at + 4 + int.from_bytes(value[at : at + 4], "big")
        yield value[at + 4 : end]
        at = end
