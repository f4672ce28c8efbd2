"""A traced lattice: who calls what with what, as columns. Pure."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

from cas_engine.bindings import Binding, Template
from cas_engine.signatures import Signature
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


Column = Sequence[int]  # an array of what was traced, a view into the blob of what was read


def copied(column: Column) -> array[int]:
    """A column of one's own, to be changed."""
    made = array("I")
    if isinstance(column, array | memoryview):
        made.frombytes(memoryview(column).cast("B"))
    else:
        made.extend(column)
    return made


class MoreTemplates(Sequence[Template]):
    """The templates of a recorded graph as they are, decoded or not, and behind them those that were made since."""

    def __init__(self, recorded: Sequence[Template]) -> None:
        self.recorded = recorded
        self.added: list[Template] = []

    def __len__(self) -> int:
        return len(self.recorded) + len(self.added)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        count = len(self.recorded)
        return self.recorded[at] if at < count else self.added[at - count]

    def keys_told(self) -> list[tuple[Digest, int, int]]:
        """As `Graph.template_keys`."""
        return [*_keys_of(self.recorded), *_keys_of(self.added)]


def _keys_of(templates: Sequence[Template]) -> list[tuple[Digest, int, int]]:
    told: Callable[[], list[tuple[Digest, int, int]]] | None = getattr(templates, "keys_told", None)
    if told is not None:
        return told()
    return [(template.digest, template.slots, template.key_slots) for template in templates]


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

    def __len__(self) -> int:
        return len(self.electron_of)

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

    def template_keys(self) -> list[tuple[Digest, int, int]]:
        """What keys need to know of each template: its digest, its slots, and how many of these count in a key."""
        return _keys_of(self.templates)

    def row_of(self, node: int) -> Row:
        """The electron of a node."""
        return self.rows[self.electron_of[node]]

    def template(self, node: int) -> Template:
        """The template of a node."""
        return self.templates[self.template_of[node]]

    def nodes_of(self, electrons: Container[int]) -> list[int]:
        """The nodes of some electrons, given by their places in `rows`, in order."""
        found = self._electrons()
        if found is None:
            return [node for node, at in enumerate(self.electron_of) if at in electrons]
        return sorted(node for at in range(len(self.rows)) if at in electrons for node in _places(found, at))

    def first_of(self, electron: int, but: Container[int]) -> int | None:
        """The first node of an electron that is not among some."""
        found = self._electrons()
        places = self.nodes_of((electron,)) if found is None else _places(found, electron)
        return next((node for node in places if node not in but), None)

    def names_of(self, nodes: Sequence[int]) -> list[str]:
        """The labels of some nodes, in order; the others are counted, not named."""
        found = self._electrons()
        if found is None or self.names:
            labels = self.labels()
            return [labels[node] for node in nodes]
        electrons: dict[str, list[int]] = {}
        for at, row in enumerate(self.rows):
            electrons.setdefault(row.slot, []).append(at)
        seen: dict[str, tuple[int, int]] = {}  # up to which node, how many
        total: dict[str, int] = {}
        names = []
        for node in nodes:
            slot = self.row_of(node).slot
            here = electrons[slot]
            if slot not in total:
                total[slot] = sum(found.count(at) for at in here)
            since, number = seen.get(slot, (0, 0))
            number += sum(found.count(at, since, node) for at in here)
            seen[slot] = node, number
            names.append(slot if total[slot] == 1 else f"{slot}#{number}")
        return names

    def _electrons(self) -> bytes | None:
        """The electron of each node as one byte, to be searched at the speed of memory; None if a byte is too few."""
        if len(self.rows) > 256:
            return None
        if not isinstance(self.electron_of, array | memoryview):
            return bytes(self.electron_of)
        lowest = 0 if sys.byteorder == "little" else self.electron_of.itemsize - 1
        return memoryview(self.electron_of).cast("B")[lowest :: self.electron_of.itemsize].tobytes()

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

    def children(self) -> list[list[int]]:
        """For each node those that hang on it."""
        below: list[list[int]] = [[] for _ in range(len(self))]
        for node in range(len(self)):
            for parent in set(self.parents_of(node)):
                below[parent].append(node)
        return below


class Labels(Sequence[str]):
    """The labels of a graph's nodes, made when somebody asks for one: mostly nobody does."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @cached_property
    def _made(self) -> list[str]:
        return self._graph.labels()

    def __len__(self) -> int:
        return len(self._graph)

    def __getitem__(self, index: Any) -> Any:
        return self._made[index]


def _places(found: bytes, electron: int) -> Iterator[int]:
    at = found.find(electron)
    while at >= 0:
        yield at
        at = found.find(electron, at + 1)


def counted(label: str) -> str:
    """`train#0` of `train`: the first call of an electron is the same one, however many others a graph has."""
    return label if "#" in label else f"{label}#0"
