"""What to run and what to reuse, decided before anything runs. Pure.

A node can be decided once the identities of its parents are known: at once below deterministic nodes, and below a
stochastic node that runs only when its sample is there. The same `decide_all` serves the plan that people see and the
first pass of an evaluation, `decide` the rest of it as samples come in.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

from cas_engine.graph import Graph
from cas_engine.keys import node_key, sample_identity
from cas_engine.policy import Policy
from cas_engine.records import Record
from cas_engine.templates import KEY_PART, ROW
from cas_store.digest import Digest, digest_of_one


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
TakeHit = Callable[[int, Digest, Record, str], None]
UNDECIDED, HIT, MISS, SAME, UNKNOWN = range(5)
_AT_ONCE = 1 << 15  # keys looked up together: what they give is in memory twice for as long


class Decisions(Sequence[Decision]):
    """What was decided of each node, as columns: a million of them are not a million objects.

    `kinds` are UNDECIDED, HIT, MISS, SAME or UNKNOWN. Where hits are given to `take` as they are found, their records
    are not kept here, and they cannot be looked at any more.
    """

    def __init__(self, count: int, take: TakeHit | None = None) -> None:
        self.kinds = bytearray(count)
        self.keys: list[Digest | None] = [None] * count
        self.other = array("I", bytes(4 * count))  # the first of equal calls, the parent waited for, or a word's number
        self.words: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: 0}
        self._take = take
        self._records: dict[int, Record] = {}

    def number(self, word: str | None) -> int:
        """That of a reason."""
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self.words)
            self.words.append(word)
        return found

    def hit(self, node: int, key: Digest, record: Record, reason: str) -> None:
        """Note that a node has a result."""
        self.kinds[node], self.keys[node], self.other[node] = HIT, key, self.number(reason)
        if self._take is None:
            self._records[node] = record
        else:
            self._take(node, key, record, reason)

    def first_of(self, node: int) -> int | None:
        """The node that a node is the same call as."""
        return self.other[node] if self.kinds[node] == SAME else None

    def of_kind(self, kind: int) -> Iterator[int]:
        """The nodes of a kind, in order."""
        node = self.kinds.find(kind)
        while node >= 0:
            yield node
            node = self.kinds.find(kind, node + 1)

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        kind, key, other = self.kinds[index], self.keys[index], self.other[index]
        if kind == UNKNOWN:
            return Unknown(other)
        assert key is not None  # noqa: S101 - all others have one
        if kind == SAME:
            return Same(key, other)
        word = self.words[other]
        return Miss(key, word) if kind == MISS else Hit(key, self._records[index], word or "")

    def __setitem__(self, node: int, decision: Decision) -> None:
        self.keys[node] = None
        match decision:
            case Hit(key, record, reason):
                self.kinds[node], self.keys[node], self.other[node] = HIT, key, self.number(reason)
                self._records[node] = record
            case Miss(key, forced):
                self.kinds[node], self.keys[node], self.other[node] = MISS, key, self.number(forced)
            case Same(key, first):
                self.kinds[node], self.keys[node], self.other[node] = SAME, key, first
            case Unknown(parent):
                self.kinds[node], self.other[node] = UNKNOWN, parent


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

    def decide_all(self, lookup_many: LookupMany, take: TakeHit | None = None) -> Decisions:
        """What `decide` says of each node, with look-ups of many keys at once; hits are given to `take`, if anything.

        That takes identities for granted that a look-up could give the lie: a record of a deterministic electron which
        did not repeat itself is a sample. What comes after such a node is decided one by one.
        """
        graph, identities, prefixes = self._graph.flat(), self.identities, self._prefixes
        parents, first_parent, ordinals = graph.parents, graph.first_parent, graph.ordinal_of
        rows, part_of, size = graph.key_rows(), KEY_PART, ROW.size
        draws = [row.stochastic for row in graph.rows]
        # Another dispatch's sublattice was made with its samples: see `known`.
        entered = [self._has_parent and row.is_lattice and row.stochastic for row in graph.rows]
        first_with, kept, given = self._first_with.setdefault, self._kept, self._given
        decisions = Decisions(len(graph), take)
        kinds, keys, other = decisions.kinds, decisions.keys, decisions.other
        forced_of = [decisions.number(forced) for forced in self._forced]
        hash_of = digest_of_one
        asked: list[Digest] = []  # their nodes are taken for misses so far
        found: list[tuple[int, Record, str]] = []  # hits that need no look-up
        drawn: set[int] = set()  # nodes asked for that have no identity without an answer
        some_unknown = False
        begin = 0
        for node, (at, template) in enumerate(zip(graph.electron_of, graph.template_of, strict=True)):
            end = first_parent[node + 1]
            if node in given:
                identities[node] = None
                keys[node], record = given[node]
                self.settle(node, given[node][0], record)
                found.append((node, record, "unchanged"))
                begin = end
                continue
            digest, slots, key_slots = part_of(rows, template * size)
            above = parents[begin:end] if key_slots == slots else graph.key_parents_of(node)
            begin = end
            inside = [identities[parent] for parent in above]
            if len(asked) >= _AT_ONCE or (some_unknown and None in inside and not drawn.isdisjoint(above)):
                if (odd := self._answered(decisions, asked, found, drawn, lookup_many)) is not None:
                    return self._one_by_one(decisions, odd)
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
                    return self._one_by_one(decisions, odd)
                identities[node] = identities[first]
                some_unknown = some_unknown or identities[node] is None
                kinds[node], other[node] = SAME, first
                continue
            kinds[node], other[node] = MISS, forced
            if not forced:
                kept_one = kept.get(key) if kept else None
                if kept_one is not None:
                    self.settle(node, key, kept_one)
                    found.append((node, kept_one, "kept from the parent" if stochastic else "unchanged"))
                    continue
                if not entered[at]:
                    asked.append(key)
                    if stochastic:
                        drawn.add(node)
                if not stochastic:
                    identities[node] = key
                    continue
            some_unknown = True
        odd = self._answered(decisions, asked, found, drawn, lookup_many)
        return decisions if odd is None else self._one_by_one(decisions, odd)

    def _answered(
        self,
        decisions: Decisions,
        asked: list[Digest],
        found: list[tuple[int, Record, str]],
        drawn: set[int],
        lookup_many: LookupMany,
    ) -> int | None:
        """Look up what is to be asked; the first node that came out another than was taken for granted."""
        drawn.clear()
        asked.sort()  # for the store's sake
        node_with = self._first_with
        hits = [
            (node_with[key], record, "unchanged")
            for key, record in zip(asked, lookup_many(asked), strict=True)
            if record is not None
        ]
        asked.clear()
        rows, electron_of, keys = self._graph.rows, self._graph.electron_of, decisions.keys
        odd = None
        for node, record, _ in hits:
            key = keys[node]
            assert key is not None  # noqa: S101 - it was asked for
            if record.is_sample:
                self.settle(node, key, record)
                if not rows[electron_of[node]].stochastic and (odd is None or node < odd):
                    odd = node
            else:
                self.identities[node] = key
        for node, record, reason in (*found, *hits):
            key = keys[node]
            assert key is not None  # noqa: S101 - as above
            if odd is None or node <= odd:
                decisions.hit(node, key, record, reason)
        found.clear()
        return odd

    def _one_by_one(self, decisions: Decisions, odd: int) -> Decisions:
        after = range(odd + 1, len(self._graph))
        for node in after:
            self.identities[node] = None
        self._first_with = {key: first for key, first in self._first_with.items() if first <= odd}
        for node in after:
            decision = self.decide(node)
            if isinstance(decision, Hit):
                decisions.hit(node, *decision)
            else:
                decisions[node] = decision
        return decisions

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
        return self._lookup(key) if self.may_have(node) else None

    def may_have(self, node: int) -> bool:
        """Whether what another dispatch found for a node's key may be used."""
        row = self._graph.row_of(node)
        # Another dispatch's sublattice was made with its samples; entered, it is made with the parent's.
        return not (self._has_parent and row.is_lattice and row.stochastic)

    def settle(self, node: int, key: Digest, record: Record) -> None:
        """Note the identity of a node whose result is there."""
        self.identities[node] = sample_identity(key, record.value) if record.is_sample else key
