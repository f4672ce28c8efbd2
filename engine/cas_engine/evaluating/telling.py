"""Tells whoever watches an evaluation what becomes of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cas_engine.evaluating.events import NodeFinished, NodeStarted, Observer, Planned
from cas_engine.evaluating.setting import Rest, Setting
from cas_engine.graphs.graph import Graph
from cas_engine.plans.outcome import NodeOutcome, NodeStatus
from cas_engine.plans.outcomes import having


class Teller:
    """The events of one dispatch; costs nothing when nobody listens."""

    def __init__(self, setting: Setting, labels: Sequence[str]) -> None:
        self._observer: Observer | None = setting.observer
        self._dispatch_id = setting.dispatch_id
        self._lattice = setting.lattice
        self._graph: Graph = setting.graph
        self._times: Callable[[], Mapping[int, float]] = setting.times
        self._labels = labels
        self._numbers = setting.numbers
        self._rest: Rest | tuple[()] = setting.rest or ()

    def planned(self, outcomes: Sequence[NodeOutcome]) -> None:
        """The first pass is over: how many nodes there are, how many are hits, and each of those."""
        if self._observer is None:
            return
        times = self._times()
        left = having(outcomes, NodeStatus.PENDING)
        estimate = sum(times.get(node, 0.0) for node in left)
        rest = self._rest
        hits = len(outcomes) - len(left) + len(rest)
        self._observer(Planned(self._dispatch_id, self._lattice, len(outcomes) + len(rest), hits, estimate))
        for number, label, slot, hit in rest:
            self._finished(number, label, slot, hit)
        for node, one in enumerate(outcomes):
            if one.status is not NodeStatus.PENDING:
                self.finished(node, one)

    def started(self, node: int) -> None:
        """A node runs."""
        if self._observer is not None:
            slot = self._graph.row_of(node).slot
            self._observer(NodeStarted(self._dispatch_id, self._number(node), self._labels[node], slot))

    def finished(self, node: int, one: NodeOutcome) -> None:
        """A node is settled."""
        if self._observer is not None:
            self._finished(self._number(node), self._labels[node], self._graph.row_of(node).slot, one)

    def _number(self, node: int) -> int:
        return node if self._numbers is None else self._numbers[node]

    def _finished(self, number: int, label: str, slot: str, one: NodeOutcome) -> None:
        assert self._observer is not None  # noqa: S101 - asked only with one
        is_hit = one.status is NodeStatus.HIT
        self._observer(
            NodeFinished(
                dispatch_id=self._dispatch_id,
                index=number,
                label=label,
                electron=slot,
                status=one.status.word,
                reason=one.reason,
                seconds=0.0 if is_hit else one.seconds,
                saved_s=one.seconds if is_hit else 0.0,
            )
        )
