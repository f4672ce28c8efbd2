"""Blobs on their way out of one store and into another, in pieces: memory does not grow with them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from xxhash import xxh3_128

from cas_store.blobs import SMALL, PreparedBlob, assembled, members_in
from cas_store.digest import Digest, digest_of
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.faults import translate
from cas_store.largefiles import Files
from cas_store.layout import Layout
from cas_store.owners import Owners
from cas_store.writes import PutBlob, Write

if TYPE_CHECKING:
    from typing_extensions import Self

_T = TypeVar("_T")

PIECE = 1 << 20
_AT_ONCE = 8 << 20  # bytes of small blobs in one commit
_ROW = 4096  # what a large one counts there: others wait while it is renamed


def pieces_of(view: memoryview, digest: Digest, tell: Callable[[], object]) -> Iterator[memoryview]:
    """The bytes of a blob in pieces. `tell` is called, to raise BlobDamaged, if they do not have the digest."""
    mapped = view.obj if isinstance(view.obj, mmap.mmap) else None
    state = xxh3_128()
    for at in range(0, view.nbytes, PIECE):
        piece = view[at : at + PIECE]
        state.update(piece)
        yield piece
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            # Else what was read once stays in this process's memory for as long as the whole is mapped.
            mapped.madvise(mmap.MADV_DONTNEED, at, len(piece))
    if state.digest() != digest:
        tell()
        raise BlobDamaged(digest)


class Staging:
    """Blobs from elsewhere: verified and written to `tmp/`, seen by nobody until they are published.

    Small ones lie side by side in one file, large ones in one each. All are gone when this is closed, or swept away
    when its process was killed.
    """

    def __init__(self, layout: Layout, owners: Owners, files: Files) -> None:
        self._layout = layout
        self._owners = owners
        self._files = files
        self._spool = -1
        self._end = 0
        self._small: dict[Digest, tuple[int, int]] = {}  # offset and size in the spool
        self._large: dict[Digest, PreparedBlob] = {}
        self._in_parts: dict[Digest, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget what is not published. Idempotent."""
        self._large.clear()
        self._small.clear()
        self._in_parts.clear()
        if self._spool >= 0:
            os.close(self._spool)
            self._spool = -1

    def __len__(self) -> int:
        return len(self._small) + len(self._large) + len(self._in_parts)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._small or digest in self._large or digest in self._in_parts

    def digests(self) -> list[Digest]:
        """All that is here, in order."""
        return sorted([*self._small, *self._large, *self._in_parts])

    def made_of(self, digests: Iterable[Digest]) -> set[Digest]:
        """These, and the heads and parts of those that are in parts."""
        found = set(digests)
        for digest in found & self._in_parts.keys():
            found.update(members_in(self._in_parts[digest]))
        return found

    def members_of(self, digest: Digest) -> tuple[Digest, ...]:
        """What one in parts is made of: its head, then its parts; nothing of another."""
        return members_in(self._in_parts.get(digest))

    def take(self, digest: Digest, size: int, pieces: Iterable[bytes]) -> bool:
        """Write a blob down; False if its bytes do not have that digest. What `pieces` raises goes through."""
        if size <= SMALL:
            content = b"".join(pieces)
            if digest_of(content) != digest:
                return False
            self._guarded(lambda: self._append(content))
            self._small[digest] = (self._end, size)
            self._end += size
            return True
        received = self._files.receive(digest, size, pieces)
        if received is None:
            return False
        self._large[digest] = PreparedBlob(digest, size, None, *received)
        return True

    def take_in_parts(self, digest: Digest, row: bytes) -> bool:
        """A blob made of others, which have been taken before; False if they are not here, or it is not its digest."""
        if assembled(digest, row, self._outline) is None:
            return False
        self._in_parts[digest] = row
        return True

    def read(self, digest: Digest) -> bytes:
        """The bytes of one that is not in parts, as a whole. Raises BlobMissing."""
        if digest in self._small:
            offset, size = self._small[digest]
            return self._guarded(lambda: os.pread(self._spool, size, offset))
        large = self._large.get(digest)
        if large is None or large.temporary is None:
            raise BlobMissing(digest, self._layout.root)
        path = large.temporary.path
        return self._guarded(path.read_bytes)

    def publish(self, commit: Callable[[Sequence[Write]], None]) -> None:
        """Enter all blobs, few at a time. Nothing names them yet, so nobody sees any of it."""
        batch: list[Write] = []
        weight = 0
        for digest in (*self._small, *self._large, *self._in_parts):
            blob = self._one(digest) or self._assembled(digest)
            batch.append(PutBlob(blob))
            weight += sum(len(one.content or b"") for one in (blob, *blob.members)) + _ROW
            if weight > _AT_ONCE:
                commit(batch)
                batch, weight = [], 0
        if batch:
            commit(batch)

    def _assembled(self, digest: Digest) -> PreparedBlob:
        blob = assembled(digest, self._in_parts[digest], self._one)
        if blob is None:  # it was, as it was taken
            raise BlobDamaged(digest, self._layout.root)
        return blob

    def _one(self, digest: Digest) -> PreparedBlob | None:
        return self._small_one(digest) if digest in self._small else self._large.get(digest)

    def _outline(self, digest: Digest) -> PreparedBlob | None:
        """Without its bytes."""
        if digest in self._small:
            return PreparedBlob(digest, self._small[digest][1], None, None)
        return self._large.get(digest)

    def _small_one(self, digest: Digest) -> PreparedBlob:
        content = self.read(digest)
        if digest_of(content) != digest:  # the disk did not keep it
            raise BlobDamaged(digest, self._layout.root)
        return PreparedBlob(digest, len(content), content, None)

    def _append(self, content: bytes) -> None:
        if self._spool < 0:
            path = self._layout.tmp / f"{self._owners.own.hex()}-{os.urandom(8).hex()}"
            self._spool = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            path.unlink()  # nobody else needs its name, and so it is gone however this ends
        rest = memoryview(content)
        while rest.nbytes:
            rest = rest[os.write(self._spool, rest) :]

    def _guarded(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except OSError as error:
            raise translate(error, self._layout.root, "taking in a blob") from error
