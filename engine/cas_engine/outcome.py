"""What came of every node of a dispatch, as columns. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

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


@dataclass(frozen=True, slots=True)
class NodeOutcome:
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
    extra: dict[str, str]


NOT_YET = NodeOutcome(
    NodeStatus.PENDING, "", NO_DIGEST, NO_DIGEST, NO_DIGEST, 0, is_sample=False, seconds=0.0, created=0.0, extra={}
)


def dumps(nodes: Sequence[NodeOutcome]) -> list[bytes]:
    """The pieces of an outcome's blob: a JSON header with reasons and extras, then one row of fixed size a node."""
    reasons: dict[str, int] = {}
    rows = bytearray()
    for node in nodes:
        reason = reasons.setdefault(node.reason, len(reasons))
        rows += _NODE.pack(
            node.status,
            node.is_sample,
            reason,
            node.key,
            node.value,
            node.blob,
            node.size,
            node.seconds,
            node.created,
        )
    extras = {i: node.extra for i, node in enumerate(nodes) if node.extra}
    header = json.dumps({"reasons": list(reasons), "extras": extras, "nodes": len(nodes)}).encode()
    return [MAGIC, struct.pack("<I", len(header)), header, bytes(rows)]


def loads(blob: memoryview | bytes) -> list[NodeOutcome]:
    """The nodes in an outcome's blob."""
    view = memoryview(blob)
    at = len(MAGIC)
    (size,) = struct.unpack_from("<I", view, at)
    header = json.loads(bytes(view[at + 4 : at + 4 + size]))
    reasons: list[str] = header["reasons"]
    extras: dict[str, dict[str, str]] = header["extras"]
    rows = view[at + 4 + size :]
    return [
        NodeOutcome(
            NodeStatus(status),
            reasons[reason],
            key,
            value,
            blob_digest,
            size,
            bool(sample),
            seconds,
            created,
            extras.get(str(i), {}),
        )
        for i, (status, sample, reason, key, value, blob_digest, size, seconds, created) in enumerate(
            _NODE.iter_unpack(rows)
        )
    ]


def row_dumps(node: NodeOutcome) -> bytes:
    """One node as a row of the table of nodes, written as it settles."""
    return b"".join(dumps([node]))


def row_loads(row: bytes) -> NodeOutcome:
    """The node in such a row."""
    return loads(row)[0]


def totals(nodes: Sequence[NodeOutcome]) -> dict[str, Any]:
    """Counts by status, seconds run and seconds saved."""
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
