"""Large blobs as files: written aside and synced, moved into place, verified, mapped. Rows are none of its business."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from xxhash import xxh3_128

from cas_store import compression
from cas_store.digest import DIGEST_SIZE, Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.faults import translate
from cas_store.layout import Layout, sync_folder
from cas_store.stamps import set_back, stamp_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

MARKER = b"\x01"  # after the digest: the key of the row that says what is in the file
_PIECE = 1 << 20
_FILES = 1 << 16  # open at once, if the system allows
_SPARE_FILES = 32  # descriptors left to others, where the system does not
_MARKER = struct.Struct(f">QQ{DIGEST_SIZE}s")


@dataclass(frozen=True, slots=True)
class Kept:
    """How a blob lies in its file: as it is, or compressed; then with the size and digest of what is in the file."""

    size: int
    compressed: tuple[int, Digest] | None = None

    @property
    def file_size(self) -> int:
        return self.size if self.compressed is None else self.compressed[0]

    def file_digest(self, digest: Digest) -> Digest:
        """Of what is in the file of the blob of that digest."""
        return digest if self.compressed is None else self.compressed[1]

    def to_row(self) -> bytes:
        """The value of the marker."""
        return (
            self.size.to_bytes(8, "big")
            if self.compressed is None
            else _MARKER.pack(self.compressed[0], self.size, self.compressed[1])
        )

    @staticmethod
    def from_row(value: bytes) -> Kept:
        if len(value) < _MARKER.size:
            return Kept(int.from_bytes(value, "big"))
        file_size, size, check = _MARKER.unpack(value)
        return Kept(size, (file_size, check))

    @staticmethod
    def file_size_in(start: bytes) -> int:
        """Of the first 8 bytes of the marker's value."""
        return int.from_bytes(start, "big")


