"""What came of all nodes of a dispatch: as it was read, or as a child takes it over, looked at one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cas_engine.plans.outcome import NO_EXTRA, NODE, STATUS, NodeOutcome, NodeStatus, Packed, counted, flagged
from cas_engine.plans.records import KEPT, UNCHANGED
from cas_store.digest import Digest

_SHARE = 8  # where more than one node in so many is another, all are written


class Nodes(Sequence[NodeOutcome]):
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
            self.samples = flagged(self._rows)
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


class Hits(Sequence[NodeOutcome]):
    """Nodes as they are where they answer another dispatch, made when they are looked at."""

    def __init__(self, nodes: Sequence[NodeOutcome], reason: str, *, as_child: bool = False) -> None:
        self._nodes = nodes
        self._reason = reason
        self._as_child = as_child  # whether each has the reason that it has for a child

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, index: Any) -> Any:
        found = self._nodes[index]
        return [self._hit(one) for one in found] if isinstance(index, slice) else self._hit(found)

    def __iter__(self) -> Iterator[NodeOutcome]:
        return map(self._hit, self._nodes)

    def base(self) -> Nodes | None:
        """The outcome that was read, if its parts can be shared by who has these hits."""
        nodes = self._nodes
        return nodes if self._as_child and isinstance(nodes, Nodes) and nodes.parts else None

    def having_extras(self) -> list[int]:
        return [i for i in having_extras(self._nodes) if self[i].extra]

    def has_samples(self) -> bool:
        return having_samples(self._nodes)

    def _hit(self, one: NodeOutcome) -> NodeOutcome:
        extra = {"dispatch": one.extra["dispatch"]} if "dispatch" in one.extra else NO_EXTRA
        reason = self._reason
        if self._as_child:
            reason = one.reason if one.reason.startswith(_STAYS) else KEPT if one.is_sample else reason
        return one._replace(status=NodeStatus.HIT, reason=reason, extra=extra)


class Merged(Sequence[NodeOutcome]):
    def __init__(self, nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float) -> None:
        self._nodes = nodes
        self._new = new
        self._saved_s = saved_s

    def new(self) -> Mapping[int, NodeOutcome]:
        return self._new

    def below(self) -> Sequence[NodeOutcome]:
        return self._nodes

    def base(self) -> Nodes | None:
        """What was read, where it lies in parts and few nodes are others by now."""
        few = len(self._new) * _SHARE <= len(self._nodes)
        return self._nodes.base() if few and isinstance(self._nodes, Hits) else None

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


class Read(Merged):
    """As it was written down, with a word on whether it has samples."""

    def __init__(
        self, nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float, samples: bool
    ) -> None:
        super().__init__(nodes, new, saved_s)
        self._samples = samples

    def has_samples(self) -> bool:
        return self._samples


def all_hits(nodes: Sequence[NodeOutcome], reason: str) -> Sequence[NodeOutcome]:
    """The same results, as taken from the dispatch that has them."""
    return Hits(nodes, reason)


def unchanged(nodes: Sequence[NodeOutcome]) -> Sequence[NodeOutcome]:
    """The same results, as a child takes them that has nothing new for these nodes."""
    if isinstance(nodes, Read):
        changed = Hits(list(nodes.new().values()), UNCHANGED, as_child=True)
        return Merged(nodes.below(), dict(zip(nodes.new(), changed, strict=True)), 0.0)
    return Hits(nodes, UNCHANGED, as_child=True)


_STAYS = "same call as "  # how reasons begin that a child has, too


def merged(nodes: Sequence[NodeOutcome], new: Mapping[int, NodeOutcome], saved_s: float) -> Sequence[NodeOutcome]:
    """Hits with some other nodes in place of their own; `saved_s` is what the hits that are left took."""
    if isinstance(nodes, Merged):
        others = {i: one for i, one in nodes.new().items() if i not in new}
        saved_s -= sum(one.seconds for one in others.values())
        nodes, new = nodes.below(), {**others, **new}
    return Merged(nodes, new, max(saved_s, 0.0))


def having(nodes: Sequence[NodeOutcome], *statuses: NodeStatus) -> list[int]:
    """The nodes that ended so, in order; of merged ones, without looking at those that are hits."""
    if isinstance(nodes, Packed):
        return nodes.having(statuses)
    pairs = nodes.new().items() if isinstance(nodes, Merged) else enumerate(nodes)
    return sorted(i for i, one in pairs if one.status in statuses)


def having_extras(nodes: Sequence[NodeOutcome]) -> list[int]:
    """The nodes that have extras, in order; of an outcome that was read, without looking at the others."""
    if isinstance(nodes, (Nodes, Hits, Merged)):
        return nodes.having_extras()
    return [i for i, one in enumerate(nodes) if one.extra]


def having_samples(nodes: Sequence[NodeOutcome]) -> bool:
    """Whether some results are samples."""
    if isinstance(nodes, Packed):
        return flagged(nodes.packed()[2])
    if isinstance(nodes, (Nodes, Hits, Merged)):
        return nodes.has_samples()
    return any(one.is_sample for one in nodes)


def totals(nodes: Sequence[NodeOutcome]) -> dict[str, Any]:
    """Counts by status, seconds run and seconds saved."""
    if isinstance(nodes, Packed) or (isinstance(nodes, Merged) and not isinstance(nodes, Read)):
        return nodes.totals()
    count = dict.fromkeys(NodeStatus, 0)
    ran_s = saved_s = 0.0
    for node in nodes:
        count[node.status] += 1
        if node.status is NodeStatus.HIT:
            saved_s += node.seconds
        elif node.status in (NodeStatus.RAN, NodeStatus.FAILED):
            ran_s += node.seconds
    return counted(count, ran_s, saved_s)
