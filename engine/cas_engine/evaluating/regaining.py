"""Results that an evaluation counted on and that are gone, or came out otherwise: which nodes are open again for it."""

from __future__ import annotations

from collections.abc import Sequence

from cas_engine.bookkeeping.journal import BLOB_GONE, EVICTED, Journal
from cas_engine.evaluating.calls import Calls
from cas_engine.evaluating.cutoff import Cutoff
from cas_engine.evaluating.setting import GivenGone, Setting
from cas_engine.graphs.graph import Graph
from cas_engine.plans.board import OPEN, Board
from cas_engine.plans.decisions import SAME, Decisions, Miss, Unknown
from cas_engine.plans.plan import Planner
from cas_engine.plans.records import Record
from cas_store.digest import Digest


class Regaining:
    """Opens nodes of one evaluation again."""

    def __init__(
        self,
        setting: Setting,
        board: Board,
        journal: Journal,
        planner: Planner,
        calls: Calls,
        cutoff: Cutoff,
    ) -> None:
        self._graph: Graph = setting.graph
        self._given = setting.given
        self._board = board
        self._journal = journal
        self._planner = planner
        self._calls = calls
        self._cutoff = cutoff
        self.decisions = Decisions(0)
        self.values: dict[int, Digest] = {}  # of nodes whose blob is gone, so that no look-up can help: what they had
        self.is_under_way = False  # a result may have been taken away since a node was ready

    def is_back(self, node: int, record: Record) -> bool:
        """Whether a result that has to be computed again has been, by somebody else."""
        return record.value == self.values[node] and self._journal.is_readable(record.blob)

    def givers(self, node: int, blob: Digest) -> list[int]:
        """Those that a node has this blob from."""
        found = self._board.record
        above = sorted(set(self._graph.parents_of(node)))
        return [parent for parent in above if (record := found(parent)) is not None and record.blob == blob]

    def evicted_among(self, nodes: Sequence[int]) -> list[int]:
        """Those whose results were taken away on purpose, and are needed now."""
        evicted = self._journal.evicted
        found = [(node, record.blob) for node in nodes if (record := self._board.record(node)) is not None]
        # It may be there again by now, computed by another dispatch or for another node.
        return [node for node, blob in found if blob in evicted and not self._journal.is_there(blob)]

    def damaged_outputs(self) -> list[int]:
        """Those that the lattice returns something of, and whose blobs are gone."""
        return [
            node
            for node in sorted(set(self._graph.output_parents))
            if (record := self._board.record(node)) is not None and not self._journal.is_readable(record.blob)
        ]

    def reopen(self, nodes: Sequence[int]) -> None:
        """Compute results again. Of equal calls the first runs, and the others have it from there. Raises GivenGone."""
        if not self._given.keys().isdisjoint(nodes):
            self._calls.give_up()
            raise GivenGone
        self._cutoff.forget()  # what comes back may come back as something else
        decisions = self.decisions
        firsts = {first for node in nodes if (first := decisions.first_of(node)) is not None}
        self.is_under_way = self.is_under_way or bool(nodes)
        for node in sorted({*nodes, *firsts}):
            if (record := self._board.record(node)) is None:
                continue  # under way already
            one = self._board.reopen(node)
            if decisions.kinds[node] == SAME:
                continue
            self.values.setdefault(node, one.value)
            decisions[node] = Miss(one.key, None)
            self._journal.unusable[one.key] = EVICTED if self._journal.was_evicted(record.blob) else BLOB_GONE

    def decide_anew_below(self, node: int) -> None:
        """Another sample than the one that all below was decided with, hits included."""
        self._cutoff.forget()
        self.is_under_way = True
        cone = {node}
        for below in range(node + 1, len(self._graph)):
            if cone.isdisjoint(self._graph.parents_of(below)):
                continue
            cone.add(below)
            key = self.decisions.keys[below]
            if key is not None and below not in self._calls and self._journal.has_claimed(key):
                self._journal.unclaim(key)
            self.decisions[below] = Unknown(node)
            self._planner.identities[below] = None
            if self._board.state[below] != OPEN:
                self._board.reopen(below)
