"""Which nodes of a graph are settled, which are ready, which wait for what. Pure.

A node is settled once it has an outcome. One that is not is ready when all its parents have results; it is waiting
while some have none yet; it follows another when both are the same call.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from cas_engine.graphs.graph import Graph
from cas_engine.plans.decisions import Found
from cas_engine.plans.outcome import NO_DIGEST, NO_EXTRA, NodeOutcome, NodeStatus
from cas_engine.plans.records import Record
from cas_engine.plans.settling import Settling
from cas_store.digest import Digest

_PAST = {
    NodeStatus.FAILED: "failed",
    NodeStatus.SKIPPED: "was skipped",
    NodeStatus.CANCELLED: "was cancelled",
}
OPEN, DONE, LOST = range(3)  # the state of a node: unsettled, settled with a result, settled without


class Board:
    """The state of the nodes of one evaluation. `on_settled` hears of each node that gets an outcome after `open`."""

    def __init__(self, graph: Graph, labels: Sequence[str], on_settled: Callable[[int, NodeOutcome], None]) -> None:
        self._graph = graph
        self._on_settled = on_settled
        self.labels = labels
        self.state = bytearray(len(graph))
        self.so_far = Settling(len(graph))
        self.ready: deque[int] = deque()
        self.unsettled = 0
        # To how many unsettled parents each waiting node hangs, counted as often as it takes something of them.
        self._waiting = array("I", bytes(4 * len(graph)))
        self._followers: dict[int, list[int]] = {}
        self._is_open = False

    def close(self) -> None:
        """Nobody is to hear of anything any more: whoever did need not stay for that."""
        self._on_settled = lambda _node, _one: None

    def begin_with(self, found: Sequence[Found], reason: str, extras: Mapping[int, Mapping[str, str]]) -> None:
        """Settle nodes with results that were there, before anything is open."""
        self.so_far.hits(found, reason, extras)
        state = self.state
        for node, _, _ in found:
            state[node] = DONE

    def record(self, node: int) -> Record | None:
        """The record of a node that has a result."""
        return self.so_far.record(node) if self.state[node] == DONE else None

    def have_results(self, nodes: Sequence[int]) -> bool:
        """Whether all of them have."""
        state = self.state
        for node in nodes:  # noqa: SIM110 - a generator takes three times as long
            if state[node] != DONE:
                return False
        return True

    def open(self) -> None:
        """All hits that could be told at once are in: find what is ready and what waits."""
        self._is_open = True
        node = self.state.find(OPEN)
        while node >= 0:
            self.unsettled += 1
            self.enqueue(node)
            node = self.state.find(OPEN, node + 1)

    def enqueue(self, node: int) -> None:
        """Make an unsettled node ready, or note what it waits for."""
        state, missing = self.state, 0
        for parent in self._graph.parents_of(node):
            if state[parent] == DONE:
                continue
            if state[parent] == LOST:
                self.skip(node, f"needs {self.labels[parent]}, which {_PAST[self.so_far[parent].status]}")
                return
            missing += 1
        self._waiting[node] = missing
        if not missing:
            self.ready.append(node)

    def give(self, node: int, one: NodeOutcome, record: Record) -> Sequence[int]:
        """Settle a node with its result, free those that waited for it; the followers, which can have it too."""
        self._settle(node, one, record)
        waiting = self._waiting
        for child in self._graph.index.children_of(node):
            left = waiting[child]
            if left:
                waiting[child] = left - 1
                if left == 1:
                    self.ready.append(child)
        return self._followers.pop(node, ())

    def followers_of(self, node: int) -> Sequence[int]:
        """The later ones that are the same call."""
        return self._followers.get(node, ())

    def follow(self, node: int, first: int) -> None:
        """Attach a node to an earlier one that is the same call and is not settled yet."""
        self._followers.setdefault(first, []).append(node)

    def fail(self, node: int, one: NodeOutcome) -> None:
        """Settle a node that has no result, and skip all that hangs on it."""
        self._settle(node, one, None)
        self._skip_below(node, _PAST[one.status])

    def skip(self, node: int, reason: str) -> None:
        """Settle a node that cannot run."""
        self.fail(node, nothing(NodeStatus.SKIPPED, reason))

    def skip_same(self, node: int, first: int) -> None:
        """Settle a node that is the same call as one that got no result."""
        self.skip(node, f"same call as {self.labels[first]}, which {_PAST[self.so_far[first].status]}")

    def cancel(self) -> None:
        """Settle all that is left as cancelled."""
        for node, state in enumerate(self.state):
            if state == OPEN:
                self._settle(node, nothing(NodeStatus.CANCELLED, "the dispatch was cancelled"), None)
        self.ready.clear()

    def reopen(self, node: int) -> NodeOutcome:
        """Take a node's result away, because its blob is gone; what it had been."""
        one, before = self.so_far.take_back(node), self.state[node]
        self.state[node] = OPEN
        if before == DONE:
            for child in self._graph.index.children_of(node):
                self._waiting[child] += self._waiting[child] > 0
        if self._is_open:
            self.unsettled += 1
            self.enqueue(node)
        return one

    def _settle(self, node: int, one: NodeOutcome, record: Record | None) -> None:
        self.so_far.settle(node, one, record)
        self.state[node] = LOST if record is None else DONE
        if self._is_open:
            self.unsettled -= 1
            self._waiting[node] = 0
            self._on_settled(node, one)

    def _skip_below(self, node: int, how: str) -> None:
        todo = [(node, how)]
        while todo:
            above, past = todo.pop()
            waiting = [child for child in self._graph.index.children_of(above) if self._waiting[child]]
            for child in [*waiting, *self._followers.pop(above, ())]:
                if self.state[child] == OPEN:
                    reason = f"needs {self.labels[above]}, which {past}"
                    self._settle(child, nothing(NodeStatus.SKIPPED, reason), None)
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
