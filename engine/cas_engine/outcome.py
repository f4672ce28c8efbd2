"""What came of every node of a dispatch, as columns. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from cas_store.digest import Digest

MAGIC = b"cas-run outcome 1\n"
IN_PARTS = b"cas-run outcome 2\n"
_LARGE = 64 << 10  # bytes of rows: more lie in parts, which a child shares
_SHARE = 8  # where more than one node in so many is another, all are written
NODE = struct.Struct("<BBxxI16s16s16sQdd")  # status, is_sample, reason, key, value, blob, size, seconds, created
_NUMBERED = struct.Struct("<I" + NODE.format[1:])
NO_DIGEST = bytes(16)


class NodeStatus(IntEnum):
    """What became of a node; the names in lower case are what people and `--json` see."""

    PENDING = 0
    RUNNING = 1
    HIT = 2  # taken from the store; its seconds are what it took when it ran
    RAN = 3
    FAILED = 4  # it raised
    SKIPPED = 5  # something it hangs on failed
    CANCELLED = 6

    @property
    def word(self) -> str:
        """As shown."""
        return self.name.lower()


class NodeOutcome(NamedTuple):  # as records are: one is made for each node
    """What became of one node. Digests are zero where there is none; `seconds` as it ran, now or when it was recorded.

    `extra` holds what few nodes have: "error" (a traceback), "dispatch" (of a sublattice), "warning", "tries"
    (how often it was tried, if more than once).
    """

    status: NodeStatus
    reason: str
    key: Digest
    value: Digest
    blob: Digest
    size: int
    is_sample: bool
    seconds: float
    created: float
    extra: Mapping[str, str]


NO_EXTRA: Mapping[str, str] = {}  # one for all: most nodes have none
NOT_YET = NodeOutcome(
    NodeStatus.PENDING,
    "",
    NO_DIGEST,
    NO_DIGEST,
    NO_DIGEST,
    0,
    is_sample=False,
    seconds=0.0,
    created=0.0,
    extra=NO_EXTRA,
)
_SECONDS = struct.Struct("<B63xd8x")  # status and seconds of a row
STATUS = tuple(NodeStatus)  # by number: calling the enumeration costs a microsecond


class Packed(Sequence[NodeOutcome]):
    """Nodes that are rows already."""

    def packed(self) -> tuple[list[str], Mapping[int, Mapping[str, str]], bytearray]:
        """Reasons by the number that rows have, extras, rows."""
        raise NotImplementedError

    def having(self, statuses: Collection[NodeStatus]) -> list[int]:
        """The nodes of some statuses."""
        return [node for node, status in enumerate(self.packed()[2][0 :: NODE.size]) if status in statuses]

    def totals(self) -> dict[str, Any]:
        """As `totals`."""
        rows = self.packed()[2]
        statuses = rows[0 :: NODE.size]
        seconds = dict.fromkeys(STATUS, 0.0)
        for status, took in _SECONDS.iter_unpack(rows):
            seconds[status] += took
        ran_s = seconds[NodeStatus.RAN] + seconds[NodeStatus.FAILED]
        return _told({status: statuses.count(status) for status in STATUS}, ran_s, seconds[NodeStatus.HIT])


class Written(NamedTuple):
    """What an outcome's blob is made of: a head, and parts. `known` are the digests of parts that were read so."""

    pieces: Sequence[bytes | memoryview]
    parts: Sequence[bytes | memoryview] = ()
    known: Sequence[Digest] = ()


def dumps(nodes: Sequence[NodeOutcome]) -> Written:
    """A JSON header with reasons and extras, then one row of fixed size a node; of many, the rows in a part.

    Of an outcome that was read, with other nodes in place of some, the parts are as they were, the others in the head.
    """
    base = nodes.base() if isinstance(nodes, _Merged) else None
    if base is not None and isinstance(nodes, _Merged):
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
    has_samples = _flagged(rows)
    header = _json({"nodes": len(nodes), "as_hits": False, "samples": has_samples, "reasons": [], "extras": {}})
    return Written([IN_PARTS, struct.pack("<I", len(header)), header], [memoryview(rows), about])


def _patched(base: _Nodes, new: Mapping[int, NodeOutcome], count: int) -> Written:
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


