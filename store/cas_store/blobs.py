"""Bytes by digest: small ones as rows, large ones as files that are renamed into place.

In the table of blobs a key of 16 bytes is a small blob; with one more byte (1) it says that a large one of
the digest was published, and its value is the size. Order of publishing: temporary file, fsync, and inside
the write transaction rename, fsync of the folder, row. Each crash on the way leaves a state that the next run
puts right.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb
from xxhash import xxh3_128

from cas_store import forks
from cas_store.database import Database
from cas_store.digest import DIGEST_SIZE, Digest, digest_of
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.faults import translate
from cas_store.layout import Layout, sync_folder
from cas_store.owners import Owners
from cas_store.quarantine import Quarantine
from cas_store.rows import Seal

SMALL = 64 << 10  # up to this many bytes a blob is a row
_PIECE = 1 << 20
_FILES = 1 << 16  # open at once, if the system allows
_LARGE = b"\x01"
_TABLE = "blobs"


class Temporary:
    """A file on its way into the store; removed when nobody can publish it any more."""

    __slots__ = ("_process", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()

    def __del__(self, getpid=os.getpid, unlink=os.unlink) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        if self._process != getpid():
            return  # a forked copy: the file is the parent's
        with suppress(OSError):  # published, or swept away
            unlink(self.path)


@dataclass(frozen=True, slots=True)
class PreparedBlob:
    """A blob ready to be published by this process: digest, size, and the bytes or the file that has them."""

    digest: Digest
    size: int
    content: bytes | None  # when small
    temporary: Temporary | None  # when large


class Blobs:
    """The blobs of one store."""

    def __init__(self, layout: Layout, database: Database, owners: Owners, seal: Seal, quarantine: Quarantine) -> None:
        self._layout = layout
        self._database = database
        self._owners = owners
        self._seal = seal
        self._quarantine = quarantine
        self._verified: dict[Digest, tuple[int, int, int]] = {}
        self._coming: dict[Digest, tuple[PreparedBlob, int]] = {}  # submitted, not yet durable; with a count
        self._lock = threading.Lock()
        self._folders: set[Path] = set()
        forks.watch(self)

    # --- writing

    def prepare(self, pieces: Sequence[bytes | memoryview]) -> PreparedBlob:
        """Digest the concatenation; write it to a temporary file, synced, if large and not there yet."""
        # Empty ones go first: an array of shape (0, 3) cannot be cast.
        views = [memoryview(piece).cast("B") for piece in pieces if memoryview(piece).nbytes]
        size = sum(view.nbytes for view in views)
        if size <= SMALL:
            content = b"".join(views)
            return PreparedBlob(digest_of(content), size, content, None)
        digest = digest_of(*views)
        path = self._layout.tmp / f"{self._owners.own.hex()}-{os.urandom(8).hex()}"
        temporary = Temporary(path)
        try:
            if not self._link(digest, size, path):
                _write_synced(path, views)
        except OSError as error:
            raise translate(error, self._layout.root, "writing a blob") from error
        return PreparedBlob(digest, size, None, temporary)

    def announce(self, blobs: Iterable[PreparedBlob]) -> None:
        """From now on readable in this process."""
        with self._lock:
            for blob in blobs:
                known = self._coming.get(blob.digest)
                self._coming[blob.digest] = (blob, 1) if known is None else (known[0], known[1] + 1)

    def settle(self, blobs: Iterable[PreparedBlob]) -> None:
        """Durable, or given up: no longer served from here."""
        with self._lock:
            for blob in blobs:
                known, count = self._coming[blob.digest]
                if count == 1:
                    del self._coming[blob.digest]
                else:
                    self._coming[blob.digest] = known, count - 1

    def publish(self, transaction: lmdb.Transaction[bytes], blobs: Sequence[PreparedBlob]) -> None:
        """Inside a write transaction. May be repeated."""
        handle = self._database.handles[_TABLE]
        self._make_folders({self._layout.blob(blob.digest).parent for blob in blobs if blob.temporary is not None})
        folders: set[Path] = set()
        for blob in blobs:
            if blob.content is not None:
                row = transaction.get(blob.digest, None, handle)
                if row is None or self._seal.open(blob.digest, row) is None:
                    transaction.put(blob.digest, self._seal.close(blob.digest, blob.content), db=handle)
                continue
            folders.add(self._move(blob))
            marker = blob.digest + _LARGE
            transaction.put(marker, self._seal.close(marker, blob.size.to_bytes(8, "big")), db=handle)
        for folder in folders:
            # Also where the file was there before: its writer may have been killed before this line.
            sync_folder(folder)

    def _link(self, digest: Digest, size: int, path: Path) -> bool:
        """If an intact one is there, give it a second name: whoever sweeps the first leaves the bytes."""
        present = self._layout.blob(digest)
        try:
            if present.stat().st_size != size or not self._is_intact(digest):
                return False
            path.hardlink_to(present)
        except (FileNotFoundError, PermissionError, BlobDamaged, BlobMissing):
            return False
        return True

    def _make_folders(self, wanted: set[Path]) -> None:
        """Those not seen yet by this process; synced also where they were there before, as below."""
        wanted -= self._folders
        if not wanted:
            return
        for folder in wanted:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        sync_folder(self._layout.blobs)
        self._folders |= wanted

    def _move(self, blob: PreparedBlob) -> Path:
        assert blob.temporary is not None  # noqa: S101
        path = self._layout.blob(blob.digest)
        folder = path.parent
        try:
            blob.temporary.path.rename(path)  # over an equal one, should it have come there meanwhile
            with suppress(FileNotFoundError):
                blob.temporary.path.unlink()  # left where it is if it is a link to the very one there
        except FileNotFoundError as error:
            if not folder.is_dir():  # somebody removed it since we made it
                self._folders.discard(folder)
                self._make_folders({folder})
                return self._move(blob)
            # The job is run again, or the blob was published by an earlier batch.
            if not path.is_file() or path.stat().st_size != blob.size:
                raise BlobMissing(blob.digest, self._layout.root) from error
        return folder

    def has(self, transaction: lmdb.Transaction[bytes], digest: Digest) -> bool:
        """Inside a write transaction: whether a blob is there."""
        handle = self._database.handles[_TABLE]
        if transaction.get(digest, None, handle) is not None:
            return True
        return self._has_file(transaction.get(digest + _LARGE, None, handle), digest)

    def remove(self, transaction: lmdb.Transaction[bytes], digest: Digest) -> int:
        """Inside a write transaction: take a blob away; the bytes that this frees. May be repeated."""
        handle = self._database.handles[_TABLE]
        row = transaction.get(digest, None, handle)
        freed = 0 if row is None else len(row)
        transaction.delete(digest, b"", handle)
        transaction.delete(digest + _LARGE, b"", handle)
        path = self._layout.blob(digest)
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            freed += size
        return freed

    def sizes(self) -> Iterator[tuple[Digest, int]]:
        """The blobs that are there, by digest, with the bytes that each takes; what is in them is not read."""
        view = self._database.view(buffers=True)
        try:
            for key, size, head in view.sizes(_TABLE):
                if len(key) == DIGEST_SIZE:
                    yield key, size
                elif key[DIGEST_SIZE:] == _LARGE:
                    yield key[:DIGEST_SIZE], int.from_bytes(head, "big")
        finally:
            view.close()

    def strays(self) -> Iterator[Digest]:
        """Files that no row knows of: their writer was killed before it came to that."""
        view = self._database.view()
        try:
            for folder in sorted(self._layout.blobs.iterdir()):
                for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                    try:
                        digest = bytes.fromhex(path.name)
                    except ValueError:
                        continue  # not ours
                    if len(digest) == DIGEST_SIZE and not view.has(_TABLE, digest + _LARGE):
                        yield digest
        finally:
            view.close()

    def sweep(self) -> None:
        """Remove what dead processes left unfinished."""
        for path in self._layout.tmp.iterdir():
            owner, _, _ = path.name.partition("-")
            try:
                name = bytes.fromhex(owner)
            except ValueError:
                continue  # not ours
            if not self._owners.is_alive(name):
                path.unlink(missing_ok=True)

    # --- reading

    def get(self, digest: Digest) -> memoryview:
        """The bytes: read-only when small, a private and writable mapping when large."""
        coming = self._coming.get(digest)
        if coming is not None and coming[0].content is not None:
            return memoryview(coming[0].content)
        view = self._database.view()
        try:
            row = view.get(_TABLE, digest)
        finally:
            view.close()
        if row is not None:
            content = self._seal.open(digest, row)
            if content is None:
                self._quarantine.row(_TABLE, digest, self._seal)
                raise BlobDamaged(digest, self._layout.root)
            return memoryview(content)
        return self._map(digest)

    def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are not there. Sizes of files are looked at, contents are not."""
        missing = set()
        view = self._database.view()
        try:
            for digest in sorted(set(digests)):
                if view.has(_TABLE, digest) or digest in self._coming:
                    continue
                if not self._has_file(view.get(_TABLE, digest + _LARGE), digest):
                    missing.add(digest)
        finally:
            view.close()
        return missing

    def _has_file(self, row: bytes | None, digest: Digest) -> bool:
        size = self._seal.open(digest + _LARGE, row) if row is not None else None
        if size is None:
            return False
        try:
            return self._layout.blob(digest).stat().st_size == int.from_bytes(size, "big")
        except FileNotFoundError:
            return False

    def _map(self, digest: Digest) -> memoryview:
        while True:
            try:
                return memoryview(self._mapping(digest))
            except OSError as error:
                # Before Python 3.13 each mapping keeps a descriptor for as long as somebody holds the value.
                if error.errno == errno.EMFILE and _allow_more_files():
                    continue
                raise translate(error, self._layout.root, f"reading blob {digest.hex()[:12]}") from error

    def _mapping(self, digest: Digest) -> mmap.mmap:
        descriptor = self._open_file(digest)
        try:
            self._verify(digest, descriptor)
            size = os.fstat(descriptor).st_size
            if sys.version_info >= (3, 13):
                return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY, trackfd=False)
            return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)

    def _open_file(self, digest: Digest) -> int:
        places = [self._layout.blob(digest)]
        coming = self._coming.get(digest)
        if coming is not None and coming[0].temporary is not None:
            # It moves from the one to the other at any moment.
            places += [coming[0].temporary.path, places[0]]
        for path in places:
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
        raise BlobMissing(digest, self._layout.root)

    def _is_intact(self, digest: Digest) -> bool:
        descriptor = self._open_file(digest)
        try:
            self._verify(digest, descriptor)
        finally:
            os.close(descriptor)
        return True

    def _verify(self, digest: Digest, descriptor: int) -> None:
        """Once per file and process; by reading, not by mapping: a failing disk is then no signal."""
        found = os.fstat(descriptor)
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._verified.get(digest) == stamp:
            return
        if not _has_digest(descriptor, digest):
            self._quarantine.file(digest, (found.st_dev, found.st_ino), digest + _LARGE)
            raise BlobDamaged(digest, self._layout.root)
        self._verified[digest] = stamp

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        # What the parent has submitted stays readable: small ones are in memory, large ones where they were.
        self._lock = threading.Lock()


def _has_digest(descriptor: int, digest: Digest) -> bool:
    state = xxh3_128()
    offset = 0
    try:
        while piece := os.pread(descriptor, _PIECE, offset):
            state.update(piece)
            offset += len(piece)
    except OSError as error:
        if error.errno == errno.EIO:
            return False  # the disk has lost it
        raise
    return state.digest() == digest


def _allow_more_files() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _FILES) if hard != resource.RLIM_INFINITY else _FILES
    if soft >= wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True


def _write_synced(path: Path, views: Sequence[memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        for view in views:
            rest = view
            while rest.nbytes:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
