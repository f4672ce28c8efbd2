"""Early cutoff: calls whose inputs came out as in an earlier call, whatever they were made by."""

from __future__ import annotations

from collections.abc import Container, Sequence

from cas_engine.bookkeeping.journal import Journal
from cas_engine.evaluating.setting import Setting
from cas_engine.plans.board import Board
from cas_engine.plans.decisions import Decisions
from cas_engine.plans.keys import content_key_of
from cas_engine.plans.plan import Planner
from cas_engine.plans.records import Record
from cas_store.digest import Digest


class Cutoff:
    """Looks misses up by content, for one evaluation."""

    def __init__(self, setting: Setting, board: Board, journal: Journal, planner: Planner) -> None:
        self._graph = setting.graph
        self._prefixes = setting.prefixes
        self._board = board
        self._journal = journal
        self._planner = planner
        self._looked_up: dict[int, Digest] = {}  # content keys without a record, while inputs stay

    def find(self, nodes: Sequence[int], decisions: Decisions, but: Container[int]) -> dict[int, Record]:
        """The results of those nodes that need not run; of draws, and of some nodes, none is looked for."""
        graph, looked_up = self._graph, self._looked_up
        wanted: dict[int, Digest] = {}
        for node in nodes:
            if node not in but and not graph.row_of(node).stochastic:
                wanted[node] = looked_up[node] = self._key_of(node)
        rows = self._journal.by_content(list(wanted.values())) if wanted else {}
        found: dict[int, Record] = {}
        for node, by_content in wanted.items() if rows else ():
            key, row = decisions.keys[node], rows.get(by_content)
            record = None if key is None or row is None else self._journal.take_by_content(row, key)
            if record is not None:
                found[node] = record
                del looked_up[node]
        return found

    def take_key(self, node: int) -> Digest:
        """The content key of a node that is to run."""
        return self._looked_up.pop(node, b"") or self._key_of(node)

    def forget(self) -> None:
        """Inputs may come out as something else."""
        self._looked_up.clear()

    def _key_of(self, node: int) -> Digest:
        prefix, identity_of = self._prefixes[self._graph.electron_of[node]], self._planner.identities.__getitem__
        so_far = self._board.so_far
        return content_key_of(self._graph, node, prefix, so_far.value, so_far.parts, identity_of)
