"""Takes blobs and rows away while others write: what anybody has named since a sweep began stays.

A sweep raises a barrier, a row that each write transaction of any process looks for. While it stands, writers
note the blobs that they publish or need; then whoever sweeps finds out what nothing names, and takes it away,
some at a time, inside write transactions, where it looks at the notes first. So a name that was given before
the barrier was seen by the search, and one given after it is in the notes.

Killed at any point, a sweep leaves a state that the next one goes on from: a blob that is to be given up on
purpose is noted as such in a transaction of its own, before the one that takes it away.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import lmdb

from cas_store.digest import Digest
from cas_store.errors import SweepUnderWay
from cas_store.tables import Table

if TYPE_CHECKING:
    from cas_store.blobs import Blobs
    from cas_store.database import Database
    from cas_store.owners import Owners
    from cas_store.rows import Seal
    from cas_store.scratch import Scratch

T = TypeVar("T")

_BARRIER = b"barrier"
_ID = 16
_BATCH = 512  # blobs at most in one transaction: others wait for it, and some are files
_ROWS = 8192  # the same of rows, which take microseconds
_POLL_S = 0.05


class Victim(NamedTuple):
    """A blob to be taken away; `evicted`: something still names it, and is to know that this was on purpose."""

    digest: Digest
    evicted: bool


class OldRow(NamedTuple):
    """A row to be taken away, unless it has another value by then."""

    table: Table
    key: bytes
    value: bytes


class Sweeper:
    """The barrier of one store, and the sweeps of one process."""

    def __init__(
        self, database: Database, blobs: Blobs, scratch: Scratch, owners: Owners, seals: Mapping[str, Seal]
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._scratch = scratch
        self._owners = owners
        self._seals = seals
        self._own: set[bytes] = set()  # barriers of sweeps under way here
        self._held: tuple[set[Digest], set[Digest]] = set(), set()  # what is held, and with all its parts

    # --- for writers

    def note(self, transaction: lmdb.Transaction[bytes], digests: Iterable[Digest]) -> None:
        """Inside a write transaction: these are named now. Costs one look-up if nobody sweeps."""
        handle, seal = self._database.handles[Table.SWEEP], self._seals[Table.SWEEP]
        row = transaction.get(_BARRIER, None, handle)
        if row is None:
            return
        barrier = seal.open(_BARRIER, row)
        if barrier is not None and not self._stands(barrier):
            transaction.delete(_BARRIER, b"", handle)  # its sweep died: no reason to go on noting
            return
        for digest in self._blobs.made_of_now(transaction, digests):
            transaction.put(digest, seal.close(digest, b""), db=handle)

    # --- for whoever sweeps

    @contextmanager
    def barrier(self, wait_s: float) -> Iterator[bytes]:
        """Stand alone, and have writers take notes; gives what :meth:`take` wants. Raises SweepUnderWay."""
        mine = self._owners.own + os.urandom(_ID)
        deadline = time.monotonic() + wait_s
        self._own.add(mine)
        try:
            while not self._database.write(lambda transaction: self._raise(transaction, mine), "beginning a sweep"):
                if time.monotonic() >= deadline:
                    msg = "another gc of this store has not come to its end\n  -> wait for it, then try again"
                    raise SweepUnderWay(msg)
                time.sleep(_POLL_S)
            try:
                yield mine
            finally:
                self._database.write(lambda transaction: self._lower(transaction, mine), "ending a sweep")
        finally:
            self._own.discard(mine)

    def _raise(self, transaction: lmdb.Transaction[bytes], mine: bytes) -> bool:
        handle, seal = self._database.handles[Table.SWEEP], self._seals[Table.SWEEP]
        row = transaction.get(_BARRIER, None, handle)
        found = None if row is None else seal.open(_BARRIER, row)
        if found is not None and self._stands(found):
            return False
        transaction.drop(handle, delete=False)  # the notes of a sweep that died
        transaction.put(_BARRIER, seal.close(_BARRIER, mine), db=handle)
        return True

    def _lower(self, transaction: lmdb.Transaction[bytes], mine: bytes) -> None:
        handle, seal = self._database.handles[Table.SWEEP], self._seals[Table.SWEEP]
        row = transaction.get(_BARRIER, None, handle)
        if row is not None and seal.open(_BARRIER, row) == mine:
            transaction.drop(handle, delete=False)

    def _stands(self, barrier: bytes) -> bool:
        owner = barrier[:_ID]
        return barrier in self._own if owner == self._owners.own else self._owners.is_alive(owner)

    def take(self, barrier: bytes, victims: Iterable[Victim]) -> Iterator[tuple[Digest, int]]:
        """Take blobs away; gives each that went, with the bytes it freed. What was named or held meanwhile stays."""
        for batch in _batches(victims, _BATCH):
            evicted = [one.digest for one in batch if one.evicted]
            if evicted:
                self._database.write(lambda transaction, some=evicted: self._mark(transaction, some), "evicting")  # type: ignore[misc]
            yield from self._database.write(
                lambda transaction, some=batch: self._remove(transaction, barrier, some),  # type: ignore[misc]
                "taking away what is not needed",
            )

    def take_rows(self, barrier: bytes, rows: Iterable[OldRow]) -> int:
        """Take rows away that are as they were; how many went."""
        count = 0
        for batch in _batches(rows, _ROWS):
            count += self._database.write(
                lambda transaction, some=batch: self._remove_rows(transaction, barrier, some),  # type: ignore[misc]
                "taking away what is not needed",
            )
        return count

    def _mark(self, transaction: lmdb.Transaction[bytes], digests: Sequence[Digest]) -> None:
        handle, seal = self._database.handles[Table.EVICTED], self._seals[Table.EVICTED]
        now = struct.pack("<d", time.time())
        for digest in digests:
            transaction.put(digest, seal.close(digest, now), db=handle)

    def _remove(
        self, transaction: lmdb.Transaction[bytes], barrier: bytes, victims: Sequence[Victim]
    ) -> list[tuple[Digest, int]]:
        self._check(transaction, barrier)
        held = self._scratch.held()
        if held is not self._held[0]:  # it is the same set while nobody holds anything else
            self._held = held, self._blobs.made_of_now(transaction, held)
        notes = self._database.handles[Table.SWEEP]
        gone = []
        for digest, _ in victims:
            if digest not in self._held[1] and transaction.get(digest, None, notes) is None:
                gone.append((digest, self._blobs.remove(transaction, digest)))
        return gone

    def _remove_rows(self, transaction: lmdb.Transaction[bytes], barrier: bytes, rows: Sequence[OldRow]) -> int:
        self._check(transaction, barrier)
        count = 0
        for table, key, value in rows:
            handle = self._database.handles[table]
            row = transaction.get(key, None, handle)
            if row is not None and self._seals[table].open(key, row) == value:
                transaction.delete(key, b"", handle)
                count += 1
        return count

    def _check(self, transaction: lmdb.Transaction[bytes], barrier: bytes) -> None:
        row = transaction.get(_BARRIER, None, self._database.handles[Table.SWEEP])
        if row is None or self._seals[Table.SWEEP].open(_BARRIER, row) != barrier:
            msg = "another gc took this one for dead, and began anew\n  -> nothing is lost: wait for it, then try again"
            raise SweepUnderWay(msg)


def _batches(things: Iterable[T], count: int) -> Iterator[list[T]]:
    iterator = iter(things)
    while batch := list(islice(iterator, count)):
        yield batch
