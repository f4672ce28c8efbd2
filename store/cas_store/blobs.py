"""Bytes by digest: small ones as rows, large ones as files, and blobs in parts, which are made of other blobs.

In the table of blobs a key of 16 bytes is a small blob. With one more byte (1) it says that a large one of the digest
was published, and how it lies in its file; with another (2) that the blob is a head and parts, each a blob of its own,
so that a part which several blobs have is stored once. Order of publishing: temporary file, fsync, and inside the write
transaction rename, fsync of the folder, row. Each crash on the way leaves a state that the next run puts right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import lmdb

from cas_store import forks
from cas_store.database import Database
from cas_store.digest import DIGEST_SIZE, Digest, digest_of, digest_of_one
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.largefiles import MARKER, Files, Kept, Temporary
from cas_store.layout import Layout, sync_folder
from cas_store.quarantine import Quarantine
from cas_store.rows import Seal
from cas_store.threads import side_by_side
from cas_store.views import View

SMALL = 64 << 10  # up to this many bytes a blob is a row
MEMBERS = b"\x02"
_SIZE = 8
_TABLE = "blobs"


class PreparedBlob(NamedTuple):  # as `writes` are: one is made for each node
    """A blob ready to be published by this process: digest, size, and what has the bytes."""

    digest: Digest
    size: int
    content: bytes | None  # when small
    temporary: Temporary | None  # when large
    kept: Kept | None = None  # when large
    members: tuple[PreparedBlob, ...] = ()  # when in parts: the head, then the parts


class Blobs:
    """The blobs of one store."""

    def __init__(self, layout: Layout, database: Database, files: Files, seal: Seal, quarantine: Quarantine) -> None:
        self._layout = layout
        self._database = database
        self._files = files
        self._seal = seal
        self._quarantine = quarantine
        self._coming: dict[Digest, tuple[PreparedBlob, int]] = {}  # submitted, not yet durable; with a count
        self._lock = threading.Lock()
        forks.watch(self)

    # --- writing

    def prepare(
        self, pieces: Sequence[bytes | memoryview], parts: Sequence[bytes | memoryview], known: Sequence[Digest] = ()
    ) -> PreparedBlob:
        """Digest the concatenation, and each part; write what is large and not there yet to files, synced.

        Of parts that were read from here `known` has the digests.
        """
        if not parts and len(pieces) == 1 and type(piece := pieces[0]) is bytes and len(piece) <= SMALL:
            return PreparedBlob(digest_of_one(piece), len(piece), piece, None)
        return prepared(pieces, parts, self._link, self._files, known)

    def _link(self, digest: Digest, size: int) -> PreparedBlob | None:
        kept = self._find(digest)
        if not isinstance(kept, Kept) or kept.size != size:
            return None
        temporary = self._files.link(digest, kept, self._places(digest))
        return None if temporary is None else PreparedBlob(digest, size, None, temporary, kept)

    def announce(self, blobs: Sequence[PreparedBlob]) -> None:
        """From now on readable in this process."""
        with self._lock:
            for blob in blobs if len(blobs) == 1 and not blobs[0].members else _with_members(blobs):
                known = self._coming.get(blob.digest)
                self._coming[blob.digest] = (blob, 1) if known is None else (known[0], known[1] + 1)

    def settle(self, blobs: Iterable[PreparedBlob]) -> None:
        """Durable, or given up: no longer served from here."""
        with self._lock:
            for blob in _with_members(blobs):
                known, count = self._coming[blob.digest]
                if count == 1:
                    del self._coming[blob.digest]
                else:
                    self._coming[blob.digest] = known, count - 1
        self._files.note_moved()

    def publication(self, blobs: Sequence[PreparedBlob]) -> Callable[[lmdb.Transaction[bytes]], None]:
        """What publishes them inside a write transaction, all of it that can be done before. May be repeated."""
        blobs = list(_with_members(blobs))
        large = [blob for blob in blobs if blob.kept is not None]
        rows: dict[bytes, bytes] = {}
        for blob in blobs:
            if blob.content is not None:
                rows[blob.digest] = blob.content
            elif blob.kept is None:
                rows[blob.digest + MEMBERS] = _row_of(blob.size, blob.members)
        close = self._seal.close
        sealed = [(key, close(key, rows[key])) for key in sorted(rows)]

        def publish(transaction: lmdb.Transaction[bytes]) -> None:
            self._enter(transaction, sealed)
            if large:
                self._files.make_folders({self._layout.blob(blob.digest).parent for blob in large})
                # Also where the file was there before: its writer may have been killed before this line.
                folders = {self._move(transaction, blob) for blob in large}
                side_by_side(sync_folder, sorted(folders))

        return publish

    def _enter(self, transaction: lmdb.Transaction[bytes], rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Rows by order of key, but none in the place of an intact one."""
        handle = self._database.handles[_TABLE]
        with transaction.cursor(handle) as cursor:
            _, added = cursor.putmulti(rows, overwrite=False)
        if added == len(rows):
            return
        for key, row in rows:
            if self._value_now(transaction, key) is None:
                transaction.put(key, row, db=handle)

    def _move(self, transaction: lmdb.Transaction[bytes], blob: PreparedBlob) -> Path:
        kept, temporary = blob.kept, blob.temporary
        assert kept is not None and temporary is not None  # noqa: S101, PT018 - it is a large one
        handle = self._database.handles[_TABLE]
        marker = blob.digest + MARKER
        value = self._value_now(transaction, marker)
        if value is not None:
            there = Kept.from_row(value)
            if there != kept and self._files.is_there(blob.digest, there):
                # Compressed there and not here, or the other way round: whoever reads that row may be about to open
                # that file.
                return self._layout.blob(blob.digest).parent
        folder = self._files.move(blob.digest, kept, temporary)
        transaction.put(marker, self._seal.close(marker, kept.to_row()), db=handle)
        return folder

    def in_parts(self, digest: Digest) -> bytes | None:
        """What the digest of a blob in parts is made of, as `assembled` reads it; None for one that is not in parts."""
        view = self._database.view()
        try:
            return self._opened(digest + MEMBERS, view.get(_TABLE, digest + MEMBERS))
        finally:
            view.close()

    def members_of(self, digest: Digest) -> tuple[Digest, ...]:
        """What one in parts is made of: its head, then its parts; nothing of another."""
        found = self._find(digest)
        return found if isinstance(found, tuple) else ()

    def has(self, transaction: lmdb.Transaction[bytes], digest: Digest) -> bool:
        """Inside a write transaction: whether a blob is there, with all its parts."""
        if self._has_one(transaction, digest):
            return True
        members = self._members_now(transaction, digest)
        return bool(members) and all(self._has_one(transaction, member) for member in members)

    def made_of_now(self, transaction: lmdb.Transaction[bytes], digests: Iterable[Digest]) -> set[Digest]:
        """Inside a write transaction: as `made_of`."""
        found = set(digests)
        for digest in sorted(found):
            found.update(self._members_now(transaction, digest))
        return found

    def remove(self, transaction: lmdb.Transaction[bytes], digest: Digest) -> int:
        """Inside a write transaction: take a blob away; the bytes that this frees. May be repeated.

        Of one in parts only what says so: its head and its parts are blobs that others may have.
        """
        handle = self._database.handles[_TABLE]
        freed = 0
        for key in (digest, digest + MEMBERS):
            row = transaction.get(key, None, handle)
            freed += 0 if row is None else len(row)
            transaction.delete(key, b"", handle)
        has_file = transaction.delete(digest + MARKER, b"", handle)
        # Small ones have none, which need not be asked for each; what no row tells of may be left of who was killed.
        return freed if freed and not has_file else freed + self._files.remove(digest)

    def inventory(self) -> Iterator[tuple[Digest, int, tuple[Digest, ...]]]:
        """The blobs that are there, by digest, with the bytes that each takes; what is in them is not read.

        Of one in parts what its row takes, and what it is made of: its head and its parts are told of by themselves.
        """
        view = self._database.view(buffers=True)
        try:
            for key, size, value in view.sizes(_TABLE):
                if len(key) == DIGEST_SIZE:
                    yield key, size, ()
                elif key[DIGEST_SIZE:] == MEMBERS:
                    yield key[:DIGEST_SIZE], size, members_in(value)
                elif key[DIGEST_SIZE:] == MARKER:
                    yield key[:DIGEST_SIZE], Kept.file_size_in(value[:_SIZE]), ()
        finally:
            view.close()

    def strays(self) -> Iterator[Digest]:
        """Files that no row knows of: their writer was killed before it came to that."""
        view = self._database.view()
        try:
            for digest in self._files.there():
                if not view.has(_TABLE, digest + MARKER):
                    yield digest
        finally:
            view.close()

    def _has_one(self, transaction: lmdb.Transaction[bytes], digest: Digest) -> bool:
        handle = self._database.handles[_TABLE]
        if transaction.get(digest, None, handle) is not None:
            return True
        value = self._value_now(transaction, digest + MARKER)
        return value is not None and self._files.is_there(digest, Kept.from_row(value))

    def _members_now(self, transaction: lmdb.Transaction[bytes], digest: Digest) -> tuple[Digest, ...]:
        return members_in(self._value_now(transaction, digest + MEMBERS))

    def _value_now(self, transaction: lmdb.Transaction[bytes], key: bytes) -> bytes | None:
        row = transaction.get(key, None, self._database.handles[_TABLE])
        return None if row is None else self._seal.open(key, row)

    # --- reading

    def get(self, digest: Digest) -> tuple[memoryview, ...]:
        """The bytes; of a blob in parts those of its head, then of each part.

        Each is read-only when small, private and writable when large: a mapping, or what was unpacked.
        """
        found = self._find(digest)
        if isinstance(found, bytes):
            return (memoryview(found),)
        if not isinstance(found, tuple):
            return (self._bytes(digest, found),)
        try:
            return tuple(self._bytes(member, self._find(member)) for member in found)
        except BlobMissing as error:
            raise BlobMissing(digest, self._layout.root) from error
        except BlobDamaged as error:
            raise BlobDamaged(digest, self._layout.root) from error

    def locate(self, digest: Digest) -> list[tuple[Digest, bytes | Kept, list[Path]]]:
        """Where the bytes are that `get` gives, with the digest of each piece; files are not looked at."""
        found = self._find(digest)
        pieces = [(digest, found)] if not isinstance(found, tuple) else [(one, self._find(one)) for one in found]
        located: list[tuple[Digest, bytes | Kept, list[Path]]] = []
        for one, there in pieces:
            if there is None or isinstance(there, tuple):
                raise BlobMissing(digest, self._layout.root)
            located.append((one, there, [] if isinstance(there, bytes) else self._places(one)))
        return located

    def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are not there. Sizes of files are looked at, contents are not."""
        missing = self._missing(digests)
        # What became durable after the look began is in it neither as coming nor as there.
        return self._missing(missing) if missing else missing

    def _missing(self, digests: Iterable[Digest]) -> set[Digest]:
        missing = set()
        view = self._database.view()
        try:
            for digest in sorted(set(digests)):
                if not self._is_there(view, digest):
                    members = self._members(view, digest)
                    if not members or not all(self._is_there(view, member) for member in members):
                        missing.add(digest)
        finally:
            view.close()
        return missing

    def made_of(self, digests: Iterable[Digest]) -> set[Digest]:
        """These, and the heads and parts of those that are in parts: all that is kept for them."""
        found = set(digests)
        view = self._database.view()
        try:
            for digest in sorted(found):
                found.update(self._members(view, digest))
        finally:
            view.close()
        return found

    def _find(self, digest: Digest) -> bytes | Kept | tuple[Digest, ...] | None:
        """A small blob, how a large one lies in its file, the members of one in parts, or None."""
        coming = self._coming.get(digest)
        if coming is not None:
            blob = coming[0]
            return blob.content if blob.content is not None else blob.kept or _digests(blob.members)
        row = self._database.get(_TABLE, digest)
        if row is not None:
            content = self._seal.open(digest, row)
            if content is None:
                self._quarantine.row(_TABLE, digest, self._seal)
                raise BlobDamaged(digest, self._layout.root)
            return content
        view = self._database.view()
        try:
            return self._kept(view, digest) or self._members(view, digest) or None
        finally:
            view.close()

    def _bytes(self, digest: Digest, found: bytes | Kept | tuple[Digest, ...] | None) -> memoryview:
        if isinstance(found, bytes):
            return memoryview(found)
        if isinstance(found, tuple):  # as a member of another; nothing writes such a one
            raise BlobDamaged(digest, self._layout.root)
        return self._files.read(digest, found, self._places(digest))

    def _is_there(self, view: View, digest: Digest) -> bool:
        if view.has(_TABLE, digest) or digest in self._coming:
            return True
        kept = self._kept(view, digest)
        return kept is not None and self._files.is_there(digest, kept)

    def _kept(self, view: View, digest: Digest) -> Kept | None:
        value = self._opened(digest + MARKER, view.get(_TABLE, digest + MARKER))
        return Kept.from_row(value) if value is not None else None

    def _members(self, view: View, digest: Digest) -> tuple[Digest, ...]:
        return members_in(self._opened(digest + MEMBERS, view.get(_TABLE, digest + MEMBERS)))

    def _opened(self, key: bytes, row: bytes | None) -> bytes | None:
        value = None if row is None else self._seal.open(key, row)
        if row is not None and value is None:
            self._quarantine.row(_TABLE, key, self._seal)
        return value

    def _places(self, digest: Digest) -> list[Path]:
        """Where its file may lie: on its way in it moves from the one to the other at any moment."""
        coming = self._coming.get(digest)
        temporary = coming[0].temporary if coming is not None else None
        published = self._layout.blob(digest)
        return [published] if temporary is None else [temporary.path, published]

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        # What the parent has submitted stays readable: small ones are in memory, large ones where they were.
        self._lock = threading.Lock()


Link = Callable[[Digest, int], "PreparedBlob | None"]  # a large blob that is there already


def prepared(
    pieces: Sequence[bytes | memoryview],
    parts: Sequence[bytes | memoryview],
    link: Link,
    files: Files,
    known: Sequence[Digest] = (),
) -> PreparedBlob:
    """A blob ready to be published: digests taken, and what is large in files, synced."""
    head = _prepared(_views(pieces), None, link, files)
    if not parts:
        return head
    return with_parts([head, *_prepared_parts([_views([part]) for part in parts], known, link, files)])


def with_parts(members: Sequence[PreparedBlob]) -> PreparedBlob:
    """The blob that a head and its parts make."""
    size = sum(member.size for member in members)
    return PreparedBlob(_digest_in_parts(_row_of(size, members)), size, None, None, None, tuple(members))


def _prepared_parts(
    parts: Sequence[Sequence[memoryview]], known: Sequence[Digest], link: Link, files: Files
) -> list[PreparedBlob]:
    # Small ones are written again by whoever has them, so that they are digested again too.
    large = [sum(view.nbytes for view in part) > SMALL for part in parts]
    digests = [known[i] if known and large[i] else digest_of(*part) for i, part in enumerate(parts)]
    distinct = dict(zip(digests, parts, strict=True))
    # Each waits for the disk, which takes many for the time of one.
    ready = side_by_side(lambda one: _prepared(one[1], one[0], link, files), list(distinct.items()))
    by_digest = dict(zip(distinct, ready, strict=True))
    return [by_digest[digest] for digest in digests]


def _prepared(views: Sequence[memoryview], digest: Digest | None, link: Link, files: Files) -> PreparedBlob:
    size = sum(view.nbytes for view in views)
    if size <= SMALL:
        content = b"".join(views)
        return PreparedBlob(digest or digest_of(content), size, content, None)
    digest = digest or digest_of(*views)
    linked = link(digest, size)
    if linked is not None:
        return linked
    digest, temporary, kept = files.write(views, size)
    return PreparedBlob(digest, size, None, temporary, kept)


def _views(pieces: Sequence[bytes | memoryview]) -> list[memoryview]:
    # Empty ones go first: an array of shape (0, 3) cannot be cast.
    return [memoryview(piece).cast("B") for piece in pieces if memoryview(piece).nbytes]


def assembled(digest: Digest, row: bytes, find: Callable[[Digest], PreparedBlob | None]) -> PreparedBlob | None:
    """The blob in parts that a row from elsewhere tells of, of members that are at hand; None if it is not that."""
    members = [find(member) for member in members_in(row)]
    found = tuple(member for member in members if member is not None and not member.members)
    size = sum(member.size for member in found)
    if not found or len(found) != len(members) or row != _row_of(size, found) or _digest_in_parts(row) != digest:
        return None
    return PreparedBlob(digest, size, None, None, None, found)


def _digest_in_parts(row: bytes) -> Digest:
    return digest_of(b"blob in parts\0" + row)


def _with_members(blobs: Iterable[PreparedBlob]) -> Iterator[PreparedBlob]:
    for blob in blobs:
        if blob.members:
            yield from blob.members
        yield blob


def _digests(members: Sequence[PreparedBlob]) -> tuple[Digest, ...]:
    return tuple(member.digest for member in members)


def _row_of(size: int, members: Sequence[PreparedBlob]) -> bytes:
    return size.to_bytes(_SIZE, "big") + b"".join(_digests(members))


def members_in(row: bytes | None) -> tuple[Digest, ...]:
    """The head and the parts that such a row names; none without a row."""
    if row is None:
        return ()
    return tuple(row[at : at + DIGEST_SIZE] for at in range(_SIZE, len(row), DIGEST_SIZE))
