"""Which nodes of a graph are settled, which are ready, which wait for what. Pure.

A node is settled once it has an outcome. One that is not is ready when all its parents have results; it is waiting
while some have none yet; it follows another when both are the same call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from cas_engine.graph import Graph
from cas_engine.outcome import NO_DIGEST, NO_EXTRA, NOT_YET, NodeOutcome, NodeStatus
from cas_engine.records import Record
from cas_store.digest import Digest

_PAST = {
    NodeStatus.FAILED: "failed",
    NodeStatus.SKIPPED: "was skipped",
    NodeStatus.CANCELLED: "was cancelled",
}


class Board:
    """The state of the nodes of one evaluation. `on_settled` hears of each node that gets an outcome after `open`."""

    def __init__(self, graph: Graph, labels: Sequence[str], on_settled: Callable[[int, NodeOutcome], None]) -> None:
        self._graph = graph
        self._on_settled = on_settled
        self.labels = labels
        self.outcomes: list[NodeOutcome | None] = [None] * len(graph)
        self.records: list[Record | None] = [None] * len(graph)
        self.ready: deque[int] = deque()
        self.unsettled = 0
        self._waiting: dict[int, int] = {}  # unsettled parents of each node that has some
        self._children: dict[int, list[int]] = {}
        self._followers: dict[int, list[int]] = {}
        self._is_open = False

    def begin_with(self, node: int, one: NodeOutcome, record: Record) -> None:
        """Settle a node before anything is open."""
        self.outcomes[node], self.records[node] = one, record

    def open(self) -> None:
        """All hits that could be told at once are in: find what is ready and what waits."""
        self._is_open = True
        for node, one in enumerate(self.outcomes):
            if one is None:
                self.unsettled += 1
                self.enqueue(node)

    def enqueue(self, node: int) -> None:
        """Make an unsettled node ready, or note what it waits for."""
        above = set(self._graph.parents_of(node))
        for parent in above:
            one = self.outcomes[parent]
            if one is not None and self.records[parent] is None:
                self.skip(node, f"needs {self.labels[parent]}, which {_PAST[one.status]}")
                return
        missing = [parent for parent in above if self.records[parent] is None]
        if not missing:
            self.ready.append(node)
            return
        self._waiting[node] = len(missing)
        for parent in missing:
            self._children.setdefault(parent, []).append(node)

    def give(self, node: int, one: NodeOutcome, record: Record) -> list[int]:
        """Settle a node with its result, free those that waited for it; the followers, which can have it too."""
        self.records[node] = record
        self._settle(node, one)
        for child in self._children.pop(node, ()):
            left = self._waiting.get(child)
            if left is not None:
                self._waiting[child] = left - 1
                if left == 1:
                    del self._waiting[child]
                    self.ready.append(child)
        return self._followers.pop(node, [])

    def follow(self, node: int, first: int) -> None:
        """Attach a node to an earlier one that is the same call and is not settled yet."""
        self._followers.setdefault(first, []).append(node)

    def fail(self, node: int, one: NodeOutcome) -> None:
        """Settle a node that has no result, and skip all that hangs on it."""
        self._settle(node, one)
        self._skip_below(node, _PAST[one.status])

    def skip(self, node: int, reason: str) -> None:
        """Settle a node that cannot run."""
        self.fail(node, nothing(NodeStatus.SKIPPED, reason))

    def skip_same(self, node: int, first: int) -> None:
        """Settle a node that is the same call as one that got no result."""
        one = self.outcomes[first]
        assert one is not None  # noqa: S101 - else it would follow
        self.skip(node, f"same call as {self.labels[first]}, which {_PAST[one.status]}")

    def cancel(self) -> None:
        """Settle all that is left as cancelled."""
        for node, one in enumerate(self.outcomes):
            if one is None:
                self._settle(node, nothing(NodeStatus.CANCELLED, "the dispatch was cancelled"))
        self.ready.clear()

    def reopen(self, node: int) -> NodeOutcome:
        """Take a node's result away, because its blob is gone; what it had been."""
        one = self.outcomes[node] or NOT_YET
        self.outcomes[node], self.records[node] = None, None
        if self._is_open:
            self.unsettled += 1
            self.enqueue(node)
        return one

    def unsettled_below(self, nodes: Iterable[int]) -> list[int]:
        """The unsettled nodes that hang on these, in order."""
        above = set(nodes)
        below = []
        for node in range(min(above, default=0) + 1, len(self._graph)):
            if self.outcomes[node] is None and not above.isdisjoint(self._graph.parents_of(node)):
                above.add(node)
                below.append(node)
        return below

    def settled(self) -> list[NodeOutcome]:
        """What came of each node so far."""
        return [one or NOT_YET for one in self.outcomes]

    def _settle(self, node: int, one: NodeOutcome) -> None:
        self.outcomes[node] = one
        if self._is_open:
            self.unsettled -= 1
            self._waiting.pop(node, None)
            self._on_settled(node, one)

    def _skip_below(self, node: int, how: str) -> None:
        todo = [(node, how)]
        while todo:
            above, past = todo.pop()
            for child in [*self._children.pop(above, ()), *self._followers.pop(above, ())]:
                if self.outcomes[child] is None:
                    self._settle(child, nothing(NodeStatus.SKIPPED, f"needs {self.labels[above]}, which {past}"))
                    todo.append((child, "was skipped"))


def with_result(status: NodeStatus, reason: str, key: Digest, record: Record, extra: Mapping[str, str]) -> NodeOutcome:
    """The outcome of a node that has a result."""
    return NodeOutcome(
        status,
        reason,
        key,
        record.value,
        record.blob,
        record.size,
        record.is_sample,
        record.seconds,
        record.created,
        extra,
    )


def nothing(status: NodeStatus, reason: str) -> NodeOutcome:
    """The outcome of a node that never ran."""
    return NodeOutcome(
        status, reason, NO_DIGEST, NO_DIGEST, NO_DIGEST, 0, is_sample=False, seconds=0.0, created=0.0, extra=NO_EXTRA
    )