def _flagged(rows: bytearray | memoryview) -> bool:
    """Whether some are samples."""
    flags = bytes(rows[1 :: NODE.size])
    return flags.count(0) != len(flags)


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
        return _Nodes(left, header["reasons"], _by_number(header["extras"]))
    rows, about = parts
    told = json.loads(bytes(about))
    base = _Nodes(rows, told["reasons"], _by_number(told["extras"]))
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
    changed = _Nodes(left[4 * count :], header["reasons"], {})
    extras = _by_number(header["extras"])
    new = {place: one._replace(extra=extras.get(place, NO_EXTRA)) for place, one in zip(places, changed, strict=True)}
    return _Read(unchanged(base), new, 0.0, header["samples"])


def _by_number(extras: Mapping[str, Mapping[str, str]]) -> dict[int, Mapping[str, str]]:
    return {int(i): extra for i, extra in extras.items()}


class _Nodes(Sequence[NodeOutcome]):
    def __init__(self, rows: memoryview, reasons: Sequence[str], extras: Mapping[int, Mapping[str, str]]) -> None:
        self._count, rest = divmod(len(rows), NODE.size)
        if rest:
            raise ValueError(f"an outcome ends within a node, {rest} bytes after its beginning")
        self._rows, self._reasons, self._extras = rows, reasons, extras
        self.parts: tuple[memoryview, ...] = ()
        self.digests: tuple[Digest, ...] = ()
        self.samples: bool | None = None  # whether it has some, if that is told

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            raise IndexError(f"node {index} of {self._count}")
        return self._node(at, *NODE.unpack_from(self._rows, at * NODE.size))

    def __iter__(self) -> Iterator[NodeOutcome]:
        return (self._node(at, *row) for at, row in enumerate(NODE.iter_unpack(self._rows)))

    def has_samples(self) -> bool:
        if self.samples is None:
            self.samples = _flagged(self._rows)
        return self.samples

    def having_extras(self) -> list[int]:
        return sorted(self._extras)

    def _node(
        self,
        at: int,
        status: int,
        sample: int,
        reason: int,
        key: Digest,
        value: Digest,
        blob: Digest,
        size: int,
        seconds: float,
        created: float,
    ) -> NodeOutcome:
        extra = self._extras.get(at, NO_EXTRA)
        why = self._reasons[reason]
        return NodeOutcome(STATUS[status], why, key, value, blob, size, bool(sample), seconds, created, extra)


def having_extras(nodes: Sequence[NodeOutcome]) -> list[int]:
    """The nodes that have extras, in order; of an outcome that was read, without looking at the others."""
    if isinstance(nodes, (_Nodes, _Hits, _Merged)):
        return nodes.having_extras()
    return [i for i, one in enumerate(nodes) if one.extra]


class _Hits(Sequence[NodeOutcome]):
    """Nodes as they are where they answer another dispatch, made when they are looked at."""

    def __init__(self, nodes: Sequence[NodeOutcome], reason: str, kept: str = "") -> None:
        self._nodes = nodes
        self._reason = reason
        self._kept = kept  # how reasons begin that stay

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, index: Any) -> Any:
        found = self._nodes[index]
        return [self._hit(one) for one in found] if isinstance(index, slice) else self._hit(found)

    def __iter__(self) -> Iterator[NodeOutcome]:
        return map(self._hit, self._nodes)

    def base(self) -> _Nodes | None:
        """The outcome that was read, if its parts can be shared by who has these hits."""
        nodes = self._nodes
        return nodes if self._kept and isinstance(nodes, _Nodes) and nodes.parts else None

    def having_extras(self) -> list[int]:
        return [i for i in having_extras(self._nodes) if self[i].extra]

    def has_samples(self) -> bool:
        return having_samples(self._nodes)

    def _hit(self, one: NodeOutcome) -> NodeOutcome:
        extra = {"dispatch": one.extra["dispatch"]} if "dispatch" in one.extra else NO_EXTRA
        reason = one.reason if self._kept and one.reason.startswith(self._kept) else self._reason
        return one._replace(status=NodeStatus.HIT, reason=reason, extra=extra)


def all_hits(nodes: Sequence[NodeOutcome], reason: str) -> Sequence[NodeOutcome]:
    """The same results, as taken from the dispatch that has them."""
    return _Hits(nodes, reason)


def unchanged(nodes: Sequence[NodeOutcome]) -> Sequence[NodeOutcome]:
    """The same results, as a child takes them that has nothing new for these nodes."""
    if isinstance(nodes, _Read):
        changed = _Hits(list(nodes.new().values()), *_UNCHANGED)
        return _Merged(nodes.below(), dict(zip(nodes.new(), changed, strict=True)), 0.0)
    return _Hits(nodes, *_UNCHANGED)


_UNCHANGED = "unchanged", "same call as "