class Temporary:
    """A file on its way into the store; removed when nobody can publish it any more."""

    __slots__ = ("_process", "looks", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.looks: os.stat_result | None = None  # when it was known to be what it should be
        self._process = os.getpid()

    def __del__(self, getpid=os.getpid, unlink=os.unlink) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        if self._process != getpid():
            return  # a forked copy: the file is the parent's
        with suppress(OSError):  # published, or swept away
            unlink(self.path)

    def give_away(self) -> str:
        """Its path, for another process that sees to it from now on."""
        self._process = 0
        return str(self.path)


class Owning(Protocol):
    """As much of Owners as is needed here."""

    @property
    def own(self) -> bytes: ...
    def is_alive(self, owner: bytes) -> bool: ...


class Known(Protocol):
    """As much of Stamps as is needed here."""

    def is_intact(self, digest: Digest, found: os.stat_result) -> bool: ...
    def note_here(self, digest: Digest, found: os.stat_result) -> None: ...
    def note_read(self, digest: Digest, found: os.stat_result) -> None: ...
    def note_written(self, files: Mapping[Digest, os.stat_result]) -> None: ...


class Taking(Protocol):
    """As much of Quarantine as is needed here."""

    def file(self, digest: bytes, identity: tuple[int, int], marker: bytes, told: bytes) -> None: ...


class Files:
    """The large blobs of one store."""

    def __init__(self, layout: Layout, owners: Owning, stamps: Known, quarantine: Taking) -> None:
        self.layout = layout
        self._owners = owners
        self._stamps = stamps
        self._quarantine = quarantine
        self._folders: set[Path] = set()
        self._moved: dict[Digest, os.stat_result] = {}
        self.compress = False
        self.name = ""  # what the names of new files go on with, after their owner's

    # --- writing

    def write(self, views: Sequence[memoryview], size: int) -> tuple[Digest, Temporary, Kept]:
        """A synced file with these bytes, or with what they shrink to, and the digest of the bytes. Raises StoreError.

        The digest is that of what was written, whatever happens to the memory meanwhile.
        """
        temporary, plain = self._new_name(), xxh3_128()
        try:
            if self.compress and compression.is_promising(views):
                packed, file_size = xxh3_128(), 0
                with _Written(temporary) as file:
                    for piece in compression.compressed(_copied(views, plain)):
                        packed.update(piece)
                        file_size += len(piece)
                        file.write(piece)
                if compression.is_worth_it(size, file_size):
                    return self._written(plain.digest(), temporary, Kept(size, (file_size, packed.digest())))
                temporary, plain = self._new_name(), xxh3_128()
            with _Written(temporary) as file:
                for piece in _copied(views, plain):
                    file.write(piece)
        except OSError as error:
            raise translate(error, self.layout.root, "writing a blob") from error
        return self._written(plain.digest(), temporary, Kept(size))

    def _written(self, digest: Digest, temporary: Temporary, kept: Kept) -> tuple[Digest, Temporary, Kept]:
        if temporary.looks is not None:
            self._stamps.note_here(kept.file_digest(digest), temporary.looks)
        return digest, temporary, kept

    def receive(self, digest: Digest, size: int, pieces: Iterable[bytes]) -> tuple[Temporary, Kept] | None:
        """As `write`, of bytes that come one piece after the other; None if they do not have that digest."""
        temporary, state = self._new_name(), xxh3_128()
        try:
            with _Written(temporary) as file:
                for piece in pieces:
                    state.update(piece)
                    file.write(piece)
        except OSError as error:
            raise translate(error, self.layout.root, "writing a blob") from error
        return (temporary, Kept(size)) if state.digest() == digest else None

    def link(self, digest: Digest, kept: Kept, places: Sequence[Path]) -> Temporary | None:
        """A second name for an intact file that is there: whoever sweeps the first leaves the bytes."""
        temporary = self._new_name()
        for path in places:
            try:
                descriptor = self._open(digest, [path])
                try:
                    before = os.fstat(descriptor)
                    self.verify(digest, kept, descriptor)
                finally:
                    os.close(descriptor)
                os.link(path, temporary.path, follow_symlinks=False)
                after = temporary.path.lstat()
            except (OSError, BlobDamaged, BlobMissing):
                continue  # or no links on this file system, or too many: it is written again
            if _are_same_bytes(before, after):
                self._stamps.note_read(kept.file_digest(digest), after)
                temporary.looks = after
                return temporary
            return None
        return None

    def move(self, digest: Digest, kept: Kept, temporary: Temporary) -> Path:
        """To its place; inside the write transaction. The folder has to be synced afterwards. May be repeated."""
        path = self.layout.blob(digest)
        try:
            untouched = temporary.looks is not None and stamp_of(temporary.path.lstat()) == stamp_of(temporary.looks)
            temporary.path.rename(path)  # over an equal one, should it have come there meanwhile
            with suppress(FileNotFoundError):
                temporary.path.unlink()  # left where it is if it is a link to the very one there
            if untouched:
                self._moved[kept.file_digest(digest)] = path.lstat()
        except FileNotFoundError as error:
            if not path.parent.is_dir():  # somebody removed it since we made it
                self._folders.discard(path.parent)
                self.make_folders({path.parent})
                return self.move(digest, kept, temporary)
            # The job is run again, or the blob was published by an earlier batch.
            if not self.is_there(digest, kept):
                raise BlobMissing(digest, self.layout.root) from error
        return path.parent

    def make_folders(self, wanted: set[Path]) -> None:
        """Those not seen yet by this process; synced also where they were there before: see `publish` in `blobs`."""
        wanted = wanted - self._folders
        if not wanted:
            return
        for folder in wanted:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        sync_folder(self.layout.blobs)
        self._folders |= wanted

    def note_written_elsewhere(self, digest: Digest, found: os.stat_result) -> None:
        """Another process has written this for us, and it looks as it did then."""
        self._stamps.note_here(digest, found)

    def note_moved(self) -> None:
        """Tell the other processes that what was moved since is as it was written."""
        if self._moved:
            moved, self._moved = self._moved, {}
            self._stamps.note_written(moved)

    def remove(self, digest: Digest) -> int:
        """Take one away, inside a write transaction; the bytes that this frees."""
        path = self.layout.blob(digest)
        try:
            size = path.lstat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def there(self) -> Iterator[Digest]:
        """Those that have a file, whether there is a row of them or not."""
        for folder in sorted(self.layout.blobs.iterdir()):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                try:
                    digest = bytes.fromhex(path.name)
                except ValueError:
                    continue  # not ours
                if len(digest) == DIGEST_SIZE:
                    yield digest

    def sweep(self) -> None:
        """Remove what dead processes left unfinished."""
        for path in self.layout.tmp.iterdir():
            owner, _, _ = path.name.partition("-")
            try:
                name = bytes.fromhex(owner)
            except ValueError:
                continue  # not ours
            if not self._owners.is_alive(name):
                path.unlink(missing_ok=True)

    def _new_name(self) -> Temporary:
        return Temporary(self.layout.tmp / f"{self._owners.own.hex()}-{self.name}{os.urandom(8).hex()}")

    # --- reading

    def is_there(self, digest: Digest, kept: Kept) -> bool:
        """Whether there is a file of the right size; what is in it is not looked at."""
        try:
            return self.layout.blob(digest).lstat().st_size == kept.file_size
        except FileNotFoundError:
            return False

    def read(self, digest: Digest, kept: Kept | None, places: Sequence[Path]) -> memoryview:
        """The bytes, verified and writable: mapped privately, or unpacked. `kept` is None where that isn't known.

        Raises BlobMissing, BlobDamaged, CompressionMissing, StoreError.
        """
        try:
            descriptor = self._open(digest, places)
            try:
                self.verify(digest, kept, descriptor)
                if kept is not None and kept.compressed is not None:
                    return self._unpacked(digest, kept, descriptor)
                return _mapped(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise translate(error, self.layout.root, f"reading blob {digest.hex()[:12]}") from error

    def verify(self, digest: Digest, kept: Kept | None, descriptor: int) -> None:
        """By reading, not by mapping: a failing disk is then no signal. Raises BlobMissing, BlobDamaged."""
        found = os.fstat(descriptor)
        wanted = digest if kept is None else kept.file_digest(digest)
        right_size = kept is None or found.st_size == kept.file_size
        if right_size and self._stamps.is_intact(wanted, found):
            return
        if right_size and _has_digest(descriptor, wanted):
            self._stamps.note_read(wanted, found)
            return
        if kept is None:
            # A file without its row: left by a crash, or about to get one; it may be compressed.
            raise BlobMissing(digest, self.layout.root)
        self._discard(digest, kept, found)

    def _discard(self, digest: Digest, kept: Kept, found: os.stat_result) -> NoReturn:
        self._quarantine.file(digest, (found.st_dev, found.st_ino), digest + MARKER, kept.to_row())
        raise BlobDamaged(digest, self.layout.root)

    def _unpacked(self, digest: Digest, kept: Kept, descriptor: int) -> memoryview:
        what = f"blob {digest.hex()[:12]} in the store at {self.layout.root}"
        plain = compression.decompressed(_pieces(descriptor), kept.size, what)
        if plain is None or xxh3_128(plain).digest() != digest:
            self._discard(digest, kept, os.fstat(descriptor))
        return memoryview(plain)

    def _open(self, digest: Digest, places: Sequence[Path]) -> int:
        for path in places:
            while True:
                try:
                    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EMFILE or not _allow_more_files():
                        raise
        raise BlobMissing(digest, self.layout.root)


class _Written:
    """A new file, 0400 whatever the umask, that is synced when all is in it."""

    def __init__(self, temporary: Temporary) -> None:
        self._temporary = temporary
        self._descriptor = os.open(temporary.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)

    def __enter__(self) -> Self:
        return self

    def write(self, content: bytes | memoryview) -> None:
        rest = memoryview(content)
        while rest.nbytes:
            rest = rest[os.write(self._descriptor, rest) :]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                os.fchmod(self._descriptor, 0o400)
                set_back(self._descriptor)
                os.fsync(self._descriptor)
                self._temporary.looks = os.fstat(self._descriptor)
        finally:
            os.close(self._descriptor)


def _are_same_bytes(before: os.stat_result, after: os.stat_result) -> bool:
    # Not when anything was last changed: a new name changes that.
    return all(getattr(before, name) == getattr(after, name) for name in ("st_dev", "st_ino", "st_mtime_ns", "st_size"))


def _copied(views: Sequence[memoryview], state: xxh3_128) -> Iterator[bytes]:
    for view in views:
        for start in range(0, len(view), _PIECE):
            piece = bytes(view[start : start + _PIECE])  # somebody may be changing what it is a view of
            state.update(piece)
            yield piece


def _pieces(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(descriptor, _PIECE, offset):
        yield piece
        offset += len(piece)


def _has_digest(descriptor: int, digest: Digest) -> bool:
    state = xxh3_128()
    try:
        for piece in _pieces(descriptor):
            state.update(piece)
    except OSError as error:
        if error.errno == errno.EIO:
            return False  # the disk has lost it
        raise
    return state.digest() == digest


def _mapped(descriptor: int) -> memoryview:
    size = os.fstat(descriptor).st_size
    try:
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY, trackfd=False))
        # Before Python 3.13 each mapping keeps a descriptor for as long as somebody holds the value.
        if _has_room(descriptor) or _allow_more_files():
            return memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY))
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.EMFILE, errno.ENODEV):
            raise
    # No more maps or descriptors to be had: better a copy than nothing.
    whole, at = bytearray(size), 0
    for piece in _pieces(descriptor):
        whole[at : at + len(piece)] = piece
        at += len(piece)
    return memoryview(whole)


def _has_room(descriptor: int) -> bool:
    """Whether a mapping's own descriptor leaves some to others."""
    following = os.dup(descriptor)  # the lowest that is free, as the mapping's will be
    os.close(following)
    return following < resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES


def _allow_more_files() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _FILES) if hard != resource.RLIM_INFINITY else _FILES
    if soft >= wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
