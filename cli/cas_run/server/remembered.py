"""Which request an idempotency key stood for, and which dispatch it made: in the store, so that restarts keep it.

What is noted of a key is written in one with the dispatch, by the coordinator that makes it: a server that is killed at
any moment leaves both or neither, and of two that are sent the same request one makes the dispatch.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any, NamedTuple

from cas_engine.bookkeeping import ledger
from cas_engine.errors import NotFound
from cas_run.server.limits import KEPT_S
from cas_run.server.problems import Problem
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Expect, Put, Write

PREFIX = b"idempotency:"  # in META


class Note(NamedTuple):
    """A key and the request that it is to stand for; `before` is the row that does not stand in the way. JSON."""

    row: str
    request: str
    before: str | None

    def writes(self, dispatch_id: str) -> list[Write]:
        """What is to become durable in one with the dispatch that the request makes."""
        row = bytes.fromhex(self.row)
        told = {"request": self.request, "dispatch_id": dispatch_id, "when": time.time()}
        before = None if self.before is None else self.before.encode()
        return [Expect(Table.META, row, before), Put(Table.META, row, json.dumps(told).encode())]


class Remembered:
    """The keys of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._users: dict[bytes, int] = {}

    def alone(self, key: str) -> _Alone:
        """With this, requests with one key come one after another."""
        return _Alone(self._locks, self._users, _row(key))

    def dispatch_of(self, key: str, request: Any) -> tuple[str | None, Note]:
        """The dispatch that this request made earlier, and what to note of one that it makes now.

        Raises Problem if the key stood for another request.
        """
        row = self._store.get(Table.META, _row(key))
        note = Note(_row(key).hex(), _digest(request), None if row is None else row.decode())
        if row is None:
            return None, note
        known = json.loads(row)
        if known["when"] < time.time() - KEPT_S:
            return None, note
        if known["request"] != note.request:
            message = (
                f"the idempotency key was used for another request, which made dispatch {known['dispatch_id'][:12]}\n"
                "  -> give each request a key of its own"
            )
            raise Problem(409, "KeyReused", message)
        try:
            ledger.get(self._store, known["dispatch_id"])
        except NotFound:
            return None, note  # removed since
        return str(known["dispatch_id"]), note

    def forget_old(self) -> None:
        """Take those away that are known no longer."""
        oldest = time.time() - KEPT_S
        with self._store.snapshot() as snapshot:
            old = [key for key, row in snapshot.scan(Table.META, PREFIX) if json.loads(row)["when"] < oldest]
        if old:
            writes: list[Write] = [Delete(Table.META, key) for key in old]
            self._store.commit(writes)


class _Alone:
    def __init__(self, locks: dict[bytes, asyncio.Lock], users: dict[bytes, int], row: bytes) -> None:
        self._locks, self._users, self._row = locks, users, row

    async def __aenter__(self) -> None:
        self._users[self._row] = self._users.get(self._row, 0) + 1
        await self._locks.setdefault(self._row, asyncio.Lock()).acquire()

    async def __aexit__(self, *_: object) -> None:
        self._locks[self._row].release()
        self._users[self._row] -= 1
        if not self._users[self._row]:
            del self._users[self._row], self._locks[self._row]


def _row(key: str) -> bytes:
    return PREFIX + hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _digest(request: Any) -> str:
    # Not the store's digest: whoever asks chooses what is in it.
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
