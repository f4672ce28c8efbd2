"""What a batch is made of. Pure values; a batch becomes durable as a whole or not at all."""

from __future__ import annotations

from typing import NamedTuple, Union

from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest
from cas_store.tables import Table

# Named tuples, not dataclasses: some are made for each node, and a frozen dataclass costs twice as much.


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
Write = Union[Put, Insert, Delete, PutBlob, Need, NeedRow, Expect]  # noqa: UP007  (an alias at run time, Python 3.10)
