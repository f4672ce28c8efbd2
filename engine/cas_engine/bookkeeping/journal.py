"""What an evaluation reads from the store and writes to it: records, claims, the rows of its nodes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING

from cas_engine.bookkeeping.previews import PREFIX
from cas_engine.files import are_unchanged
from cas_engine.plans import records, written
from cas_engine.plans.outcome import NodeOutcome
from cas_engine.plans.records import Record
from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Append, Insert, Put, PutBlob, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas_store.snapshot import Snapshot

EPOCH = b"epoch"  # in META: changes whenever a deterministic electron is seen not to repeat itself
BLOB_GONE = "its blob is damaged or gone"
EVICTED = "its result was evicted"
NOBODY = "0" * 32  # the dispatch of a plan, which claims and writes nothing
_UNSEEN = 64  # commits under way before the oldest are looked at


class Journal:
    """The store as one dispatch sees it. Used by its coordinating thread alone."""

    def __init__(self, store: Store, dispatch_id: str, numbers: Sequence[int] | None = None) -> None:
        self._store = store
        self._numbers = numbers  # of nodes in the dispatch, where they have others in the evaluation
        self._holder = bytes.fromhex(dispatch_id)
        self._snapshot: Snapshot | None = None
        self._pending: deque[Future[None]] = deque()
        self._durable: SimpleQueue[list[Digest]] = SimpleQueue()
        self._promise: Future[None] | None = None  # the last one made for a key
        self._sent_keys: list[Digest] = []  # those that it is for
        self._claimed: set[Digest] = set()
        self._holds = False
        self._found: list[Digest] = []  # blobs of results taken, not yet held
        self.unusable: dict[Digest, str] = {}  # keys that have a record which is no use, and why
        self.evicted: set[Digest] = set()  # blobs that were taken away on purpose; their records hold

    # Reading ------------------------------------------------------------------------------------------------

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Look everything up in one snapshot of the store: far cheaper for many keys."""
        with self._store.snapshot() as self._snapshot:
            yield
        self._snapshot = None

    def lookup(self, key: Digest) -> Record | None:
        """The usable record of a key: one whose blob is there, or was evicted.

        Of a result that was evicted all is known but the value itself, which can be computed again should it be needed.
        """
        get = self._store.get if self._snapshot is None else self._snapshot.get
        row = get(Table.RECORDS, key)
        if row is None:
            return None
        record = records.loads(row)
        # Small blobs are rows of the same snapshot, which is cheaper than asking for each.
        there = self._snapshot is not None and self._snapshot.has(Table.BLOBS, record.blob)
        there = there or not self._store.find_missing([record.blob])
        return self._checked(key, record, is_there=there or self.was_evicted(record.blob))

    def lookup_many(self, keys: Sequence[Digest]) -> list[Record | None]:
        """As `lookup` of each, in one look; keys in order cost the store least."""
        assert self._snapshot is not None  # noqa: S101 - asked within `one_look`
        rows = self._snapshot.get_many(Table.RECORDS, keys)
        if rows.count(None) == len(rows):
            return [None] * len(rows)
        found = records.loads_many(rows)
        blobs = sorted({record.blob for record in found if record is not None})
        elsewhere = self._snapshot.lacking(Table.BLOBS, blobs)
        missing = self._store.find_missing(elsewhere) if elsewhere else ()
        lost = {blob for blob in missing if not self.was_evicted(blob)}
        doubtful = [at for at, one in enumerate(found) if one is not None and (one.files or one.blob in lost)]
        for at in doubtful:
            if (record := found[at]) is not None:
                found[at] = self._checked(keys[at], record, is_there=record.blob not in lost)
        return found

    def lookup_now(self, keys: Sequence[Digest]) -> dict[Digest, Record]:
        """The usable records of keys, as of this moment; mostly there are none."""
        if not keys:
            return {}
        with self._store.snapshot() as snapshot:
            keys = sorted(keys)
            rows = snapshot.get_many(Table.RECORDS, keys)
        found = {key: self.lookup(key) for key, row in zip(keys, rows, strict=True) if row is not None}
        return {key: record for key, record in found.items() if record is not None}

    def _checked(self, key: Digest, record: Record, *, is_there: bool) -> Record | None:
        """The record if it can be used."""
        if not is_there:
            self.unusable[key] = BLOB_GONE
        elif not are_unchanged(record.files):
            self.unusable[key] = "a file that it gave has changed"
        else:
            return record
        return None

    def was_evicted(self, blob: Digest) -> bool:
        """Of a blob that is not there."""
        if self._store.is_evicted(blob):
            self.evicted.add(blob)
            return True
        return False

    def is_there(self, blob: Digest) -> bool:
        """Whether a blob is there to be read; that of a small result costs little, a large one is not read."""
        return not self._store.find_missing([blob])

    def recorded(self, key: Digest) -> Record | None:
        """The record of a key, whether its blob is there or not."""
        row = self._store.get(Table.RECORDS, key)
        return None if row is None else records.loads(row)

    def by_content(self, content_keys: Sequence[Digest]) -> dict[Digest, bytes]:
        """The rows of calls with such inputs, for `take_by_content`; mostly there are none."""
        if len(content_keys) == 1:
            row = self._store.get(Table.CONTENTS, content_keys[0])
            return {} if row is None else {content_keys[0]: row}
        with self._store.snapshot() as snapshot:
            keys = sorted(content_keys)
            rows = snapshot.get_many(Table.CONTENTS, keys)
        return {key: row for key, row in zip(keys, rows, strict=True) if row is not None}

    def take_by_content(self, row: bytes, key: Digest) -> Record | None:
        """The record of a call with equal inputs, entered under this key too, if it can be used."""
        record = records.loads(row)
        there = not self._store.find_missing([record.blob]) or self.was_evicted(record.blob)
        if not there or not are_unchanged(record.files):
            return None
        self._sent(self._store.submit([Insert(Table.RECORDS, key, row)]), key)
        return record

    def is_readable(self, blob: Digest) -> bool:
        """Whether a blob is there and intact."""
        try:
            self._store.get_pieces(blob)
        except (BlobMissing, BlobDamaged):
            return False
        return True

    # Writing ------------------------------------------------------------------------------------------------

    def enter(
        self,
        node: int,
        one: NodeOutcome,
        record: Record,
        blob: PreparedBlob,
        content_keys: Sequence[Digest],
        *,
        differs: bool,
        told: bytes = b"",
    ) -> None:
        """Write a result down: blob, record and the node's row become visible together, and durable soon after."""
        row = records.dumps(record)
        writes: list[Write] = [PutBlob(blob), Put(Table.RECORDS, one.key, row)]
        if told:
            writes.append(Insert(Table.META, PREFIX + blob.digest, told))
        writes += [Put(Table.CONTENTS, content_key, row) for content_key in content_keys]
        if differs:
            # What was made from the value that did not repeat must not answer for a whole lattice any more.
            writes.append(Put(Table.META, EPOCH, repr(time.time()).encode()))
        writes.append(self._node_row(node, one))
        self._sent(self._store.submit(writes), one.key)
        while len(self._pending) > _UNSEEN and self._pending[0].done():
            self._pending.popleft().result()

    def _sent(self, future: Future[None], key: Digest) -> None:
        """Keep the promise made for a key. Many that are written together share one."""
        if self._promise is not future:
            self._promise = future
            self._pending.append(future)
            keys = self._sent_keys = [key]
            durable = self._durable
            # All that are in it when it is taken out: see `release_durable`.
            future.add_done_callback(lambda _: durable.put(keys))
            return
        self._sent_keys.append(key)

    def note(self, node: int, one: NodeOutcome) -> None:
        """Write down what came of a node that has no result."""
        self._pending.append(self._store.submit([self._node_row(node, one)]))

    def flush(self) -> None:
        """Wait until all that was written is durable. Raises StoreError."""
        if self._pending:
            self._store.hurry()
        while self._pending:
            self._pending.popleft().result()

    def _node_row(self, node: int, one: NodeOutcome) -> Append:
        node = node if self._numbers is None else self._numbers[node]
        return Append(Table.NODES, self._holder, written.item_dumps(node, one))

    # Holding ------------------------------------------------------------------------------------------------

    def found(self, blobs: Iterable[Digest]) -> None:
        """Results were taken from the store: they are to stay there until this dispatch is over."""
        self._found.extend(blobs)

    def hold(self) -> None:
        """Hold what was found since the last time. Not synced, and no need of it where nothing is left to run."""
        if self._found:
            self._store.hold(self._holder, self._found)
            self._holds, self._found = True, []

    def let_go(self) -> None:
        """Nothing more is needed."""
        if self._holds:
            self._store.let_go(self._holder)
            self._holds = False

    # Claims -------------------------------------------------------------------------------------------------

    def claim(self, keys: Sequence[Digest]) -> None:
        """Ask for keys: those that nobody alive has are now ours to compute."""
        holders = self._store.claim(keys, self._holder)
        self._claimed.update(key for key, holder in zip(keys, holders, strict=True) if holder is None)

    def has_claimed(self, key: Digest) -> bool:
        """Whether a key is ours to compute."""
        return key in self._claimed

    def not_claimed(self, keys: Iterable[Digest]) -> set[Digest]:
        """Those of the keys that are not."""
        return set(keys) - self._claimed

    def unclaim(self, key: Digest) -> None:
        """Give a key back that was not computed."""
        self._durable.put([key])

    def release_durable(self) -> None:
        """Give back the keys whose records can be seen: sooner, and whoever waits would compute them again."""
        if self._durable.empty():
            return
        done: list[Digest] = []
        while not self._durable.empty():
            keys = self._durable.get()
            if keys is self._sent_keys:
                self._promise = None  # whose key comes later has a list of its own
            done += keys
        mine = sorted(self._claimed.intersection(done))  # in order they cost the store half
        if mine:
            self._claimed.difference_update(mine)
            self._store.release(mine, self._holder)

    def release_all(self) -> None:
        """Give back every key."""
        if self._claimed:
            self._store.release(list(self._claimed), self._holder)
            self._claimed.clear()
