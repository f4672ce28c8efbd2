"""A copy of a store that is consistent though others write meanwhile, and that opens as a store.

First the large blobs that are there, then the rows of one moment, then the large blobs that came in between: so each
blob that the rows name is in the copy. A later backup into the same folder copies what is new. Wherever it is killed,
the folder holds the earlier backup still, or none that opens.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb

from cas_store.datafile import last_transaction
from cas_store.digest import DIGEST_SIZE
from cas_store.errors import StoreError, StoreRefused, SweepUnderWay
from cas_store.faults import translate
from cas_store.largefiles import MARKER
from cas_store.layout import Layout, expanded, identity_text, parse_identity, sync_folder, write_durably
from cas_store.opening import locked
from cas_store.tables import Table
from cas_store.tenancy import alone

_MARKER = "BACKUP"
_NOBODY = "0" * 32  # what is left in tmp/ belongs to no living process
_ROUNDS = 5
_ELSEWHERE = "  -> name an empty folder, a new one, or an earlier backup of this store"

Told = Callable[[int, int], None]  # bytes done, of how many


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup did. `missing` large blobs are named by rows, and were not in the store either."""

    path: str
    copied: int  # large blobs
    kept: int  # those that were there from an earlier backup
    removed: int  # those of an earlier backup that nothing names any more
    missing: int
    size: int  # bytes of the whole


def back_up(
    layout: Layout,
    store_id: bytes,
    copy_rows: Callable[[int], None],
    target: Path,
    told: Told | None,
    *,
    no_sweeps: Callable[[], AbstractContextManager[object]],
) -> Backup:
    """Make `target` a copy of the store, or bring it up to date. Raises StoreRefused, StoreError.

    While `no_sweeps()` is entered, nobody takes blobs away; where somebody does, that raises SweepUnderWay.
    """
    target = Path(os.path.realpath(expanded(target)))
    try:
        _check_place(layout.root, target)
        if not target.exists():
            target.mkdir(mode=0o700)
            sync_folder(target.parent)
        with _only_one(target):
            return _Target(layout, store_id, target, told, no_sweeps).fill(copy_rows)
    except OSError as error:
        raise translate(error, target, "writing a backup") from error


