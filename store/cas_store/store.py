"""The one object that the engine is given: rows and blobs that last, claims and signals that need not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import lmdb

from cas_store.blobs import Blobs, PreparedBlob
from cas_store.committer import Batch, Committer
from cas_store.database import MAP_SIZE
from cas_store.digest import Digest
from cas_store.errors import StoreError
from cas_store.opening import Opened, open_folder
from cas_store.owners import Owners
from cas_store.quarantine import Damage, Quarantine
from cas_store.rows import Seal
from cas_store.scratch import Scratch
from cas_store.snapshot import Snapshot
from cas_store.tables import KEY_LIMIT, Table
from cas_store.writes import Delete, Insert, PutBlob, Write

if TYPE_CHECKING:
    from typing_extensions import Self

_ROW = 200  # bytes that a row takes besides its value, roughly
_SCRATCH_MAP = 1 << 30


class Store:
    """One store folder as one process sees it. Safe between threads; a forked child opens its own."""

    def __init__(self, opened: Opened, map_size: int) -> None:
        """Not for users: see :meth:`open`."""
        layout = opened.layout
        self.path: Path = layout.root
        self.id: bytes = opened.id
        self.damage: list[Damage] = []
        self._layout = layout
        self._map_size = map_size
        self._database = opened.database
        self._seals: dict[str, Seal] = {table: Seal(self.id, table.value) for table in Table}
        self._quarantine = Quarantine(layout, self._database, self.damage)
        self._owners = Owners(layout.live)
        self._blobs = Blobs(layout, self._database, self._owners, self._seals[Table.BLOBS], self._quarantine)
        self._committer = Committer(self._apply, self._settle)
        self._scratch = Scratch(layout.scratch, self.id, self._owners, layout.root, min(map_size, _SCRATCH_MAP))

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True, map_size: int = MAP_SIZE) -> Store:
        """The store in that folder; the same object each time in one process.

        Raises StoreMissing, StoreDamaged, StoreTooNew or StoreRefused.
        """
        real = Path(os.path.realpath(os.path.expanduser(path)))  # noqa: PTH111
        with _opening:
            known = _stores.get(real)
            if known is not None:
                if known.is_in_place():
                    return known
                if not real.joinpath("STORE").exists():
                    known.refuse_to_vanish()
                known.close()
            opened = open_folder(real, create=create, map_size=map_size)
            store = cls(opened, map_size)
            store._owners.sweep()
            store._blobs.sweep()
            _stores[real] = store
            return store

    def is_in_place(self) -> bool:
        """Whether the folder is still the one that was opened."""
        return self._database.is_in_place()

    def refuse_to_vanish(self) -> None:
        """Raise StoreReplaced if the folder went away while this had it open."""
        if self._database.is_open:
            self._database.check_place()

    def close(self) -> None:
        """Write what is queued and give everything back. A later use opens it again."""
        self._committer.close()
        self._scratch.close()
        self._database.close()
        self._owners.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _open_existing, (str(self.path),)

    def __repr__(self) -> str:
        return f"<Store {self.path} {self.id.hex()[:8]}>"

    # --- reading

    def snapshot(self) -> Snapshot:
        """A consistent view, for a ``with`` block."""
        return Snapshot(self._database.view(), self._seals, self._quarantine)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """A snapshot of one row."""
        with self.snapshot() as snapshot:
            return snapshot.get(table, key)

    # --- writing

    def commit(self, writes: Sequence[Write]) -> None:
        """Write one batch, all or nothing; durable when this returns."""
        if self._committer.is_own_thread():
            msg = "commit() in the callback of a commit would wait for itself\n  -> use submit() there"
            raise StoreError(msg, self.path)
        self._submit(writes, urgent=True).result()

    def submit(self, writes: Sequence[Write]) -> Future[None]:
        """Write one batch in the background; durable when the future is done.

        Its blobs can be read at once in this process. Batches become durable in the order of submission.
        """
        return self._submit(writes, urgent=False)

    def _submit(self, writes: Sequence[Write], *, urgent: bool) -> Future[None]:
        writes = tuple(writes)
        blobs = []
        weight = _ROW * len(writes)
        for write in writes:
            if isinstance(write, PutBlob):
                blobs.append(write.blob)
                weight += len(write.blob.content or b"")
                continue
            if not 0 < len(write.key) <= KEY_LIMIT:
                msg = f"a key has 1 to {KEY_LIMIT} bytes, not {len(write.key)}: {write.key[:20]!r}"
                raise StoreError(msg, self.path)
            if not isinstance(write, Delete):
                weight += len(write.value)
        if blobs:
            self._blobs.announce(blobs)
        return self._committer.submit(writes, weight, urgent=urgent)

    def _apply(self, batches: Sequence[Batch]) -> None:
        blobs = _blobs_of(batches)

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            if blobs:
                self._blobs.publish(transaction, blobs)
            handles = self._database.handles
            seals = self._seals
            for batch in batches:
                for write in batch.writes:
                    if isinstance(write, PutBlob):
                        continue
                    handle = handles[write.table]
                    if isinstance(write, Delete):
                        transaction.delete(write.key, b"", handle)
                        continue
                    seal = seals[write.table]
                    if isinstance(write, Insert):
                        row = transaction.get(write.key, None, handle)
                        if row is not None and seal.open(write.key, row) is not None:
                            continue
                    transaction.put(write.key, seal.close(write.key, write.value), db=handle)

        self._database.write(job)

    def _settle(self, batches: Sequence[Batch]) -> None:
        blobs = _blobs_of(batches)
        if blobs:
            self._blobs.settle(blobs)

    # --- blobs

    def prepare(self, pieces: Sequence[bytes | memoryview]) -> PreparedBlob:
        """Digest the concatenation of the pieces, ready for a PutBlob. Large ones are written here."""
        return self._blobs.prepare(pieces)

    def get_blob(self, digest: Digest) -> memoryview:
        """The bytes of a blob: verified; writable, at no harm to the store, when large.

        Raises BlobMissing or BlobDamaged.
        """
        return self._blobs.get(digest)

    def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of the digests that no blob here has."""
        return self._blobs.find_missing(digests)

    # --- who is alive, who does what

    @property
    def owner(self) -> bytes:
        """16 bytes that name this process for as long as it lives."""
        return self._owners.own

    def is_alive(self, owner: bytes) -> bool:
        """Whether the process of that name is still there."""
        return self._owners.is_alive(owner)

    def claim(self, keys: Sequence[bytes], holder: bytes) -> list[bytes | None]:
        """Claim keys for a holder (a dispatch): None for each that is now the holder's, else who has it.

        One transaction for all. Claims of processes that died are taken over.
        """
        return self._scratch.claim(keys, holder)

    def release(self, keys: Sequence[bytes], holder: bytes) -> None:
        """Give up the holder's claims among these."""
        self._scratch.release(keys, holder)

    def set_signal(self, name: bytes, value: bytes) -> None:
        """Leave a word for all processes; gone after a reboot."""
        self._scratch.set_signal(name, value)

    def get_signal(self, name: bytes) -> bytes | None:
        """The word, or None."""
        return self._scratch.get_signal(name)

    def clear_signal(self, name: bytes) -> None:
        """Take it back."""
        self._scratch.clear_signal(name)


def _blobs_of(batches: Sequence[Batch]) -> list[PreparedBlob]:
    return [write.blob for batch in batches for write in batch.writes if isinstance(write, PutBlob)]


def _open_existing(path: str) -> Store:
    return Store.open(path, create=False)


_stores: dict[Path, Store] = {}
_opening = threading.Lock()


def _after_fork_in_child() -> None:
    global _opening  # noqa: PLW0603
    _opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
