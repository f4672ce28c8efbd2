"""How a blob is laid out: a head that says what follows, a stream, sections, and aligned buffers. Pure.

    offset  bytes
    0       4       magic
    4       1       format
    5       1       kind: how the stream is read
    6       2       zero
    small kinds: the value's own bytes from here to the end
    others:
    8       4       number of sections
    12      4       number of buffers
    16      8       size of the stream
    24      8 each  size of each section
            16 each offset and size of each buffer; offset 0: the next of the blob's parts
            the stream, then the sections, one after another
            each buffer at a multiple of 64 from the start of the blob

A buffer of more than 64 KiB is a part: a blob of its own, so that an array which several values hold is stored once.
All numbers are little-endian. A blob kept as a file is mapped at the start of a page, so that 64 bytes from the start
is 64 bytes in memory: what vector instructions and a cache line want.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Union

from cas_store.errors import CasRunError

MAGIC = b"\x8fcas"
FORMAT = 1
ALIGNMENT = 64
APART = 64 << 10  # bytes; a larger buffer is a part

_HEAD = struct.Struct("<4sBBH")
_TABLE = struct.Struct("<IIQ")
_SIZE = struct.Struct("<Q")
_BUFFER = struct.Struct("<QQ")
PREFIX_SIZE = _HEAD.size


# What is read: all bytes in one, or the head and then the parts.
Blob = Union[bytes, memoryview, tuple[Union[bytes, memoryview], ...]]  # noqa: UP007  (an alias at run time)


class Kind(IntEnum):
    """How the bytes after the head are read."""

    NONE = 0
    FALSE = 1
    TRUE = 2
    INT = 3
    FLOAT = 4
    STR = 5
    BYTES = 6
    PLAIN = 7  # a pickle with nothing beside it, from here to the end
    PICKLE = 16  # a pickle that refers to nothing of the user's
    LINKED = 17  # a pickle that refers to definitions, each in a section of its own
    CAPSULE = 32  # sections: the header as JSON; the stream is the function by value


_IN_SECTIONS = frozenset({Kind.PICKLE, Kind.LINKED, Kind.CAPSULE})  # the others are a prefix and a value


class Encoded(NamedTuple):
    """The pieces of a blob in order, the sum of all sizes, and its parts. A tuple: made for every result, and cheap."""

    pieces: list[bytes | memoryview]
    size: int
    parts: tuple[bytes | memoryview, ...] = ()

    def copied(self) -> tuple[bytes, ...]:
        """As `decode` takes it, in memory of its own."""
        return (b"".join(self.pieces), *map(bytes, self.parts))


class FrameError(CasRunError):
    """A blob whose bytes are not laid out as this page says."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A blob taken apart without a copy: views on the memory it lies in."""

    kind: Kind
    stream: memoryview
    sections: tuple[memoryview, ...]
    buffers: tuple[memoryview, ...]


def prefix(kind: Kind) -> bytes:
    """The first bytes of every blob of this kind."""
    return _HEAD.pack(MAGIC, FORMAT, kind, 0)


def kind_of(blob: bytes | memoryview) -> int:
    """The kind as a number, or FrameError."""
    try:
        magic, written, kind, _ = _HEAD.unpack_from(blob)
    except struct.error:
        raise FrameError(
            f"a blob of {len(blob)} bytes is too short to hold a value\n  -> it is damaged: run again"
        ) from None
    if magic != MAGIC:
        raise FrameError("a blob holds something that is not a value of cas-run\n  -> look for it with cas-run doctor")
    if written > FORMAT:
        raise FrameError(
            f"a blob has format {written}, this cas-run reads up to {FORMAT}\n  -> upgrade cas-run to read it"
        )
    return int(kind)


