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
from typing import Any

from cas_engine.graphs.graph import Graph
from cas_engine.graphs.templates import KEY_PART, ROW, Rows, all_slots_count
from cas_engine.plans.decisions import (
    MISS,
    SAME,
    UNKNOWN,
    Decision,
    Decisions,
    Found,
    Hit,
    Miss,
    Same,
    TakeHits,
    Unknown,
)
from cas_engine.plans.keys import keys_of, node_key, sample_identity
from cas_engine.plans.policy import Policy
from cas_engine.plans.records import KEPT, UNCHANGED, Record
from cas_store.digest import Digest, digest_of_one

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
        self._draws = [row.stochastic for row in graph.rows]
        self._lookup = lookup
        self._kept = kept or {}
        self._has_parent = kept is not None
        self._first_with: dict[Digest, int] = {}
        self._decided: Decisions | None = None  # all that the above would say, once it was let go
        self.identities: list[Digest | None] = [None] * len(graph)

    def decide_all(self, lookup_many: LookupMany, take: TakeHits | None = None) -> Decisions:
        """What `decide` says of each node, with look-ups of many keys at once; hits are given to `take`, if anything.

        That takes identities for granted that a look-up could give the lie: a record of a deterministic electron which
        did not repeat itself is a sample. What comes after such a node is decided one by one.
        """
        graph = self._graph.flat()
        decisions = Decisions(len(graph), take)
        rows = graph.key_rows()
        by_column = not (any(self._draws) or any(self._forced) or self._kept or self._given) and all_slots_count(rows)
        decide = self._decide_by_column if by_column else self._decide_in_order
        odd = decide(decisions, graph, rows, lookup_many)
        return decisions if odd is None else self._one_by_one(decisions, odd)

    def _decide_by_column(self, decisions: Decisions, graph: Graph, rows: Rows, lookup_many: LookupMany) -> int | None:
        """All keys, then all look-ups: where none waits for a sample. In order, a node takes twice as long."""
        keys = keys_of(graph, rows, self._prefixes)
        decisions.keys, self.identities = [*keys], [*keys]
        decisions.kinds[:] = bytes([MISS]) * len(keys)
        # The first of equal calls: of those with one key, the last that is entered stays.
        self._first_with = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        is_alone = len(self._first_with) == len(keys)
        if not is_alone:
            self._note_same(decisions, keys)
        for begin in range(0, len(keys), _AT_ONCE):
            asked = list(range(begin, min(begin + _AT_ONCE, len(keys))))
            if not is_alone:
                kinds = decisions.kinds
                asked = [node for node in asked if kinds[node] == MISS]
            if (odd := self._answered(decisions, asked, {}, set(), lookup_many)) is not None:
                return odd
        return None

    def _note_same(self, decisions: Decisions, keys: Sequence[Digest]) -> None:
        for node, first in enumerate(map(self._first_with.__getitem__, keys)):
            if first != node:
                decisions.kinds[node], decisions.other[node] = SAME, first

    def _decide_in_order(self, decisions: Decisions, graph: Graph, rows: Rows, lookup_many: LookupMany) -> int | None:
        """Node by node, looked up no later than what hangs on it needs to know what its sample is."""
        identities, prefixes = self.identities, self._prefixes
        parents, first_parent, ordinals = graph.parents, graph.first_parent, graph.ordinal_of
        part_of, size = KEY_PART, ROW.size
        draws = self._draws
        # Another dispatch's sublattice was made with its samples: see `known`.
        entered = [self._has_parent and row.is_lattice and row.stochastic for row in graph.rows]
        first_with, kept, given = self._first_with.setdefault, self._kept, self._given
        kinds, keys, other = decisions.kinds, decisions.keys, decisions.other
        forced_of = [decisions.number(forced) for forced in self._forced]
        hash_of = digest_of_one
        asked: list[int] = []  # taken for misses so far
        found: dict[str, list[Found]] = {KEPT: [], UNCHANGED: []}  # hits that need no look-up, by reason
        drawn: set[int] = set()  # nodes asked for that have no identity without an answer
        some_unknown = False
        begin = 0
        for node, (at, template) in enumerate(zip(graph.electron_of, graph.template_of, strict=True)):
            end = first_parent[node + 1]
            if node in given:
                identities[node] = None
                key, record, reason = self._take_given(node)
                found[reason].append((node, key, record))
                begin = end
                continue
            digest, slots, key_slots = part_of(rows, template * size)
            above = parents[begin:end] if key_slots == slots else graph.key_parents_of(node)
            begin = end
            inside = [identities[parent] for parent in above]
            if len(asked) >= _AT_ONCE or (some_unknown and None in inside and not drawn.isdisjoint(above)):
                if (odd := self._answered(decisions, asked, found, drawn, lookup_many)) is not None:
                    return odd
                inside = [identities[parent] for parent in above]
            if some_unknown and None in inside:
                kinds[node], other[node] = UNKNOWN, above[inside.index(None)]
                continue
            stochastic, forced = draws[at], forced_of[at]
            # As `node_key`, which is called for each node elsewhere.
            if stochastic:
                key = node_key(prefixes[at], digest, ordinals[node], inside)  # type: ignore[arg-type]
            else:
                key = hash_of(b"".join((prefixes[at], digest, *inside)))  # type: ignore[arg-type]
            first = first_with(key, node)
            keys[node] = key
            if first != node:
                if first in drawn and (odd := self._answered(decisions, asked, found, drawn, lookup_many)) is not None:
                    return odd
                identities[node] = identities[first]
                some_unknown = some_unknown or identities[node] is None
                kinds[node], other[node] = SAME, first
                continue
            kinds[node], other[node] = MISS, forced
            if not forced:
                kept_one = kept.get(key) if kept else None
                if kept_one is not None:
                    self.settle(node, key, kept_one)
                    found[KEPT if kept_one.is_sample else UNCHANGED].append((node, key, kept_one))
                    continue
                if not entered[at]:
                    asked.append(node)
                    if stochastic:
                        drawn.add(node)
                if not stochastic:
                    identities[node] = key
                    continue
            some_unknown = True
        return self._answered(decisions, asked, found, drawn, lookup_many)

    def _answered(
        self,
        decisions: Decisions,
        asked: list[int],
        found: dict[str, list[Found]],
        drawn: set[int],
        lookup_many: LookupMany,
    ) -> int | None:
        """Look up what is to be asked; the first node that came out another than was taken for granted."""
        key_of: Callable[[int], Any] = decisions.keys.__getitem__
        asked.sort(key=key_of)  # for the store's sake
        keys: list[Digest] = list(map(key_of, asked))
        records, hits, odd = lookup_many(keys), list[Found](), None
        if any(records):
            each = zip(asked, keys, records, strict=True)
            hits = [(node, key, record) for node, key, record in each if record is not None]
        for node, key, record in [hit for hit in hits if hit[2].is_sample or hit[0] in drawn]:
            self.settle(node, key, record)
            if record.is_sample and not self._graph.row_of(node).stochastic and (odd is None or node < odd):
                odd = node
        asked.clear()
        drawn.clear()
        for reason, some in (*found.items(), (UNCHANGED, hits)):
            decisions.hits(some if odd is None else [one for one in some if one[0] <= odd], reason)
        for some in found.values():
            some.clear()
        return odd

    def _one_by_one(self, decisions: Decisions, odd: int) -> Decisions:
        after = range(odd + 1, len(self._graph))
        for node in after:
            self.identities[node] = None
        self._first_with = {key: first for key, first in self._first_with.items() if first <= odd}
        for node in after:
            decision = self.decide(node)
            if isinstance(decision, Hit):
                key, record, reason = decision
                decisions.hits([(node, key, record)], reason)
            else:
                decisions[node] = decision
        return decisions

    def let_go(self, decisions: Decisions) -> None:
        """Where all is decided, what only deciding needs goes: it is made again should a node be decided anew."""
        decisions.let_go()
        if decisions.kinds.find(UNKNOWN) < 0:
            self._decided, self._first_with = decisions, {}

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
        if self._decided is not None:
            keys, self._decided = self._decided.keys, None
            self._first_with = {one: at for at in reversed(range(len(keys))) if (one := keys[at]) is not None}
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
                return Hit(key, record, KEPT if kept and kept.is_sample else UNCHANGED)
        # A stochastic node's identity needs its sample; a forced one's too, for it may not repeat itself.
        if not row.stochastic and forced is None:
            self.identities[node] = key
        return Miss(key, forced)

    def _take_given(self, node: int) -> Hit:
        key, record = self._given[node]
        self.settle(node, key, record)
        return Hit(key, record, KEPT if record.is_sample else UNCHANGED)

    def known(self, node: int, key: Digest) -> Record | None:
        """What any dispatch has found for a key, if this one may use it."""
        return self._lookup(key) if self.may_have(node) else None

    def may_have(self, node: int) -> bool:
        """Whether what another dispatch found for a node's key may be used."""
        row = self._graph.row_of(node)
        # Another dispatch's sublattice was made with its samples; entered, it is made with the parent's.
        return not (self._has_parent and row.is_lattice and row.stochastic)

    def settle(self, node: int, key: Digest, record: Record) -> None:
        """Note the identity of a node whose result is there."""
        self.identities[node] = sample_identity(key, record.value) if record.is_sample else key
