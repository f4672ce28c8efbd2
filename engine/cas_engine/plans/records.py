"""The action cache's rows: what came of a key. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from cas_engine.files import from_json as files_from_json
from cas_engine.files import to_json as files_to_json
from cas_engine.values import FileContent
from cas_store.digest import Digest

# Why a dispatch with a parent has a result, where nothing is new: a sample is that of the parent.
KEPT, UNCHANGED = "kept from the parent", "unchanged"

_HEAD = struct.Struct("<16s16sddQB")
_FIRST = b'{"electron":"'  # how the rest of a row begins


class Record(NamedTuple):  # not a dataclass: one is made for each node, and that costs five times as much
    """A result by digest, and what it cost.

    `value` is the digest of the value, `blob` that of the bytes it is stored in. `parts` are the value digests of
    the items of a tuple, list or dict, by access step, so that early cutoff can look inside without loading.
    """

    value: Digest
    blob: Digest
    seconds: float
    created: float
    size: int
    is_sample: bool
    draw: int  # how many samples of this key were drawn before it
    parts: Parts
    files: tuple[
        FileContent, ...
    ]  # what the value names and counts by content: it is the result only while they are so
    electron: str
    dispatch: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The digests of a container's items: by position, or by key for those dict keys that are texts or integers.

    `by_path` has those of parts further in, of which it was known that others take them: by the digest of their access
    path.
    """

    by_position: tuple[Digest, ...]
    by_key: tuple[tuple[str | int, Digest], ...]
    by_path: Mapping[Digest, Digest] = field(default_factory=dict)

    def at(self, step: object) -> Digest | None:
        """The digest of one item, None if it is not known."""
        if type(step) is int and self.by_position and -len(self.by_position) <= step < len(self.by_position):
            return self.by_position[step]
        for key, digest in self.by_key:
            if type(key) is type(step) and key == step:
                return digest
        return None


NO_PARTS = Parts((), ())


class Head(NamedTuple):
    """What stands in every record at the same place: read without the rest, of millions."""

    value: Digest
    blob: Digest
    seconds: float
    created: float
    size: int
    flags: int

    @property
    def is_sample(self) -> bool:
        """As in a record."""
        return bool(self.flags & 1)


def head(row: bytes) -> Head:
    """The head of the record in a row."""
    return Head._make(_HEAD.unpack_from(row))


def blob_in(row: bytes) -> Digest:
    """The blob that the record in a row names."""
    return row[16:32]


def electron_in(row: bytes) -> str:
    """The electron that the record in a row names."""
    begin = _HEAD.size + len(_FIRST)
    end = row.find(b'"', begin)
    if row.startswith(_FIRST, _HEAD.size) and b"\\" not in row[begin:end]:
        return row[begin:end].decode()
    return str(json.loads(row[_HEAD.size :])["electron"])


def dumps(record: Record) -> bytes:
    """The row of a record."""
    head = _HEAD.pack(
        record.value, record.blob, record.seconds, record.created, record.size, 1 if record.is_sample else 0
    )
    parts = record.parts
    if not (record.files or record.draw or parts.by_position or parts.by_key or parts.by_path):
        return head + _short_tail(record.electron, record.dispatch)
    tail: dict[str, Any] = {"electron": record.electron, "dispatch": record.dispatch}
    if record.files:
        tail["files"] = files_to_json(record.files)
    if record.draw:
        tail["draw"] = record.draw
    if parts.by_position:
        tail["parts"] = b"".join(parts.by_position).hex()
    if parts.by_key:
        tail["keys"] = [[key, digest.hex()] for key, digest in parts.by_key]
    if parts.by_path:
        tail["paths"] = paths_to_hex(parts.by_path)
    return head + json.dumps(tail, separators=(",", ":")).encode()


@lru_cache(maxsize=64)
def _short_tail(electron: str, dispatch: str) -> bytes:
    return json.dumps({"electron": electron, "dispatch": dispatch}, separators=(",", ":")).encode()


def loads(row: bytes) -> Record:
    """The record in a row."""
    value, blob, seconds, created, size, flags = _HEAD.unpack_from(row)
    tail = row[_HEAD.size :]
    # Most are alike: all those of an electron in a dispatch, but for the results that are containers.
    draw, parts, files, electron, dispatch = (_likely_tail if len(tail) < _LIKELY else _tail)(tail)
    return Record(value, blob, seconds, created, size, bool(flags & 1), draw, parts, files, electron, dispatch)


def loads_many(rows: Sequence[bytes | None]) -> list[Record | None]:
    """As `loads` of each row that there is, in two thirds of the time."""
    unpack, tail_at, make = _HEAD.unpack_from, _HEAD.size, tuple.__new__
    found: list[Record | None] = []
    for row in rows:
        if row is None:
            found.append(None)
            continue
        value, blob, seconds, created, size, flags = unpack(row)
        tail = row[tail_at:]
        rest = (_likely_tail if len(tail) < _LIKELY else _tail)(tail)
        found.append(make(Record, (value, blob, seconds, created, size, bool(flags & 1), *rest)))
    return found


_LIKELY = 160  # bytes: a longer one tells of parts or files
_Tail = tuple[int, Parts, tuple[FileContent, ...], str, str]


def _tail(raw: bytes) -> _Tail:
    tail = json.loads(raw)
    by_position = _digests_in(tail.get("parts", ""))
    by_key = tuple((key, bytes.fromhex(digest)) for key, digest in tail.get("keys", ()))
    by_path = paths_from_hex(tail.get("paths", ""))
    return (
        tail.get("draw", 0),
        Parts(by_position, by_key, by_path) if by_position or by_key or by_path else NO_PARTS,
        files_from_json(tail.get("files", ())),
        tail["electron"],
        tail["dispatch"],
    )


_likely_tail = lru_cache(maxsize=1024)(_tail)


def paths_to_hex(by_path: Mapping[Digest, Digest]) -> str:
    """The digests of access paths, each followed by that of what lies there."""
    return b"".join([path + digest for path, digest in by_path.items()]).hex()


def paths_from_hex(text: str) -> dict[Digest, Digest]:
    """What `paths_to_hex` wrote."""
    flat = _digests_in(text)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _digests_in(text: str) -> tuple[Digest, ...]:
    flat = bytes.fromhex(text)
    return tuple(flat[i : i + 16] for i in range(0, len(flat), 16))
