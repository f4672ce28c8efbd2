"""Columns of numbers as they lie in a store, with what was changed in them since. Pure."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Column = Sequence[int]  # an array of what was traced, a view into a blob of what was read, or changes to such a view
_SHARE = 8  # where more than one entry in so many was changed, all are copied


class Patched(Sequence[int]):
    """A column that lies somewhere, and the few entries that are others now."""

    __slots__ = ("base", "changes")

    def __init__(self, base: Column, changes: Mapping[int, int]) -> None:
        self.base = base
        self.changes = changes

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: Any) -> Any:
        found = self.changes.get
        if isinstance(index, slice):
            return [found(i, self.base[i]) for i in range(*index.indices(len(self.base)))]
        at = index + len(self.base) if index < 0 else index
        return found(at, self.base[at])

    def __iter__(self) -> Iterator[int]:
        return iter(copied(self))


def patched(column: Column, changes: Mapping[int, int]) -> Column:
    """A column with other entries in some places; as it lies where these are few, else a copy."""
    if isinstance(column, Patched):
        changes = {**column.changes, **changes}
        column = column.base
    if not changes:
        return column
    if len(changes) * _SHARE <= len(column):
        return Patched(column, changes)
    made = copied(column)
    for at, entry in changes.items():
        made[at] = entry
    return made


def whole(column: Column) -> Column:
    """The same, fit to be looked at entry by entry."""
    return copied(column) if isinstance(column, Patched) else column


def copied(column: Column) -> array[int]:
    """A column of one's own, to be changed."""
    if isinstance(column, Patched):
        made = copied(column.base)
        for at, entry in column.changes.items():
            made[at] = entry
        return made
    made = array("I")
    if isinstance(column, array | memoryview):
        made.frombytes(memoryview(column).cast("B"))
    else:
        made.extend(column)
    return made


def dumps(column: Column) -> bytes | memoryview:
    """As it lies in a store: 4 bytes an entry."""
    if sys.byteorder == "little" and isinstance(column, array | memoryview):
        return memoryview(column).cast("B")
    made = copied(column)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def loads(raw: memoryview) -> Column:
    """The column as it lies there, uncopied: of a million nodes, few may be looked at."""
    if sys.byteorder == "little":
        return raw.cast("I")
    column = array("I")
    column.frombytes(raw)
    column.byteswap()
    return column


def views(raw: memoryview, counts: Iterable[tuple[str, int]]) -> tuple[dict[str, Column], memoryview]:
    """Columns one after the other, by name, each with so many entries; and what comes after them."""
    found, at = dict[str, Column](), 0
    for name, count in counts:
        if at + 4 * count > len(raw):
            raise ValueError(f"column {name} ends before it should")
        found[name] = loads(raw[at : at + 4 * count])
        at += 4 * count
    return found, raw[at:]