def build(kind: Kind, stream: bytes | memoryview, sections: Sequence[bytes], buffers: Sequence[memoryview]) -> Encoded:
    """Lay out a blob; the buffers are taken as they are, not copied, and large ones apart."""
    table_size = PREFIX_SIZE + _TABLE.size + _SIZE.size * len(sections) + _BUFFER.size * len(buffers)
    end = table_size + len(stream) + sum(map(len, sections))
    head = [prefix(kind), _TABLE.pack(len(sections), len(buffers), len(stream))]
    head += [_SIZE.pack(len(section)) for section in sections]
    tail: list[bytes | memoryview] = []
    parts: list[memoryview] = []
    for buffer in buffers:
        if buffer.nbytes > APART:
            head.append(_BUFFER.pack(0, buffer.nbytes))
            parts.append(buffer)
            continue
        padding = -end % ALIGNMENT
        head.append(_BUFFER.pack(end + padding, buffer.nbytes))
        tail += [bytes(padding), buffer] if padding else [buffer]
        end += padding + buffer.nbytes
    size = end + sum(part.nbytes for part in parts)
    return Encoded([b"".join((*head, stream, *sections)), *tail], size, tuple(parts))


def in_pieces(blob: bytes | memoryview) -> tuple[memoryview, ...]:
    """A blob that lies in one piece, its parts behind its head, as `decode` takes it. Raises FrameError."""
    view = memoryview(blob).cast("B")
    if kind_of(view) not in _IN_SECTIONS:
        return (view,)
    try:
        n_sections, n_buffers, _ = _TABLE.unpack_from(view, PREFIX_SIZE)
        places = struct.unpack_from(f"<{2 * n_buffers}Q", view, PREFIX_SIZE + _TABLE.size + _SIZE.size * n_sections)
    except struct.error as error:
        raise FrameError(f"a blob is not laid out as its head says ({error})\n  -> get it again") from None
    apart = [size for start, size in zip(places[::2], places[1::2], strict=True) if start == 0]
    at = len(view) - sum(apart)
    if at < 0:
        raise FrameError(f"a blob has {len(view)} bytes, and its parts alone {sum(apart)}\n  -> get it again")
    pieces = [view[:at]]
    for size in apart:
        pieces.append(view[at : at + size])
        at += size
    return tuple(pieces)


def take_apart(blob: bytes | memoryview, parts: Sequence[bytes | memoryview] = ()) -> Frame:
    """The streams, sections and buffers of a blob that is not of a small kind, or FrameError."""
    view = memoryview(blob).cast("B") if not isinstance(blob, memoryview) else blob
    kind = kind_of(view)
    try:
        n_sections, n_buffers, stream_size = _TABLE.unpack_from(view, PREFIX_SIZE)
        at = PREFIX_SIZE + _TABLE.size
        sizes = struct.unpack_from(f"<{n_sections}Q", view, at)
        at += _SIZE.size * n_sections
        places = struct.unpack_from(f"<{2 * n_buffers}Q", view, at)
        at += _BUFFER.size * n_buffers
        spans = [(at, stream_size)]
        for size in sizes:
            spans.append((spans[-1][0] + spans[-1][1], size))
        inside = [_span(view, start, size) for start, size in spans]
        buffers = _buffers(view, list(zip(places[::2], places[1::2], strict=True)), parts)
        return Frame(Kind(kind), inside[0], tuple(inside[1:]), buffers)
    except (struct.error, ValueError) as error:
        raise FrameError(f"a blob is not laid out as its head says ({error})\n  -> it is damaged: run again") from None


def _buffers(
    view: memoryview, places: Sequence[tuple[int, int]], parts: Sequence[bytes | memoryview]
) -> tuple[memoryview, ...]:
    apart = [size for start, size in places if start == 0]
    if apart != [len(part) for part in parts]:
        raise ValueError(f"it has {len(parts)} parts, its head tells of {len(apart)} of {sum(apart)} bytes")
    following = iter(parts)
    return tuple(_span(view, start, size) if start else memoryview(next(following)) for start, size in places)


def _span(view: memoryview, start: int, size: int) -> memoryview:
    if start + size > len(view):
        raise ValueError(f"it ends at {len(view)}, a part at {start + size}")
    return view[start : start + size]
