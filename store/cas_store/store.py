"""The one object that the engine is given: rows and blobs that last, claims and signals that need not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import lmdb

from cas_store import forks
from cas_store.blobs import Blobs, PreparedBlob, with_parts
from cas_store.changes import Changes
from cas_store.committer import Batch, Committer
from cas_store.compression import check_available
from cas_store.database import MAP_SIZE
from cas_store.digest import Digest
from cas_store.errors import BlobEvicted, BlobMissing, RowChanged, RowMissing, StoreError
from cas_store.faults import translate
from cas_store.largefiles import MARKER, Files
from cas_store.layout import expanded
from cas_store.logs import Logs
from cas_store.opening import Opened, open_folder
from cas_store.owners import Owners
from cas_store.pages import Walk
from cas_store.quarantine import Damage, Quarantine
from cas_store.rows import Seal
from cas_store.scratch import Scratch
from cas_store.snapshot import Snapshot
from cas_store.stamps import Stamps, Verify
from cas_store.sweeping import OldRow, Sweeper, Victim
from cas_store.tables import KEY_LIMIT, Table
from cas_store.writes import NUMBER_SIZE, Append, Condition, Delete, Expect, Insert, Need, NeedRow, Put, PutBlob, Write

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import Self

    from cas_store.backup import Backup, Told
    from cas_store.outpost import Lying, Made
    from cas_store.transit import Staging

_ROW = 200  # bytes that a row takes besides its value, roughly
_SCRATCH_MAP = 1 << 30
_SWEEP_ENDS_S = 600.0  # for a backup that sweeps have been in the way of


class Store:
    """One store folder as one process sees it. Safe between threads; a forked child opens its own."""

    def __init__(self, opened: Opened, map_size: int) -> None:
        """Not for users: see :meth:`open`."""
        layout = opened.layout
        self.path: Path = layout.root
        self.id: bytes = opened.id
        self.damage: list[Damage] = []
        self._published = 0
        self._layout = layout
        self._map_size = map_size
        self._database = opened.database
        self._seals: dict[str, Seal] = {table: Seal(self.id, table.value) for table in Table}
        self._quarantine = Quarantine(layout, self._database, self.damage)
        self._owners = Owners(layout.live)
        self._scratch = Scratch(layout.scratch, self.id, self._owners, layout.root, min(map_size, _SCRATCH_MAP))
        self._stamps = Stamps(self._scratch)
        self._files = Files(layout, self._owners, self._stamps, self._quarantine)
        self._blobs = Blobs(layout, self._database, self._files, self._seals[Table.BLOBS], self._quarantine)
        self._logs = Logs(layout)
        self._committer = Committer(self._apply, self._settle)
        self._sweeper = Sweeper(self._database, self._blobs, self._scratch, self._owners, self._seals)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True, map_size: int = MAP_SIZE) -> Store:
        """The store in that folder; the same object each time in one process.

        Raises StoreMissing, StoreDamaged, StoreTooNew or StoreRefused.
        """
        real = Path(os.path.realpath(expanded(path)))
        with _opening:
            known = _stores.get(real)
            if known is not None:
                if known.is_in_place():
                    return known
                if not real.joinpath("STORE").exists():
                    known.refuse_to_vanish()
                known.close()
            opened = open_folder(real, create=create, map_size=map_size)
            try:
                store = cls(opened, map_size)
                store._owners.sweep()
                store._files.sweep()
            except OSError as error:
                opened.database.close()
                raise translate(error, real, "opening it") from error
            _stores[real] = store
            return store

    @property
    def verify(self) -> Verify:
        """How often this process compares a large blob with its digest."""
        return self._stamps.verify

    @verify.setter
    def verify(self, choice: Verify) -> None:
        self._stamps.verify = Verify(choice)

    @property
    def compress(self) -> bool:
        """Whether this process compresses the large blobs that it writes, where they shrink."""
        return self._files.compress

    @compress.setter
    def compress(self, choice: bool) -> None:
        if choice:
            check_available()
        self._files.compress = choice

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
        return _open_existing, (str(self.path), self.verify, self.compress)

    def __repr__(self) -> str:
        return f"<Store {self.path} {self.id.hex()[:8]}>"

    # --- reading

    def snapshot(self) -> Snapshot:
        """A consistent view, for a ``with`` block."""
        return Snapshot(self._database.view(), self._seals, self._quarantine)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One row as it is now: the value, or None: not there, or damaged."""
        seal = self._seals[table]
        row = self._database.get(table, key)
        if row is None:
            return None
        value = seal.open(key, row)
        if value is None:
            self._quarantine.row(table.value, key, seal)
        return value

    def walk(self) -> AbstractContextManager[Walk]:
        """All pages of one moment, for who checks them. See pages.py."""
        return self._database.walk()

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

    def hurry(self) -> None:
        """Somebody waits for what was submitted: it lingers for no company."""
        self._committer.hurry()

    def _submit(self, writes: Sequence[Write], *, urgent: bool) -> Future[None]:
        blobs: list[PreparedBlob] = []
        alone = False  # it may be refused for what is not there, and others need not suffer
        weight = _ROW * len(writes)
        for write in writes:
            limit = KEY_LIMIT
            if isinstance(write, (Put, Insert)):
                key = write.key
                weight += len(write.value)
            elif isinstance(write, PutBlob):
                blob = write.blob
                blobs.append(blob)
                if blob.content is not None:
                    weight += len(blob.content)
                else:
                    alone = True
                    weight += sum(len(one.content or b"") for one in blob.members)
                continue
            elif isinstance(write, Append):
                key, limit = write.prefix, KEY_LIMIT - NUMBER_SIZE
                weight += len(write.item)
            else:
                alone = alone or not isinstance(write, Delete)
                if isinstance(write, Need):
                    continue
                key = write.key
            if not 0 < len(key) <= limit:
                msg = f"a key has 1 to {KEY_LIMIT} bytes, not {len(key)}: {key[:20]!r}"
                raise StoreError(msg, self.path)
        if blobs:
            self._blobs.announce(blobs)
        return self._committer.submit(writes, weight, urgent=urgent, alone=alone)

    def _apply(self, batches: Sequence[Batch]) -> None:
        writes = [write for batch in batches for write in batch.writes]
        blobs = [write.blob for write in writes if type(write) is PutBlob]
        needs = [write for write in writes if isinstance(write, Condition)]
        named = [blob.digest for blob in blobs] + [need.blob for need in needs if isinstance(need, Need)]
        publish = self._blobs.publication(blobs)
        changes = Changes(writes, self._seals)

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            if needs:
                self._check(transaction, needs)
            if blobs:
                publish(transaction)
            if named:
                self._sweeper.note(transaction, named)
            changes.make(transaction, self._database.handles)

        self._database.write(job)
        self._published += sum(blob.size for blob in blobs)

    def _check(self, transaction: lmdb.Transaction[bytes], needs: Sequence[Need | NeedRow | Expect]) -> None:
        for need in needs:
            if isinstance(need, NeedRow):
                if transaction.get(need.key, None, self._database.handles[need.table]) is None:
                    raise RowMissing(need.table.value, need.key, self.path)
            elif isinstance(need, Expect):
                row = transaction.get(need.key, None, self._database.handles[need.table])
                found = None if row is None else self._seals[need.table].open(need.key, row)
                if (None if found is None else bytes(found)) != need.value:
                    raise RowChanged(need.table.value, need.key, self.path)
            elif not self._blobs.has(transaction, need.blob):
                raise BlobMissing(need.blob, self.path)

    def _settle(self, batches: Sequence[Batch]) -> None:
        blobs = _blobs_of(batches)
        if blobs:
            self._blobs.settle(blobs)

    # --- blobs

    def prepare(
        self,
        pieces: Sequence[bytes | memoryview],
        parts: Sequence[bytes | memoryview] = (),
        known: Sequence[Digest] = (),
    ) -> PreparedBlob:
        """Digest the concatenation of the pieces, ready for a PutBlob. Large ones are written here.

        With parts, the pieces are the head of a blob in parts: each part is stored once, whatever blobs have it. Where
        they were read from here, `known` are their digests: large ones that are there still are not looked through.
        """
        return self._blobs.prepare(pieces, parts, known)

    def locate(self, digest: Digest) -> list[Lying]:
        """Where another process finds the bytes that `get_pieces` gives. Raises BlobMissing, BlobDamaged."""
        from cas_store.outpost import Lying

        found = []
        for one, there, places in self._blobs.locate(digest):
            if isinstance(there, bytes):
                found.append(Lying(one, there))
            else:
                stamp = self._stamps.known(there.file_digest(one))
                found.append(Lying(one, None, tuple(map(str, places)), there.to_row(), stamp))
        return found

    def adopt(self, made: Sequence[Made]) -> PreparedBlob:
        """A blob that another process has written for this one (`Outpost.write`), ready for a PutBlob."""
        from cas_store.outpost import adopted

        members = adopted(made, self._files)
        return members[0] if len(members) == 1 else with_parts(members)

    def note_intact(self, stamps: Mapping[Digest, bytes]) -> None:
        """Another process has read these files through for this one, and they looked like this."""
        self._stamps.note_read_elsewhere(stamps)

    def remove_unfinished(self, name: str) -> None:
        """Remove what an outpost of this process, by its name, had not finished writing when it ended."""
        for path in self._layout.tmp.glob(f"{self._owners.own.hex()}-{name}*"):
            path.unlink(missing_ok=True)

    def get_blob(self, digest: Digest) -> memoryview:
        """The bytes of a blob: verified; writable, at no harm to the store, when large. Parts are copied together.

        Raises BlobMissing (BlobEvicted, if that was on purpose), BlobDamaged or CompressionMissing.
        """
        pieces = self.get_pieces(digest)
        return pieces[0] if len(pieces) == 1 else memoryview(bytearray().join(pieces))

    def get_pieces(self, digest: Digest) -> tuple[memoryview, ...]:
        """As `get_blob`, without a copy: the head of a blob, then its parts, if it has any."""
        try:
            return self._blobs.get(digest)
        except BlobMissing:
            if self.is_evicted(digest):
                raise BlobEvicted(digest, self.path) from None
            raise

    def members_of(self, digest: Digest) -> tuple[Digest, ...]:
        """What a blob in parts is made of: its head, then its parts; nothing of another."""
        return self._blobs.members_of(digest)

    def is_evicted(self, digest: Digest) -> bool:
        """Of a blob that is not there: whether it was taken away on purpose, to keep the store small."""
        return self.get(Table.EVICTED, digest) is not None

    def made_of(self, digests: Iterable[Digest]) -> set[Digest]:
        """These blobs, and all that are kept for them: the heads and parts of those that are in parts."""
        return self._blobs.made_of(digests)

    def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of the digests that no blob here has."""
        return self._blobs.find_missing(digests)

    @property
    def database_bytes(self) -> int:
        """What the file with all rows takes, small blobs among them, with the room that is free in it."""
        return (self._layout.durable / "data.mdb").stat().st_size

    def take_published(self) -> int:
        """The bytes of all blobs that this process has published since this was last asked, new or not."""
        came, self._published = self._published, 0
        return came

    def blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """The blobs that are there, in order, with the bytes that each takes on the disk."""
        return ((digest, size) for digest, size, _ in self._blobs.inventory())

    def inventory(self) -> Iterator[tuple[Digest, int, tuple[Digest, ...]]]:
        """As `blob_sizes`; of a blob in parts also what it is made of, which are blobs of their own."""
        return self._blobs.inventory()

    def put_aside(self, digest: Digest, identity: tuple[int, int], told: bytes) -> None:
        """Take a large blob into quarantine, if its file (device, inode) and its row are as they were found."""
        self._quarantine.file(digest, identity, digest + MARKER, told)

    def stray_blobs(self) -> Iterator[Digest]:
        """Files of blobs whose writer was killed before it could enter them."""
        return self._blobs.strays()

    def pieces(self, digest: Digest) -> tuple[int, Iterator[memoryview]]:
        """The size of a blob that is not in parts, and its bytes in pieces: memory does not grow with them.

        They are compared with the digest as they go, whatever `verify` says. Raises BlobMissing, BlobDamaged.
        """
        from cas_store.transit import pieces_of

        (view,) = self.get_pieces(digest)
        return view.nbytes, pieces_of(view, digest, lambda: self._read_through(digest))

    def in_parts(self, digest: Digest) -> bytes | None:
        """Of a blob in parts what its digest is made of; None for another."""
        return self._blobs.in_parts(digest)

    def staging(self) -> Staging:
        """A place for blobs on their way in from elsewhere, for a ``with`` block."""
        from cas_store.transit import Staging

        return Staging(self._layout, self._owners, self._files)

    def _read_through(self, digest: Digest) -> None:
        chosen, self.verify = self.verify, Verify.ALWAYS
        try:
            self.get_pieces(digest)
        finally:
            self.verify = chosen

    # --- as a whole

    def back_up(self, target: Path, told: Told | None = None) -> Backup:
        """Copy all of it into another folder while others write, or bring an earlier backup there up to date.

        Raises StoreRefused for a folder with anything else in it, StoreError.
        """
        from cas_store.backup import back_up

        return back_up(
            self._layout, self.id, self._database.copy, target, told, no_sweeps=lambda: self.barrier(_SWEEP_ENDS_S)
        )

    def compact(self) -> tuple[int, int]:
        """Give back the space that removed rows took; bytes of the rows before and after.

        Raises StoreRefused while another process has the store open; nothing has changed then.
        """
        self._committer.close()
        return self._database.compact(self._layout.tmp / f"{self._owners.own.hex()}-{os.urandom(8).hex()}")

    # --- texts that need not last

    def append_log(self, name: bytes, content: bytes) -> None:
        """Add to the text of that name. Not synced. Raises StoreError."""
        self._logs.append(name, content)

    def read_log(self, name: bytes, start: int, most: int) -> bytes:
        """A piece of a text, b"" at its end, and where there is none. Raises StoreError."""
        return self._logs.read(name, start, most)

    def remove_logs(self, names: Iterable[bytes]) -> None:
        """Take texts away."""
        self._logs.remove(names)

    def log_sizes(self) -> Iterator[tuple[bytes, int]]:
        """Every text, with its bytes."""
        return self._logs.sizes()

    # --- sweeping

    def barrier(self, wait_s: float = 0.0) -> AbstractContextManager[bytes]:
        """Sweep alone, and have all writers note what they name from now on. Raises SweepUnderWay."""
        self._files.sweep()
        return self._sweeper.barrier(wait_s)

    def take(self, barrier: bytes, victims: Iterable[Victim]) -> Iterator[tuple[Digest, int]]:
        """Take blobs away, but none that was named since the barrier, or is held; what went, with its bytes."""
        return self._sweeper.take(barrier, victims)

    def take_rows(self, barrier: bytes, rows: Iterable[OldRow]) -> int:
        """Take rows away, but none that has changed; how many went."""
        return self._sweeper.take_rows(barrier, rows)

    def hold(self, holder: bytes, digests: Sequence[Digest]) -> None:
        """No sweep is to take these blobs until the holder (a dispatch) lets go, or this process ends."""
        self._scratch.hold(holder, digests)

    def let_go(self, holder: bytes) -> None:
        """The holder wants nothing any more."""
        self._scratch.let_go(holder)

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


def _open_existing(path: str, verify: Verify, compress: bool) -> Store:
    store = Store.open(path, create=False)
    store.verify, store.compress = verify, compress
    return store


_stores: dict[Path, Store] = {}
_opening = forks.free_lock()
