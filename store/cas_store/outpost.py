"""Blobs for a process that must not open the store: told where they lie, it maps them, and writes new ones aside.

Whoever has the store open says where blobs lie (`Lying`) and takes over what was written (`Made`). All that these two
need to know of each other can be written as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cas_store.blobs import PreparedBlob, prepared
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.largefiles import Files, Kept, Temporary
from cas_store.layout import Layout
from cas_store.stamps import stamp_of


class Lying(NamedTuple):
    """Where the bytes of a blob that is not in parts are to be had."""

    digest: Digest
    content: bytes | None  # when small
    paths: tuple[str, ...] = ()  # when large: one of these
    kept: bytes = b""  # how it lies in its file, as the row of it says
    stamp: bytes | None = None  # what its file looks like while it is known to be intact


class Made(NamedTuple):
    """A blob that is not in parts, as it was written: small ones are here, of a large one the file that has it."""

    digest: Digest
    size: int
    content: bytes | None
    path: str = ""
    kept: bytes = b""
    stamp: bytes = b""


class Outpost:
    """The files of a store as seen from elsewhere. For one thread at a time."""

    def __init__(self, root: Path, owner: bytes, *, compress: bool) -> None:
        """`owner` is the process that has the store open."""
        self._stamps = _Told()
        self._files = Files(Layout(root), _Named(owner), self._stamps, _LeftToOthers())
        self._files.compress = compress

    def begin(self, name: str) -> None:
        """From now on the names of new files go on with this: what is left of them can be told from others."""
        self._files.name = name

    def get(self, digest: Digest, pieces: Sequence[Lying]) -> tuple[memoryview, ...]:
        """The bytes of a blob, then of its parts, as `Store.get_pieces`. Raises StoreError."""
        try:
            return tuple(map(self._get, pieces))
        except BlobMissing as error:
            raise BlobMissing(digest) from error
        except BlobDamaged as error:
            raise BlobDamaged(digest) from error

    def _get(self, one: Lying) -> memoryview:
        if one.content is not None:
            return memoryview(one.content)
        kept = Kept.from_row(one.kept)
        self._stamps.told[kept.file_digest(one.digest)] = one.stamp
        return self._files.read(one.digest, kept, [Path(path) for path in one.paths])

    def write(self, pieces: Sequence[bytes | memoryview], parts: Sequence[bytes | memoryview]) -> list[Made]:
        """A blob, ready to be taken over: its head, then its parts. Large ones are synced files when this returns."""
        blob = prepared(pieces, parts, self._link, self._files)
        return [_made(one) for one in blob.members or (blob,)]

    def take_read(self) -> dict[Digest, bytes]:
        """Files that were read through since this was last asked, and found intact: what they look like."""
        found, self._stamps.read = self._stamps.read, {}
        return found

    def _link(self, digest: Digest, size: int) -> PreparedBlob | None:
        """A second name for a file that is there already; it is read through, which takes less than writing it."""
        kept, path = Kept(size), self._files.layout.blob(digest)
        if not self._files.is_there(digest, kept):
            return None
        temporary = self._files.link(digest, kept, [path])
        return None if temporary is None else PreparedBlob(digest, size, None, temporary, kept)


def adopted(made: Sequence[Made], files: Files) -> list[PreparedBlob]:
    """What another process wrote for this one, as if this one had."""
    return [_adopted(one, files) for one in made]


def _adopted(one: Made, files: Files) -> PreparedBlob:
    if one.content is not None:
        return PreparedBlob(one.digest, one.size, one.content, None)
    temporary, kept = Temporary(Path(one.path)), Kept.from_row(one.kept)
    try:
        found = temporary.path.lstat()
    except FileNotFoundError as error:
        raise BlobMissing(one.digest) from error
    if stamp_of(found) == one.stamp:
        temporary.looks = found
        files.note_written_elsewhere(kept.file_digest(one.digest), found)
    return PreparedBlob(one.digest, one.size, None, temporary, kept)


def _made(blob: PreparedBlob) -> Made:
    if blob.temporary is None or blob.kept is None:
        return Made(blob.digest, blob.size, blob.content)
    looks = blob.temporary.looks
    stamp = stamp_of(looks) if looks is not None else b""
    return Made(blob.digest, blob.size, None, blob.temporary.give_away(), blob.kept.to_row(), stamp)


class _Named:
    """Files are named for the process that will publish them: a sweep takes those of the dead."""

    def __init__(self, own: bytes) -> None:
        self.own = own

    def is_alive(self, owner: bytes) -> bool:
        return owner == self.own


class _Told:
    """What is known of files that this process reads."""

    def __init__(self) -> None:
        self.told: dict[Digest, bytes | None] = {}
        self.read: dict[Digest, bytes] = {}

    def is_intact(self, digest: Digest, found: os.stat_result) -> bool:
        return self.told.pop(digest, None) == stamp_of(found)

    def note_here(self, digest: Digest, found: os.stat_result) -> None:
        """Whoever takes it over looks at it then."""

    def note_read(self, digest: Digest, found: os.stat_result) -> None:
        self.read[digest] = stamp_of(found)

    def note_written(self, files: Any) -> None:
        """Nothing is moved here."""


class _LeftToOthers:
    """Damage is reported; who has the store open looks for itself and takes it away."""

    def file(self, digest: bytes, identity: tuple[int, int], marker: bytes, told: bytes) -> None:
        """Not from here."""