class _Target:
    def __init__(
        self,
        source: Layout,
        store_id: bytes,
        root: Path,
        told: Told | None,
        no_sweeps: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._source = source
        self._id = store_id
        self._to = Layout(root)
        self._told = told
        self._no_sweeps = no_sweeps
        self._copied: set[str] = set()
        self._kept: set[str] = set()
        self._done = self._total = 0

    def fill(self, copy_rows: Callable[[int], None]) -> Backup:
        transactions = self._check_earlier()
        self._to.root.chmod(0o700)
        self._mark(transactions)
        for folder in self._to.folders():
            folder.mkdir(mode=0o700, exist_ok=True)
        for left in (*self._to.tmp.iterdir(), *filter(_is_left, self._to.root.iterdir())):
            left.unlink()
        self._total = _size_of(_files(self._source.blobs))
        self._copy_blobs()
        rows, named, missing = self._copy_rows(copy_rows)
        self._mark([*transactions[-1:], last_transaction(rows)])
        rows.rename(self._to.durable / "data.mdb")
        sync_folder(self._to.durable)
        if not self._to.identity.exists():
            write_durably(self._to.identity, identity_text(self._id))
        removed = self._remove_others(named)
        self._copy_logs()
        kept = (self._kept - self._copied) & {digest.hex() for digest in named}
        size = _size_of([self._to.durable / "data.mdb", *_files(self._to.blobs)])
        return Backup(str(self._to.root), len(self._copied), len(kept), removed, len(missing), size)

    def _check_earlier(self) -> list[int]:
        """The transactions that the rows of an earlier backup may be of. Raises StoreRefused unless it is one."""
        root = self._to.root
        try:
            marked = json.loads((root / _MARKER).read_bytes())
            store, transactions = bytes.fromhex(marked["store"]), [int(n) for n in marked["transactions"]]
        except FileNotFoundError:
            if any(not _is_left(path) for path in root.iterdir()):
                raise StoreRefused(f"{root} is not empty, and is not a backup\n{_ELSEWHERE}", root) from None
            return []
        except (ValueError, KeyError, TypeError):
            raise StoreRefused(f"{root / _MARKER} cannot be read\n{_ELSEWHERE}", root) from None
        other = self._to.identity.exists() and parse_identity(self._to.identity.read_bytes(), root) != self._id
        if store != self._id or other:
            raise StoreRefused(f"{root} is a backup of another store\n{_ELSEWHERE}", root)
        if (self._to.durable / "data.mdb").exists():
            with alone(self._to.durable, "the backup"):
                if last_transaction(self._to.durable / "data.mdb") not in transactions:
                    msg = f"{root} was used as a store since it was made, and has results of its own\n{_ELSEWHERE}"
                    raise StoreRefused(msg, root)
        return transactions

    def _mark(self, transactions: list[int]) -> None:
        marked = {"store": self._id.hex(), "transactions": transactions, "made": time.time()}
        write_durably(self._to.root / _MARKER, json.dumps(marked).encode() + b"\n")

    def _copy_rows(self, copy_rows: Callable[[int], None]) -> tuple[Path, set[bytes], set[bytes]]:
        """Rows, and the large blobs that they name: again where a garbage collection came in between."""
        before: set[bytes] | None = None
        with ExitStack() as alone:
            for turn in range(_ROUNDS):
                if turn == _ROUNDS - 1:  # they come in between each time
                    with suppress(SweepUnderWay):
                        alone.enter_context(self._no_sweeps())
                path, named, missing = self._copy_rows_once(copy_rows)
                if not missing or missing == before:
                    break
                before = missing
        return path, named, missing

    def _copy_rows_once(self, copy_rows: Callable[[int], None]) -> tuple[Path, set[bytes], set[bytes]]:
        path = self._to.tmp / f"{_NOBODY}-rows"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # For a moment LMDB's lock is held, past the row before it (see turns.py): one more there is no harm, two
            # might be.
            with locked(self._source.tmp):
                copy_rows(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._copy_blobs()
        named = _large_blobs(path)
        return path, named, {digest for digest in named if not self._to.blob(digest).exists()}

    def _copy_blobs(self) -> None:
        folders = set()
        for path in _files(self._source.blobs):
            to = self._to.blobs / path.parent.name / path.name
            with suppress(FileNotFoundError):  # collected since it was listed
                size = path.stat().st_size
                if to.exists() and to.stat().st_size == size:
                    self._kept.add(path.name)
                    continue
                to.parent.mkdir(mode=0o700, exist_ok=True)
                self._copy(path, to)
                folders.add(to.parent)
                self._copied.add(path.name)
                self._done += size
                if self._told is not None:
                    self._told(self._done, max(self._done, self._total))
        for folder in folders:
            sync_folder(folder)
        sync_folder(self._to.blobs)

    def _copy(self, path: Path, to: Path) -> None:
        temporary = self._temporary()
        with path.open("rb") as source:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            with os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
                os.fsync(descriptor)
        temporary.rename(to)

    def _copy_logs(self) -> None:
        for path in self._source.logs.iterdir():
            to = self._to.logs / path.name
            with suppress(FileNotFoundError):
                if not to.exists() or to.stat().st_size != path.stat().st_size:
                    self._copy(path, to)
        for path in self._to.logs.iterdir():
            if not (self._source.logs / path.name).exists():
                path.unlink()

    def _temporary(self) -> Path:
        return self._to.tmp / f"{_NOBODY}-{os.urandom(8).hex()}"

    def _remove_others(self, named: set[bytes]) -> int:
        names = {digest.hex() for digest in named}
        others = [path for path in _files(self._to.blobs) if path.name not in names]
        for path in others:
            path.unlink()
        return len(others)


def _is_left(path: Path) -> bool:
    """Whether it is what a backup that was killed had been about to move into place."""
    return path.name.startswith((f".{_MARKER}.", ".STORE.")) and path.is_file()


def _check_place(root: Path, target: Path) -> None:
    if target == root or root in target.parents or target in root.parents:
        raise StoreRefused(f"{target} is the store itself, or one is inside the other\n{_ELSEWHERE}", target)
    if target.exists() and not target.is_dir():
        raise StoreRefused(f"{target} is not a folder\n{_ELSEWHERE}", target)
    if not target.parent.is_dir():
        raise StoreRefused(f"there is no folder {target.parent}\n  -> make it first, or name another", target)


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"another backup is being written to {target}\n  -> try again when that has ended"
            raise StoreRefused(msg, target) from error
        yield
    finally:
        os.close(descriptor)


def _files(blobs: Path) -> Iterator[Path]:
    for folder in sorted(blobs.iterdir()):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if len(path.name) == 2 * DIGEST_SIZE)


def _size_of(paths: Iterable[Path]) -> int:
    size = 0
    for path in paths:
        with suppress(FileNotFoundError):  # collected since it was listed
            size += path.stat().st_size
    return size


def _large_blobs(path: Path) -> set[bytes]:
    """The digests for which a copy of the rows says that there is a file."""
    name = Table.BLOBS.value.encode()
    try:
        env = lmdb.open(os.fsencode(path), subdir=False, readonly=True, lock=False, max_dbs=len(Table), lib_version=0)
        try:
            with env.begin() as transaction:
                keys = transaction.cursor(env.open_db(name, txn=transaction)).iternext(values=False)
                return {key[:DIGEST_SIZE] for key in keys if key[DIGEST_SIZE:] == MARKER}
        finally:
            env.close()
    except lmdb.Error as error:
        msg = f"the copy of the rows cannot be read: {error}\n  -> look at the store with `cas-run doctor`"
        raise StoreError(msg, path) from error
