"""What came of every node of a dispatch, as columns. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from cas_store.digest import Digest

MAGIC = b"cas-run outcome 1\n"
_NODE = struct.Struct("<BBxxI16s16s16sQdd")  # status, is_sample, reason, key, value, blob, size, seconds, created
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

    `extra` holds what few nodes have: "error" (a traceback), "dispatch" (of a sublattice), "warning".
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
_STATUS = tuple(NodeStatus)  # by number: calling the enumeration costs a microsecond


def dumps(nodes: Sequence[NodeOutcome]) -> list[bytes | memoryview]:
    """The pieces of an outcome's blob: a JSON header with reasons and extras, then one row of fixed size a node."""
    if isinstance(nodes, _Merged) and (packed := nodes.packed()) is not None:
        return packed
    reasons: dict[str, int] = {}
    rows = bytearray()
    pack = _NODE.pack
    for status, why, key, value, blob, size, is_sample, seconds, created, _ in nodes:
        reason = reasons.setdefault(why, len(reasons))
        rows += pack(status, is_sample, reason, key, value, blob, size, seconds, created)
    return _pieces(reasons, {i: node for i, node in enumerate(nodes) if node.extra}, rows)


def _pieces(
    reasons: Iterable[str], having_extras: Mapping[int, NodeOutcome], rows: bytearray
) -> list[bytes | memoryview]:
    extras = {i: dict(node.extra) for i, node in having_extras.items()}
    header = json.dumps({"reasons": list(reasons), "extras": extras, "nodes": len(rows) // _NODE.size}).encode()
    return [MAGIC, struct.pack("<I", len(header)), header, memoryview(rows)]


def loads(blob: memoryview | bytes) -> Sequence[NodeOutcome]:
    """The nodes in an outcome's blob, each decoded when it is looked at. Raises ValueError if it is not laid out so."""
    view = memoryview(blob)
    at = len(MAGIC)
    (size,) = struct.unpack_from("<I", view, at)
    header = json.loads(bytes(view[at + 4 : at + 4 + size]))
    extras = {int(i): extra for i, extra in header["extras"].items()}
    return _Nodes(view[at + 4 + size :], header["reasons"], extras)


class _Nodes(Sequence[NodeOutcome]):
    def __init__(self, rows: memoryview, reasons: Sequence[str], extras: Mapping[int, Mapping[str, str]]) -> None:
        self._count, rest = divmod(len(rows), _NODE.size)
        if rest:
            raise ValueError(f"an outcome ends within a node, {rest} bytes after its beginning")
        self._rows, self._reasons, self._extras = rows, reasons, extras

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        at = index + self._count if index < 0 else index
        if not 0 <= at < self._count:
            raise IndexError(f"node {index} of {self._count}")
        return self._node(at, *_NODE.unpack_from(self._rows, at * _NODE.size))

    def __iter__(self) -> Iterator[NodeOutcome]:
        return (self._node(at, *row) for at, row in enumerate(_NODE.iter_unpack(self._rows)))

    def has_samples(self) -> bool:
        flags = self._rows.cast("B")[1 :: _NODE.size].tobytes()
        return flags.count(0) != len(flags)

    def as_hits(self, reason: str, kept: str) -> tuple[bytearray, dict[str, int]] | None:
        """The rows as those of hits, and the numbers of their reasons; None where these are too many for a byte."""
        if len(self._reasons) >= 256:
            return None
        numbers = {reason: 0}
        staying = [numbers.setdefault(was, len(numbers)) if was.startswith(kept) else 0 for was in self._reasons]
        rows = bytearray(self._rows)
        rows[0 :: _NODE.size] = bytes([NodeStatus.HIT]) * len(self)
        # The lowest byte of four; the others are zero.
        rows[4 :: _NODE.size] = rows[4 :: _NODE.size].translate(bytes(staying).ljust(256, b"\0"))
        return rows, numbers

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
        return NodeOutcome(_STATUS[status], why, key, value, blob, size, bool(sample), seconds, created, extra)


def having_extras(nodes: Sequence[NodeOutcome]) -> list[int]:
    """The nodes that have extras, in order; of an outcome that was read, without looking at the others."""
    return nodes.having_extras() if isinstance(nodes, _Nodes) else [i for i, one in enumerate(nodes) if one.extra]


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

    def packed(self) -> tuple[bytearray, dict[str, int]] | None:
        nodes = self._nodes
        plain = self._kept and isinstance(nodes, _Nodes) and not nodes.having_extras()
        return nodes.as_hits(self._reason, self._kept) if plain and isinstance(nodes, _Nodes) else None

    def _hit(self, one: NodeOutcome) -> NodeOutcome:
        extra = {"dispatch": one.extra["dispatch"]} if "dispatch" in one.extra else NO_EXTRA
        reason = one.reason if self._kept and one.reason.startswith(self._kept) else self._reason
        return one._replace(status=NodeStatus.HIT, reason=reason, extra=extra)


def all_hits(nodes: Sequence[NodeOutcome], reason: str) -> Sequence[NodeOutcome]:
    """The same results, as taken from the dispatch that has them."""
    return _Hits(nodes, reason)


def unchanged(nodes: Sequence[NodeOutcome]) -> Sequence[NodeOutcome]:
    """The same results, as a child takes them that has nothing new for these nodes."""
    return _Hits(nodes, "unchanged", "same call as ")


class _Merged(Sequence[NodeOutcome]):
    def __init__(self, nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float) -> None:
        self._nodes = nodes
        self._new = new
        self._saved_s = saved_s

    def new(self) -> Mapping[int, NodeOutcome]:
        return self._new

    def packed(self) -> list[bytes | memoryview] | None:
        """As `dumps`, of many nodes at once, where they are those of an outcome that was read."""
        rest = self._nodes.packed() if isinstance(self._nodes, _Hits) else None
        if rest is None:
            return None
        rows, reasons = rest
        for i, one in self._new.items():
            status, why, key, value, blob, size, is_sample, seconds, created, _ = one
            reason = reasons.setdefault(why, len(reasons))
            _NODE.pack_into(rows, i * _NODE.size, status, is_sample, reason, key, value, blob, size, seconds, created)
        return _pieces(reasons, {i: one for i, one in sorted(self._new.items()) if one.extra}, rows)

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


def merged(nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float) -> Sequence[NodeOutcome]:
    """Hits with some other nodes in place of their own; `saved_s` is what the hits that are left took."""
    return _Merged(nodes, new, saved_s)


def settled_here(nodes: Sequence[NodeOutcome]) -> list[int]:
    """The nodes that ran or failed; of merged ones, without looking at the others."""
    pairs = nodes.new().items() if isinstance(nodes, _Merged) else enumerate(nodes)
    return [i for i, one in pairs if one.status in (NodeStatus.RAN, NodeStatus.FAILED)]


def having_samples(nodes: Sequence[NodeOutcome]) -> bool:
    """Whether some results are samples."""
    return nodes.has_samples() if isinstance(nodes, _Nodes) else any(one.is_sample for one in nodes)


def row_dumps(node: NodeOutcome) -> bytes:
    """One node as a row of the table of nodes, written as it settles."""
    if node.extra:
        return b"".join(dumps([node]))
    status, reason, key, value, blob, size, is_sample, seconds, created, _ = node
    return _head_for(reason) + _NODE.pack(status, is_sample, 0, key, value, blob, size, seconds, created)


@lru_cache(maxsize=256)
def _head_for(reason: str) -> bytes:
    """What stands before a single node without extras: few reasons serve many nodes."""
    return b"".join(dumps([NOT_YET._replace(reason=reason)])[:-1])


def row_loads(row: bytes) -> NodeOutcome:
    """The node in such a row."""
    return next(iter(loads(row)))


def totals(nodes: Sequence[NodeOutcome]) -> dict[str, Any]:
    """Counts by status, seconds run and seconds saved."""
    if isinstance(nodes, _Merged):
        return nodes.totals()
    count = dict.fromkeys(NodeStatus, 0)
    ran_s = saved_s = 0.0
    for node in nodes:
        count[node.status] += 1
        if node.status is NodeStatus.HIT:
            saved_s += node.seconds
        elif node.status in (NodeStatus.RAN, NodeStatus.FAILED):
            ran_s += node.seconds
    return {
        "nodes": len(nodes),
        "hits": count[NodeStatus.HIT],
        "ran": count[NodeStatus.RAN],
        "failed": count[NodeStatus.FAILED],
        "skipped": count[NodeStatus.SKIPPED],
        "cancelled": count[NodeStatus.CANCELLED],
        "ran_s": ran_s,
        "saved_s": saved_s,
    }
