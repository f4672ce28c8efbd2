"""What to run and what to reuse, decided before anything runs. Pure.

A node can be decided once the identities of its parents are known: at once below deterministic nodes, and below a
stochastic node that runs only when its sample is there. The same `decide` serves the plan that people see, the first
pass of an evaluation, and the rest of it as samples come in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cas_engine.graph import Graph
from cas_engine.keys import node_key, sample_identity
from cas_engine.policy import Policy
from cas_engine.records import Record
from cas_store.digest import Digest


@dataclass(frozen=True, slots=True)
class Hit:
    """There is a result for the key."""

    key: Digest
    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Miss:
    """The key has no result, or `forced` says why it runs all the same."""

    key: Digest
    forced: str | None


@dataclass(frozen=True, slots=True)
class Same:
    """The key of an earlier node of this dispatch: it runs once for both."""

    key: Digest
    first: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """The key hangs on a sample that is not drawn yet, that of `parent`."""

    parent: int


Decision = Hit | Miss | Same | Unknown
Lookup = Callable[[Digest], Record | None]


class Planner:
    """Decides nodes in an order in which parents come first, and remembers what it decided.

    `lookup` gives the usable record of a key; `kept` holds the samples of the parent dispatch by key, which count
    before any other, and is None without a parent.
    """

    def __init__(
        self,
        graph: Graph,
        prefixes: Sequence[bytes],
        policy: Policy,
        lookup: Lookup,
        kept: Mapping[Digest, Record] | None,
    ) -> None:
        self._graph = graph
        self._prefixes = prefixes
        self._forced = [policy.reason(row) for row in graph.rows]
        self._lookup = lookup
        self._kept = kept or {}
        self._has_parent = kept is not None
        self._first_with: dict[Digest, int] = {}
        self.identities: list[Digest | None] = [None] * len(graph)

    def decide(self, node: int) -> Decision:
        """Hit, miss, the same as an earlier node, or not known yet."""
        graph = self._graph
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

    def known(self, node: int, key: Digest) -> Record | None:
        """What any dispatch has found for a key, if this one may use it."""
        row = self._graph.row_of(node)
        # Another dispatch's sublattice was made with its samples; entered, it is made with the parent's.
        return None if self._has_parent and row.is_lattice and row.stochastic else self._lookup(key)

    def settle(self, node: int, key: Digest, record: Record) -> None:
        """Note the identity of a node whose result is there."""
        self.identities[node] = sample_identity(key, record.value) if record.is_sample else key
