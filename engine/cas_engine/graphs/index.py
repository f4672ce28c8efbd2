"""Who hangs on a node, and which nodes are calls of an electron: found without a walk over all of them. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from cas_engine.graphs.columns import Column, whole


@dataclass(frozen=True)
class Index:
    """Of a graph's columns, for so many electrons; made when somebody asks, unless it was recorded with them."""

    electrons: int
    electron_of: Column
    first_parent: Column
    parents: Column

    @cached_property
    def first_child(self) -> Column:
        """Where the children of each node begin, and after the last the end."""
        return _firsts(self.parents, len(self.electron_of))

    @cached_property
    def children(self) -> Column:
        """The nodes that hang on the first node, in order, then those that hang on the second; an entry an edge."""
        first, parents = self.first_parent, whole(self.parents)
        child = array("I")
        for node in range(len(self.electron_of)):
            count = first[node + 1] - first[node]
            if count == 1:
                child.append(node)
            elif count:
                child.extend([node] * count)
        return array("I", map(child.__getitem__, sorted(range(len(parents)), key=parents.__getitem__)))

    @cached_property
    def first_call(self) -> Column:
        """Where the nodes of each electron begin, and after the last the end."""
        return _firsts(self.electron_of, self.electrons)

    @cached_property
    def calls(self) -> Column:
        """The nodes of the first electron, in order, then those of the second."""
        if self.electrons == 1:
            return array("I", range(len(self.electron_of)))
        return array("I", sorted(range(len(self.electron_of)), key=self.electron_of.__getitem__))

    def children_of(self, node: int) -> Sequence[int]:
        """The nodes that hang on this one, in order; twice, if by two arguments."""
        first = self.first_child
        return self.children[first[node] : first[node + 1]]

    def calls_of(self, electron: int) -> Sequence[int]:
        """The nodes of an electron, given by its place, in order."""
        first = self.first_call
        return self.calls[first[electron] : first[electron + 1]]

    def calls_before(self, electron: int, node: int) -> int:
        """How many calls of an electron come before a node."""
        first = self.first_call[electron]
        return bisect_left(self.calls, node, first, self.first_call[electron + 1]) - first

    def recorded(self, columns: dict[str, Column]) -> Index:
        """The same, its columns as they lie there."""
        for name in COLUMNS:
            self.__dict__[name] = columns[name]
        return self


COLUMNS = ("first_child", "children", "first_call", "calls")


def _firsts(entries: Iterable[int], count: int) -> array[int]:
    of_each = Counter(entries)
    return array("I", accumulate((of_each[at] for at in range(count)), initial=0))
