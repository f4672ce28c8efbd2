"""What came of a node, and of many that are rows. Pure."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from cas_store.digest import Digest

NODE = struct.Struct("<BBxxI16s16s16sQdd")  # status, is_sample, reason, key, value, blob, size, seconds, created
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
        """The nodes of some statuses, in order."""
        column = self.packed()[2][0 :: NODE.size]
        if sum(column.count(status) for status in statuses) == 0:  # as in all that ends well
            return []
        return [node for node, status in enumerate(column) if status in statuses]

    def totals(self) -> dict[str, Any]:
        """As `totals`."""
        rows = self.packed()[2]
        statuses = rows[0 :: NODE.size]
        seconds = dict.fromkeys(STATUS, 0.0)
        for status, took in _SECONDS.iter_unpack(rows):
            seconds[status] += took
        ran_s = seconds[NodeStatus.RAN] + seconds[NodeStatus.FAILED]
        return counted({status: statuses.count(status) for status in STATUS}, ran_s, seconds[NodeStatus.HIT])


def flagged(rows: bytearray | memoryview) -> bool:
    """Whether some are samples."""
    flags = bytes(rows[1 :: NODE.size])
    return flags.count(0) != len(flags)


def counted(count: Mapping[NodeStatus, int], ran_s: float, saved_s: float) -> dict[str, Any]:
    """How many nodes ended how, and the seconds, as dispatches tell."""
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
