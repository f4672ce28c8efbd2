"""A traced lattice: who calls what with what, as columns. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import merge
from itertools import count
from typing import Any

from cas_engine.graphs.bindings import Binding, Template
from cas_engine.graphs.columns import Column, whole
from cas_engine.graphs.index import Index
from cas_engine.graphs.signatures import Signature
from cas_engine.graphs.templates import KeyPart, Rows, key_parts_of, key_rows_of
from cas_store.digest import Digest


@dataclass(frozen=True, slots=True)
class Reached:
    """An electron that a lattice's code reaches: its name, and whether its results are samples."""

    name: str
    code: Digest
    stochastic: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One electron of a graph: all that keys, plans and workers need to know of it.

    `slot` is the name it is called by in the lattice, `name` that of the code that runs: they differ once it has been
    replaced. `code` and `packages` make the fingerprint with the package versions of the machine where it is used.
    """

    slot: str
    name: str
    is_lattice: bool
    code: Digest
    packages: tuple[str, ...]
    version: str | None
    stochastic: bool
    ignore: tuple[str, ...]
    executor: str | None
    retries: int
    timeout: float | None
    capsule: Digest
    signature: Signature
    reaches: tuple[Reached, ...]
    retry_delay: float = 0.0
    retry_on: bytes | None = None  # encoded: the classes of exceptions, or the function, that say when to try again


def in_force(row: Row, replaced: Iterable[Row]) -> list[Row]:
    """Those of `replaced` that stand in somewhere inside a sublattice, or inside what stands in there."""
    names = {r.name for r in row.reaches}
    found: list[Row] = []
    left = list(replaced)
    while new := [r for r in left if r.slot in names]:
        found += new
        left = [r for r in left if r not in new]
        names |= {r.name for one in new if one.is_lattice for r in one.reaches}
    return found


def standing(row: Row, replaced: Mapping[str, Row]) -> Row:
    """What runs for a row: its replacement; a sublattice inside which something stochastic stands in gives samples."""
    row = replaced.get(row.slot, row)
    if row.is_lattice and not row.stochastic and any(r.stochastic for r in in_force(row, replaced.values())):
        return replace(row, stochastic=True)
    return row


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes 0..n-1 in an order in which each comes after those it hangs on.

    `electron_of`, `template_of`, `ordinal_of` have one entry a node; the parents of node i are
    `parents[first_parent[i]:first_parent[i + 1]]`: those in the slots of its template, then those it only waits for.
    `output` is what the lattice returns, its slots filled by `output_parents`.
    """

    rows: tuple[Row, ...]
    templates: Sequence[Template]
    electron_of: Column
    template_of: Column
    ordinal_of: Column
    first_parent: Column
    parents: Column
    output: Binding
    output_parents: tuple[int, ...]
    names: tuple[str, ...] = ()  # of the nodes, where they are some of a larger graph
    found: Index | None = field(default=None, compare=False, repr=False)  # as recorded; else it is made

    def __post_init__(self) -> None:
        if self.found is None:
            made = Index(len(self.rows), self.electron_of, self.first_parent, self.parents)
            object.__setattr__(self, "found", made)

    def __len__(self) -> int:
        return len(self.electron_of)

    @property
    def index(self) -> Index:
        """Who hangs on a node, which nodes are calls of an electron."""
        assert self.found is not None  # noqa: S101 - see above
        return self.found

    def flat(self) -> Graph:
        """The same, fit for looking at all nodes: no entry is looked for among changes."""
        columns = {name: whole(getattr(self, name)) for name in COLUMNS}
        return replace(self, **columns)  # type: ignore[arg-type]

    def parents_of(self, node: int) -> Sequence[int]:
        """The nodes in the slots of this node's template, then those that it only waits for."""
        return self.parents[self.first_parent[node] : self.first_parent[node + 1]]

    def key_parents_of(self, node: int) -> Sequence[int]:
        """The parents whose identity is part of this node's key: all but those in ignored parameters."""
        template = self.templates[self.template_of[node]]
        parents = self.parents_of(node)
        if template.key_slots == template.slots:
            return parents
        return [*parents[: template.key_slots], *parents[template.slots :]]

    def template_keys(self) -> list[KeyPart]:
        """What keys need to know of each template: its digest, its slots, and how many of these count in a key."""
        return key_parts_of(self.templates)

    def key_rows(self) -> Rows:
        """The same as rows, of which any is found by its number: see `templates`."""
        return key_rows_of(self.templates)

    def row_of(self, node: int) -> Row:
        """The electron of a node."""
        return self.rows[self.electron_of[node]]

    def template(self, node: int) -> Template:
        """The template of a node."""
        return self.templates[self.template_of[node]]

    def nodes_of(self, electrons: Container[int]) -> list[int]:
        """The nodes of some electrons, given by their places in `rows`, in order."""
        index = self.index
        return list(merge(*(index.calls_of(at) for at in range(len(self.rows)) if at in electrons)))

    def first_of(self, electron: int, but: Container[int]) -> int | None:
        """The first node of an electron that is not among some."""
        return next((node for node in self.index.calls_of(electron) if node not in but), None)

    def names_of(self, nodes: Sequence[int]) -> list[str]:
        """The labels of some nodes; the others are counted, not named."""
        if self.names:
            return [self.names[node] for node in nodes]
        index = self.index
        electrons: dict[str, list[int]] = {}
        for at, row in enumerate(self.rows):
            electrons.setdefault(row.slot, []).append(at)
        names = []
        for node in nodes:
            slot = self.row_of(node).slot
            here = electrons[slot]
            if sum(len(index.calls_of(at)) for at in here) == 1:
                names.append(slot)
            else:
                names.append(f"{slot}#{sum(index.calls_before(at, node) for at in here)}")
        return names

    def labels(self) -> list[str]:
        """A name for each node: `train`, or `train#0`, `train#1` where there are several."""
        if self.names:
            return list(self.names)
        total: Counter[str] = Counter()
        for at, calls in Counter(self.electron_of).items():
            total[self.rows[at].slot] += calls
        numbers = {slot: count() for slot, calls in total.items() if calls > 1}
        named = [(row.slot, numbers.get(row.slot)) for row in self.rows]
        return [
            slot if number is None else f"{slot}#{next(number)}"
            for slot, number in map(named.__getitem__, self.electron_of)
        ]


COLUMNS = ("electron_of", "template_of", "ordinal_of", "first_parent", "parents")


class Labels(Sequence[str]):
    """The labels of a graph's nodes, made when somebody asks: mostly nobody does, or for few."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._asked = 0

    @cached_property
    def _made(self) -> list[str]:
        return self._graph.labels()

    def __len__(self) -> int:
        return len(self._graph)

    def __getitem__(self, index: Any) -> Any:
        if self._asked < _FEW and not isinstance(index, slice):
            self._asked += 1
            return self._graph.names_of([index])[0]
        return self._made[index]


_FEW = 64  # labels: for more, all are made at once


def counted(label: str) -> str:
    """`train#0` of `train`: the first call of an electron is the same one, however many others a graph has."""
    return label if "#" in label else f"{label}#0"
