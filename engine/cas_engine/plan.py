"""What to run and what to reuse, decided before anything runs. Pure.

A node can be decided once the identities of its parents are known: at once below deterministic nodes, and below a
stochastic node that runs only when its sample is there. The same `decide_all` serves the plan that people see and the
first pass of an evaluation, `decide` the rest of it as samples come in.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

from cas_engine.graph import Graph
from cas_engine.keys import node_key, sample_identity
from cas_engine.policy import Policy
from cas_engine.records import Record
from cas_store.digest import Digest


class Hit(NamedTuple):
    """There is a result for the key."""

    key: Digest
    record: Record
    reason: str


class Miss(NamedTuple):
    """The key has no result, or `forced` says why it runs all the same."""

    key: Digest
    forced: str | None


class Same(NamedTuple):
    """The key of an earlier node of this dispatch: it runs once for both."""

    key: Digest
    first: int


class Unknown(NamedTuple):
    """The key hangs on a sample that is not drawn yet, that of `parent`."""

    parent: int


Decision = Hit | Miss | Same | Unknown
Lookup = Callable[[Digest], Record | None]
LookupMany = Callable[[Sequence[Digest]], Sequence["Record | None"]]
_AT_ONCE = 1 << 15  # keys looked up together: what they give is in memory twice for as long


@contextmanager
def collecting_later() -> Iterator[None]:
    """Around a walk that makes a few objects for each node, none of them in cycles, and runs nothing of the user's.

    Python would look through all objects of the process again and again meanwhile: for a third of the time it takes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Planner:
    """Decides nodes in an order in which parents come first, and remembers what it decided.

    `lookup` gives the usable record of a key; `kept` holds the samples of the parent dispatch by key, which count
    before any other, and is None without a parent. `given` nodes are hits by these keys, whatever they hang on.
    """

    def __init__(
        self,
        graph: Graph,
        prefixes: Sequence[bytes],
        policy: Policy,
        lookup: Lookup,
        kept: Mapping[Digest, Record] | None,
        given: Mapping[int, tuple[Digest, Record]] = MappingProxyType({}),
    ) -> None:
        self._graph = graph
        self._given = given
        self._prefixes = prefixes
        self._forced = [policy.reason(row) for row in graph.rows]
        self._lookup = lookup
        self._kept = kept or {}
        self._has_parent = kept is not None
        self._first_with: dict[Digest, int] = {}
        self.identities: list[Digest | None] = [None] * len(graph)

    def decide_all(self, lookup_many: LookupMany) -> list[Decision]:
        """What `decide` says of each node, in order, with look-ups of many keys at once.

        That takes identities for granted that a look-up could give the lie: a record of a deterministic electron which
        did not repeat itself is a sample. What comes after such a node is decided one by one.
        """
        graph, identities, prefixes = self._graph, self.identities, self._prefixes
        parents, first_parent, ordinals = graph.parents, graph.first_parent, graph.ordinal_of
        templates = graph.template_keys()
        draws = [row.stochastic for row in graph.rows]
        # Another dispatch's sublattice was made with its samples: see `known`.
        entered = [self._has_parent and row.is_lattice and row.stochastic for row in graph.rows]
        first_with, forced_of, kept = self._first_with.setdefault, self._forced, self._kept
        given = self._given
        decisions: list[Decision] = []
        decided = decisions.append
        asked: list[tuple[int, Digest]] = []  # their decisions so far say that they miss
        drawn: set[int] = set()  # those among them that have no identity without an answer
        begin = 0
        for node, (at, template) in enumerate(zip(graph.electron_of, graph.template_of, strict=True)):
            end = first_parent[node + 1]
            if node in given:
                decided(self._take_given(node))
                begin = end
                continue
            digest, slots, key_slots = templates[template]
            above = parents[begin:end] if key_slots == slots else graph.key_parents_of(node)
            begin = end
            inside = [identities[parent] for parent in above]
            if len(asked) >= _AT_ONCE or (None in inside and not drawn.isdisjoint(above)):
                if (odd := self._answered(decisions, asked, drawn, lookup_many)) is not None:
                    return self._one_by_one(decisions, odd)
                inside = [identities[parent] for parent in above]
            if None in inside:
                decided(Unknown(above[inside.index(None)]))
                continue
            stochastic, forced = draws[at], forced_of[at]
            key = node_key(prefixes[at], digest, ordinals[node] if stochastic else None, inside)  # type: ignore[arg-type]
            first = first_with(key, node)
            if first != node:
                if first in drawn and (odd := self._answered(decisions, asked, drawn, lookup_many)) is not None:
                    return self._one_by_one(decisions, odd)
                identities[node] = identities[first]
                decided(Same(key, first))
                continue
            if forced is None:
                record = kept.get(key)
                if record is not None:
                    self.settle(node, key, record)
                    decided(Hit(key, record, "kept from the parent" if stochastic else "unchanged"))
                    continue
                if not entered[at]:
                    asked.append((node, key))
                    if stochastic:
                        drawn.add(node)
                if not stochastic:
                    identities[node] = key
            decided(Miss(key, forced))
        odd = self._answered(decisions, asked, drawn, lookup_many)
        return decisions if odd is None else self._one_by_one(decisions, odd)

    def _answered(
        self, decisions: list[Decision], asked: list[tuple[int, Digest]], drawn: set[int], lookup_many: LookupMany
    ) -> int | None:
        """Look up what is to be asked; the first node that came out another than was taken for granted."""
        drawn.clear()
        asked.sort(key=_by_key)  # for the store's sake
        hits = [
            (node, record)
            for (node, _), record in zip(asked, lookup_many([key for _, key in asked]), strict=True)
            if record is not None
        ]
        asked.clear()
        rows, electron_of = self._graph.rows, self._graph.electron_of
        odd = None
        for node, record in hits:
            key = decisions[node].key  # type: ignore[union-attr]
            decisions[node] = Hit(key, record, "unchanged")
            if record.is_sample:
                self.settle(node, key, record)
                if not rows[electron_of[node]].stochastic and (odd is None or node < odd):
                    odd = node
            else:
                self.identities[node] = key
        return odd

    def _one_by_one(self, decisions: list[Decision], odd: int) -> list[Decision]:
        after = range(odd + 1, len(self._graph))
        for node in after:
            self.identities[node] = None
        self._first_with = {key: first for key, first in self._first_with.items() if first <= odd}
        return [*decisions[: odd + 1], *map(self.decide, after)]

    def decide(self, node: int) -> Decision:
        """Hit, miss, the same as an earlier node, or not known yet."""
        graph = self._graph
        if node in self._given:
            return self._take_given(node)
        identities: list[Digest] = []
        for parent in graph.key_parents_of(node):
            identity = self.identities[parent]
            if identity is None:
                return Unknown(parent)
            identities.append(identity)
        at = graph.electron_of[node]
        row = graph.rows[at]
        ordinal = graph.ordinal_of[node] if row.stochastic else None
        key = node_key(self._prefixes[at], graph.template(node).digest, ordinal, identities)
        first = self._first_with.setdefault(key, node)
        if first != node:
            self.identities[node] = self.identities[first]
            return Same(key, first)
        forced = self._forced[at]
        if forced is None:
            kept = self._kept.get(key)
            record = kept or self.known(node, key)
            if record is not None:
                self.settle(node, key, record)
                return Hit(key, record, "kept from the parent" if kept and row.stochastic else "unchanged")
        # A stochastic node's identity needs its sample; a forced one's too, for it may not repeat itself.
        if not row.stochastic and forced is None:
            self.identities[node] = key
        return Miss(key, forced)

    def _take_given(self, node: int) -> Hit:
        key, record = self._given[node]
        self.settle(node, key, record)
        return Hit(key, record, "unchanged")

    def known(self, node: int, key: Digest) -> Record | None:
        """What any dispatch has found for a key, if this one may use it."""
        row = self._graph.row_of(node)
        # Another dispatch's sublattice was made with its samples; entered, it is made with the parent's.
        return None if self._has_parent and row.is_lattice and row.stochastic else self._lookup(key)

    def settle(self, node: int, key: Digest, record: Record) -> None:
        """Note the identity of a node whose result is there."""
        self.identities[node] = sample_identity(key, record.value) if record.is_sample else key


def _by_key(asked: tuple[int, Digest]) -> Digest:
    return asked[1]
