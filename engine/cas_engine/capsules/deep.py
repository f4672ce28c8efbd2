"""Values deeper than pickle goes, written from the inside out: what a part holds comes before the part. Pure."""

from __future__ import annotations

import copyreg
import operator
from collections.abc import Iterable
from typing import Any

from cas_engine.values.instances import has_hidden_state


class InsideOut:
    """Stands in a pickle for a value; it is loaded as the value."""

    def __init__(self, value: object) -> None:
        self._parts = [*_innermost_first(value), value]

    def __reduce__(self) -> tuple[object, ...]:
        return operator.itemgetter(-1), (self._parts,)


class Unlinked:
    """The same for objects that lead to each other in rings, where none comes first: all, then what they hold."""

    def __init__(self, value: object) -> None:
        self._value = value
        self._linked = [part for part in _innermost_first(value) if _makes_itself_empty(type(part))]
        self.ids = frozenset(map(id, self._linked))  # of what is to be written as `empty` gives it

    def __reduce__(self) -> tuple[object, ...]:
        return _linked_again, (self._linked, [_reduced(one)[2] for one in self._linked], self._value)


def empty(thing: object) -> tuple[object, ...]:
    """How an object is pickled that gets its attributes later."""
    make, args, _ = _reduced(thing)
    return make, args


def _makes_itself_empty(kind: type) -> bool:
    """Whether objects of this class are made of nothing, and then given their attributes: the usual ones."""
    own: Any = kind
    usual = own.__reduce_ex__ is object.__reduce_ex__ and own.__reduce__ is object.__reduce__
    if not usual or has_hidden_state(kind) or kind in copyreg.dispatch_table:
        return False
    special = ("__getnewargs__", "__getnewargs_ex__", "__setstate__")
    plain = getattr(kind, "__getstate__", None) is getattr(object, "__getstate__", None)
    return plain and not any(hasattr(kind, name) for name in special)


def _reduced(thing: object) -> Any:
    return (*thing.__reduce_ex__(4), None)[:3]  # what makes it, of what, its state


def _parted(state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes, and what is in slots."""
    attributes, slots = state if type(state) is tuple else (state, None)
    return attributes or {}, slots or {}


def _linked_again(things: list[Any], states: list[Any], value: object) -> object:
    for thing, state in zip(things, states):  # noqa: B905 - as many
        attributes, slots = _parted(state)
        if attributes:
            vars(thing).update(attributes)
        for name, held in slots.items():
            object.__setattr__(thing, name, held)
    return value


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
    if not _makes_itself_empty(kind):
        return None
    attributes, slots = _parted(_reduced(thing)[2])
    return [*attributes.values(), *slots.values()]