class _Merged(Sequence[NodeOutcome]):
    def __init__(self, nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float) -> None:
        self._nodes = nodes
        self._new = new
        self._saved_s = saved_s

    def new(self) -> Mapping[int, NodeOutcome]:
        return self._new

    def below(self) -> Sequence[NodeOutcome]:
        return self._nodes

    def base(self) -> _Nodes | None:
        """What was read, where it lies in parts and few nodes are others by now."""
        few = len(self._new) * _SHARE <= len(self._nodes)
        return self._nodes.base() if few and isinstance(self._nodes, _Hits) else None

    def having_extras(self) -> list[int]:
        below = [i for i in having_extras(self._nodes) if i not in self._new]
        return sorted([*below, *(i for i, one in self._new.items() if one.extra)])

    def has_samples(self) -> bool:
        return having_samples(self._nodes) or any(one.is_sample for one in self._new.values())

    def totals(self) -> dict[str, Any]:
        told, others = totals(list(self._new.values())), len(self._nodes) - len(self._new)
        saved_s = told["saved_s"] + self._saved_s
        return {**told, "nodes": len(self._nodes), "hits": told["hits"] + others, "saved_s": saved_s}

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        found = self._new.get(index + len(self) if index < 0 else index)
        return self._nodes[index] if found is None else found

    def __iter__(self) -> Iterator[NodeOutcome]:
        return (self._new.get(i, one) for i, one in enumerate(self._nodes))


class _Read(_Merged):
    """As it was written down, with a word on whether it has samples."""

    def __init__(
        self, nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float, samples: bool
    ) -> None:
        super().__init__(nodes, new, saved_s)
        self._samples = samples

    def has_samples(self) -> bool:
        return self._samples


def merged(nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float) -> Sequence[NodeOutcome]:
    """Hits with some other nodes in place of their own; `saved_s` is what the hits that are left took."""
    if isinstance(nodes, _Merged):
        others = {i: one for i, one in nodes.new().items() if i not in new}
        saved_s -= sum(one.seconds for one in others.values())
        nodes, new = nodes.below(), {**others, **new}
    return _Merged(nodes, new, max(saved_s, 0.0))


def having(nodes: Sequence[NodeOutcome], *statuses: NodeStatus) -> list[int]:
    """The nodes that ended so, in order; of merged ones, without looking at those that are hits."""
    if isinstance(nodes, Packed):
        return nodes.having(statuses)
    pairs = nodes.new().items() if isinstance(nodes, _Merged) else enumerate(nodes)
    return sorted(i for i, one in pairs if one.status in statuses)


def having_samples(nodes: Sequence[NodeOutcome]) -> bool:
    """Whether some results are samples."""
    if isinstance(nodes, Packed):
        return _flagged(nodes.packed()[2])
    if isinstance(nodes, (_Nodes, _Hits, _Merged)):
        return nodes.has_samples()
    return any(one.is_sample for one in nodes)


def item_dumps(number: int, node: NodeOutcome) -> bytes:
    """One node, and which, as it is written into the table of nodes when it settles: see `items_load`."""
    status, reason, key, value, blob, size, is_sample, seconds, created, extra = node
    row = _NUMBERED.pack(number, status, is_sample, 0, key, value, blob, size, seconds, created)
    return row + (_told_of(reason) if not extra else _json({"reason": reason, "extra": dict(extra)}))


@lru_cache(maxsize=256)
def _told_of(reason: str) -> bytes:
    """Few reasons serve many nodes."""
    return _json({"reason": reason})


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


def totals(nodes: Sequence[NodeOutcome]) -> dict[str, Any]:
    """Counts by status, seconds run and seconds saved."""
    if isinstance(nodes, Packed) or (isinstance(nodes, _Merged) and not isinstance(nodes, _Read)):
        return nodes.totals()
    count = dict.fromkeys(NodeStatus, 0)
    ran_s = saved_s = 0.0
    for node in nodes:
        count[node.status] += 1
        if node.status is NodeStatus.HIT:
            saved_s += node.seconds
        elif node.status in (NodeStatus.RAN, NodeStatus.FAILED):
            ran_s += node.seconds
    return _told(count, ran_s, saved_s)


def _told(count: Mapping[NodeStatus, int], ran_s: float, saved_s: float) -> dict[str, Any]:
    return {
        "nodes": sum(count.values()),
        "hits": count[NodeStatus.HIT],
        "ran": count[NodeStatus.RAN],
        "failed": count[NodeStatus.FAILED],
        "skipped": count[NodeStatus.SKIPPED],
        "cancelled": count[NodeStatus.CANCELLED],
        "ran_s": ran_s,
        "saved_s": saved_s,
    }
