"""Early cutoff: calls whose inputs came out as in an earlier call, whatever they were made by."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from cas_engine.bookkeeping.journal import Journal
from cas_engine.calling.worker import Taken
from cas_engine.evaluating.setting import Setting
from cas_engine.graphs.bindings import Ref, refs_in
from cas_engine.graphs.picks import Picks
from cas_engine.plans.board import Board
from cas_engine.plans.decisions import Decisions
from cas_engine.plans.keys import content_key_of, part_in
from cas_engine.plans.plan import Planner
from cas_engine.plans.records import Parts, Record
from cas_store.digest import Digest


class Cutoff:
    """Looks misses up by content, for one evaluation."""

    def __init__(self, setting: Setting, board: Board, journal: Journal, planner: Planner, picks: Picks) -> None:
        self._graph = setting.graph
        self._prefixes = setting.prefixes
        self._board = board
        self._journal = journal
        self._planner = planner
        self._picks = picks
        self._looked_up: dict[int, Digest] = {}  # content keys without a record, while inputs stay

    def find(self, nodes: Sequence[int], decisions: Decisions, but: Container[int]) -> dict[int, Record]:
        """The results of those nodes that need not run; of draws, and of some nodes, none is looked for."""
        graph, looked_up = self._graph, self._looked_up
        wanted: dict[int, Digest] = {}
        for node in nodes:
            if node not in but and not graph.rows[graph.electron_of[node]].stochastic:
                wanted[node] = looked_up[node] = self._key_of(node)
        found = self._found(wanted, decisions)
        if self._picks.are_there:
            # It may have run when of what it takes no more was known than what it is a part of.
            taking = [node for node in wanted if node not in found and self._picks.any_in(node)]
            found |= self._found({node: self._key_of(node, self._known_anyhow) for node in taking}, decisions)
        for node in found:
            del looked_up[node]
        return found

    def _found(self, wanted: Mapping[int, Digest], decisions: Decisions) -> dict[int, Record]:
        rows = self._journal.by_content(list(wanted.values())) if wanted else {}
        found: dict[int, Record] = {}
        for node, by_content in wanted.items() if rows else ():
            key, row = decisions.keys[node], rows.get(by_content)
            record = None if key is None or row is None else self._journal.take_by_content(row, key)
            if record is not None:
                found[node] = record
        return found

    def take_key(self, node: int) -> Digest:
        """The content key of a node that is to run."""
        return self._looked_up.pop(node, b"") or self._key_of(node)

    def forget(self) -> None:
        """Inputs may come out as something else."""
        self._looked_up.clear()

    def unknown_parts(self, node: int) -> tuple[Ref, ...]:
        """The parts that a node takes of which no more is known than what they are parts of."""
        above, parts = self._graph.parents_of(node), self._board.so_far.parts
        refs = (ref for _, binding in self._graph.template(node).params for ref in refs_in(binding) if ref.path)
        return tuple([ref for ref in refs if part_in(parts(above[ref.slot]), ref.path) is None])

    def key_with(self, node: int, taken: Iterable[Taken]) -> Digest:
        """The content key of a node, with digests of parts that it had at hand."""
        above = self._graph.parents_of(node)
        more: dict[int, dict[Digest, Digest]] = {}
        for slot, path, digest in taken:
            more.setdefault(above[slot], {})[path] = digest

        def parts_of(parent: int) -> Parts:
            parts = self._board.so_far.parts(parent)
            return replace(parts, by_path={**parts.by_path, **more.get(parent, {})})

        return self._key_of(node, parts_of)

    def _known_anyhow(self, parent: int) -> Parts:
        """The parts of a result without those that are known because somebody takes them."""
        return replace(self._board.so_far.parts(parent), by_path={})

    def _key_of(self, node: int, parts_of: Callable[[int], Parts] | None = None) -> Digest:
        prefix, identity_of = self._prefixes[self._graph.electron_of[node]], self._planner.identities.__getitem__
        so_far = self._board.so_far
        return content_key_of(self._graph, node, prefix, so_far.value, parts_of or so_far.parts, identity_of)
