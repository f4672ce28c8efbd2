"""What came of the nodes of a dispatch, as bytes: the blob of all, and what is written of each as it settles. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from cas_engine.plans.outcome import NO_EXTRA, NODE, STATUS, NodeOutcome, Packed, flagged
from cas_engine.plans.outcomes import Merged, Nodes, Read, unchanged
from cas_store.digest import Digest

MAGIC = b"cas-run outcome 1\n"
IN_PARTS = b"cas-run outcome 2\n"
_LARGE = 64 << 10  # bytes of rows: more lie in parts, which a child shares
_NUMBERED = struct.Struct("<I" + NODE.format[1:])


class Written(NamedTuple):
    """What an outcome's blob is made of: a head, and parts. `known` are the digests of parts that were read so."""

    pieces: Sequence[bytes | memoryview]
    parts: Sequence[bytes | memoryview] = ()
    known: Sequence[Digest] = ()


def dumps(nodes: Sequence[NodeOutcome]) -> Written:
    """A JSON header with reasons and extras, then one row of fixed size a node; of many, the rows in a part.

    Of an outcome that was read, with other nodes in place of some, the parts are as they were, the others in the head.
    """
    base = nodes.base() if isinstance(nodes, Merged) else None
    if base is not None and isinstance(nodes, Merged):
        return _patched(base, dict(sorted(nodes.new().items())), len(nodes))
    extras: Mapping[int, Mapping[str, str]]
    if isinstance(nodes, Packed):
        told, extras, rows = nodes.packed()
    else:
        told, rows = _rows_of(nodes)
        extras = {i: dict(node.extra) for i, node in enumerate(nodes) if node.extra}
    if len(rows) <= _LARGE:
        header = _json({"reasons": told, "extras": extras, "nodes": len(nodes)})
        return Written([MAGIC, struct.pack("<I", len(header)), header, memoryview(rows)])
    about = _json({"reasons": told, "extras": extras})
    has_samples = flagged(rows)
    header = _json({"nodes": len(nodes), "as_hits": False, "samples": has_samples, "reasons": [], "extras": {}})
    return Written([IN_PARTS, struct.pack("<I", len(header)), header], [memoryview(rows), about])


def _patched(base: Nodes, new: Mapping[int, NodeOutcome], count: int) -> Written:
    told, rows = _rows_of(new.values())
    extras = {i: dict(node.extra) for i, node in new.items() if node.extra}
    samples = base.has_samples() or any(node.is_sample for node in new.values())
    header = _json({"nodes": count, "as_hits": True, "samples": samples, "reasons": told, "extras": extras})
    places = struct.pack(f"<{len(new)}I", *new)
    return Written([IN_PARTS, struct.pack("<I", len(header)), header, places, bytes(rows)], base.parts, base.digests)


def _rows_of(nodes: Iterable[NodeOutcome]) -> tuple[list[str], bytearray]:
    """The reasons, and the rows with their numbers."""
    reasons: dict[str, int] = {}
    rows, pack = bytearray(), NODE.pack
    for status, why, key, value, blob, size, is_sample, seconds, created, _ in nodes:
        reason = reasons.setdefault(why, len(reasons))
        rows += pack(status, is_sample, reason, key, value, blob, size, seconds, created)
    return list(reasons), rows


def _json(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header).encode()


def loads(blob: Sequence[memoryview | bytes], digests: Sequence[Digest] = ()) -> Sequence[NodeOutcome]:
    """The nodes in an outcome's blob, given as its head and its parts; each decoded when it is looked at.

    Raises ValueError if it is not laid out so.
    """
    head, *parts = [memoryview(piece) for piece in blob]
    at = len(MAGIC)
    (size,) = struct.unpack_from("<I", head, at)
    header, left = json.loads(bytes(head[at + 4 : at + 4 + size])), head[at + 4 + size :]
    if not parts:
        return Nodes(left, header["reasons"], _by_number(header["extras"]))
    rows, about = parts
    told = json.loads(bytes(about))
    base = Nodes(rows, told["reasons"], _by_number(told["extras"]))
    base.parts, base.digests = tuple(parts), tuple(digests[1:])
    if len(base) != header["nodes"]:
        raise ValueError("an outcome has other nodes than it says")
    if not header["as_hits"]:
        base.samples = header["samples"]
        return base
    count, rest = divmod(len(left), NODE.size + 4)
    places = struct.unpack_from(f"<{count}I", left)
    if rest or any(place >= len(base) for place in places):
        raise ValueError("an outcome has other nodes in place of its own than it has")
    changed = Nodes(left[4 * count :], header["reasons"], {})
    extras = _by_number(header["extras"])
    new = {place: one._replace(extra=extras.get(place, NO_EXTRA)) for place, one in zip(places, changed, strict=True)}
    return Read(unchanged(base), new, 0.0, header["samples"])


def _by_number(extras: Mapping[str, Mapping[str, str]]) -> dict[int, Mapping[str, str]]:
    return {int(i): extra for i, extra in extras.items()}


def item_dumps(number: int, node: NodeOutcome) -> bytes:
    """One node, and which, as it is written into the table of nodes when it settles: see `items_load`."""
    status, reason, key, value, blob, size, is_sample, seconds, created, extra = node
    row = _NUMBERED.pack(number, status, is_sample, 0, key, value, blob, size, seconds, created)
    return row + (_told_of(reason) if not extra else _json({"reason": reason, "extra": dict(extra)}))


@lru_cache(maxsize=256)
def _told_of(reason: str) -> bytes:
    """Few reasons serve many nodes; or each has its own, where it tells which other node has changed."""
    return f'{{"reason": {encode_basestring_ascii(reason)}}}'.encode()


def item_loads(item: bytes) -> tuple[int, NodeOutcome]:
    """The number of a node, and what came of it."""
    number, status, sample, _, *row = _NUMBERED.unpack_from(item)
    key, value, blob, size, seconds, created = row
    told = json.loads(item[_NUMBERED.size :])
    extra = told.get("extra", NO_EXTRA)
    return number, NodeOutcome(
        STATUS[status], told["reason"], key, value, blob, size, bool(sample), seconds, created, extra
    )


def row_dumps(node: NodeOutcome) -> bytes:
    """One node as an outcome of its own: in bundles, and in the table of nodes as it was once."""
    return b"".join(dumps([node]).pieces)


def row_loads(row: bytes) -> NodeOutcome:
    """The node in such a row."""
    return next(iter(loads([row])))
