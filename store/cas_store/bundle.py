r"""The layout of a bundle: entries in one stream, each with a digest, and a digest over all. Knows nothing of stores.

    magic    "cas-run bundle 1\n"
    entries  kind (1)  length of key (1)  zero (6)  size (8)  key  value  digest (16)
    the end  an entry of kind 255: its key the digest of all bytes before it, its value the number of entries (8)

The digest of an entry is that of all of it before. Entries stand in order of kind and key, none twice, so that the same
content is the same bytes. Keys are digests and ids: there are no names of files in a bundle, so none can lead anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from xxhash import xxh3_128

from cas_store.errors import BundleError

VERSION = 1
BLOB = 128  # the one kind that is not read as a whole
IN_PARTS = 129
_END = 255
_MAGIC = b"cas-run bundle "
_FIRST = _MAGIC + b"%d\n" % VERSION
_HEAD = struct.Struct("<BB6xQ")
_DIGEST = 16
_PIECE = 1 << 20
_LARGEST_ROW = 64 << 20  # bytes; nothing that is read as a whole is larger
_HINTS = ((b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"))


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """A binary stream."""

    def write(self, piece: bytes | memoryview, /) -> object: ...


class BundleWriter:
    """Writes entries, which have to come in order, then the end."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._whole = xxh3_128()
        self._count = 0
        self.size = 0
        self._put(_FIRST)

    def entry(self, kind: int, key: bytes, size: int, pieces: Iterable[bytes | memoryview]) -> None:
        """One entry; `pieces` together have the size."""
        state = xxh3_128()
        head = _HEAD.pack(kind, len(key), size) + key
        state.update(head)
        self._put(head)
        for piece in pieces:
            state.update(piece)
            self._put(piece)
        self._put(state.digest())
        self._count += 1

    def row(self, kind: int, key: bytes, value: bytes) -> None:
        """One entry that is there as a whole."""
        if len(value) > _LARGEST_ROW:
            msg = f"a row of {len(value):,} bytes is more than a bundle holds\n  -> export fewer dispatches at a time"
            raise BundleError(msg)
        self.entry(kind, key, len(value), [value])

    def end(self) -> None:
        """What was written is all."""
        self.row(_END, self._whole.digest(), self._count.to_bytes(8, "little"))

    def _put(self, piece: bytes | memoryview) -> None:
        self._whole.update(piece)
        self.size += len(piece)
        self._stream.write(piece)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `pieces` has to be read to its end; only then is it known to be intact."""

    kind: int
    key: bytes
    size: int
    pieces: Iterator[bytes]

    def value(self) -> bytes:
        """All of it, verified."""
        return b"".join(self.pieces)


class BundleReader:
    """Gives the entries of a stream one after the other. Raises BundleError at the first thing that is not right.

    `length` is that of the stream where it is known, so that a size which cannot be is refused before anything is read.
    """

    def __init__(self, stream: Readable, name: str, length: int | None = None) -> None:
        self._stream = stream
        self._name = name
        self._length = length
        self._whole = xxh3_128()
        self._at = 0
        self._check_magic()

    @property
    def at(self) -> int:
        """The bytes read so far."""
        return self._at

    def __iter__(self) -> Iterator[Entry]:
        count = 0
        last = b""
        while True:
            before = self._whole.digest()
            head = self._read(_HEAD.size)
            kind, key_length, size = _HEAD.unpack(head)
            key = self._read(key_length)
            if head[2:8] != bytes(6):
                raise self._damaged("the head of an entry is damaged")
            if self._length is not None and size > self._length - self._at:
                raise BundleError(
                    f"{self._name} was cut off or damaged: of an entry of {size:,} bytes it has "
                    f"{self._length - self._at:,}\n{_AGAIN}"
                )
            if kind != BLOB and size > _LARGEST_ROW:
                raise self._damaged("an entry is larger than any can be")
            state = xxh3_128(head + key)
            if kind == _END:
                self._check_end(key, size, state, before, count)
                return
            place = bytes([kind]) + key
            if place <= last:
                raise self._damaged("its entries are not in order")
            last = place
            entry = Entry(kind, key, size, self._pieces(size, state))
            yield entry
            for _ in entry.pieces:  # whatever was not looked at has to be intact too
                pass
            count += 1

    def _pieces(self, size: int, state: xxh3_128) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._read(min(left, _PIECE))
            left -= len(piece)
            state.update(piece)
            yield piece
        if self._read(_DIGEST) != state.digest():
            raise self._damaged("an entry does not have its digest")

    def _check_magic(self) -> None:
        start = self._read_some(len(_FIRST))
        if start == _FIRST:
            return
        if not start:
            raise BundleError(f"{self._name} is empty, not a bundle\n{_AGAIN}")
        if _MAGIC.startswith(start):
            raise self._cut_off()
        if start.startswith(_MAGIC):
            rest = start[len(_MAGIC) :]
            number = rest[: rest.find(b"\n")] if b"\n" in rest else rest
            if number.isdigit() and int(number) != VERSION:
                raise BundleError(
                    f"{self._name} is a bundle of version {int(number)}; this cas-run reads version {VERSION}\n"
                    "  -> upgrade cas-run (pip install -U cas-run), or export it again with this version"
                )
            raise self._damaged("its first line is damaged")
        kind = next((f" (it looks like {name})" for magic, name in _HINTS if start.startswith(magic)), "")
        raise BundleError(f"{self._name} is not a bundle{kind}\n  -> make one with `cas-run export ID FILE`")

    def _check_end(self, key: bytes, size: int, state: xxh3_128, before: bytes, count: int) -> None:
        if size != 8:
            raise self._damaged("its end is damaged")
        value = b"".join(self._pieces(size, state))
        if key != before or int.from_bytes(value, "little") != count:
            raise self._damaged("its entries are not those that were written")
        if self._read_some(1):
            raise self._damaged("something follows its end")

    def _read(self, size: int) -> bytes:
        piece = self._read_some(size)
        if len(piece) < size:
            raise self._cut_off()
        return piece

    def _read_some(self, size: int) -> bytes:
        pieces = []
        left = size
        while left:
            try:
                piece = self._stream.read(left)
            except OSError as error:
                raise BundleError(f"{self._name} cannot be read: {error.strerror}\n{_AGAIN}") from error
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        found = b"".join(pieces)
        self._whole.update(found)
        self._at += len(found)
        return found

    def _cut_off(self) -> BundleError:
        return BundleError(f"{self._name} was cut off: it ends after {self._at:,} bytes\n{_AGAIN}")

    def _damaged(self, why: str) -> BundleError:
        return BundleError(f"{self._name} is damaged: {why}, before byte {self._at:,}\n{_AGAIN}")


_AGAIN = "  -> copy it again, or export it again"


def looks_like_one(start: bytes) -> bool:
    """Whether these are the first bytes of a bundle, of whatever version."""
    return start.startswith(_MAGIC)
