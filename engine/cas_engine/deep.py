"""Values deeper than pickle goes, written from the inside out: what a part holds comes before the part. Pure."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any


class InsideOut:
    """Stands in a pickle for a value; it is loaded as the value."""

    def __init__(self, value: object) -> None:
        self._parts = [*_innermost_first(value), value]

    def __reduce__(self) -> tuple[object, ...]:
        return operator.itemgetter(-1), (self._parts,)


def is_too_deep(error: BaseException) -> bool:
    """Whether pickle gave up because of depth alone."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _innermost_first(root: object) -> list[object]:
    """What holds other values, each after those that it holds (but for cycles)."""
    order: list[object] = []
    seen: set[int] = set()
    pending: list[tuple[object, bool]] = [(root, False)]
    while pending:
        thing, done = pending.pop()
        if done:
            order.append(thing)
        elif id(thing) not in seen:
            seen.add(id(thing))
            held = _held(thing)
            if held is not None:
                pending.append((thing, True))
                pending += [(part, False) for part in held]
    return order


def _held(thing: Any) -> Iterable[object] | None:
    """What pickle writes of it besides; None for what holds nothing, or says itself what it holds."""
    kind: Any = type(thing)
    if kind is dict:
        return [*thing.keys(), *thing.values()]
    if kind in (list, tuple, set, frozenset):
        return tuple(thing)
    plain = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    if not plain or getattr(kind, "__getstate__", None) is not getattr(object, "__getstate__", None):
        return None
    state = getattr(thing, "__dict__", None)
    return list(state.values()) if type(state) is dict else None
