"""What a lattice changes, while it is traced, of what its electrons may read: settings, tables, globals.

`settings.MODE = mode` in a lattice means that the electrons called from there on read another MODE. Who sets nothing,
as hardly any lattice does, is found out by a look at the names and instructions of its functions.
"""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from cas_engine.fingerprint import Fingerprinter
from cas_engine.fingerprint import opcodes as O  # noqa: N812 - a table, read like an enum
from cas_engine.fingerprint.instructions import Instructions, decode
from cas_engine.fingerprint.origin import HEAP_TYPE, owner_of_class, owner_of_function, owner_of_namespace

_STORE_SUBSCR, _DELETE_SUBSCR = O.number("STORE_SUBSCR"), O.number("DELETE_SUBSCR")
_ITEMS = frozenset({_STORE_SUBSCR, _DELETE_SUBSCR})
_ATTRS = frozenset({O.STORE_ATTR, O.number("DELETE_ATTR")})
_GLOBALS = frozenset({O.STORE_GLOBAL, O.DELETE_GLOBAL})
_STORES = _ITEMS | _ATTRS | _GLOBALS
_BY_NAME = frozenset({"setattr", "delattr", "globals", "vars", "__dict__"})
_MUTATORS = frozenset(
    {"append", "add", "update", "extend", "insert", "setdefault", "pop", "popitem", "clear", "remove", "discard"}
    | {"appendleft", "extendleft", "sort", "reverse", "register"}
)
_MADE = frozenset({FunctionType, MethodType, functools.partial, type(functools.cache(len))})  # around a function
_AROUND = ("__wrapped__", "func", "__func__")
_ITSELF = frozenset({"self", "cls"})
_TABLES = frozenset({dict, list, set, defaultdict, OrderedDict, Counter, deque})
_MOST = 500  # functions
_NEAR = 8  # instructions that a statement may have before it stores


@dataclass(frozen=True, slots=True)
class Place:
    """Where something may be changed: what `attrs` lead to from a global name; anything at all if there is none."""

    namespace: dict[str, object] = field(repr=False, compare=False)
    name: str
    attrs: tuple[str, ...]
    space: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", id(self.namespace))


_ANYTHING = Place({}, "", ())


class Watch:
    """Tells when what lies in some places has become something else."""

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._was = self._now()

    def has_changed(self) -> bool:
        """Since it was asked last, or may have."""
        before, self._was = self._was, self._now()
        return None in self._was or self._was != before

    def _now(self) -> list[bytes | None]:
        return [_content(place) for place in self._places]


def watch_on(fn: Callable[..., Any]) -> Watch | None:
    """What tells whether calling a lattice's function has changed anything; None if that changes nothing."""
    places = {place: None for each, itself in _functions(fn) for place in _changed_by(each, itself)}
    return Watch(list(places)) if places else None


def _content(place: Place) -> bytes | None:
    if place is _ANYTHING:
        return None
    try:
        return Fingerprinter().digest_value(_value(place))
    except Exception:  # noqa: BLE001 - it has no content, or its own code raises anything: it may have changed
        return None


def _value(place: Place) -> object:
    """What lies there now, without running code of the user's: what it lies in, where that is not an attribute."""
    value: object = place.namespace.get(place.name, ...)
    for attr in place.attrs:
        if type(value) is CellType:
            value = value.cell_contents
            continue
        try:
            own = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return value
        if attr not in own and not isinstance(value, ModuleType):
            return value
        value = own.get(attr, ...)
    return value


def _functions(fn: object) -> Iterator[tuple[FunctionType, Place | None]]:
    """The functions that a lattice's function may call while it is traced, by the names that it mentions.

    Each with the place of the object that it is a method of, where that is one that lies in a global.
    """
    row: list[tuple[object, Place | None]] = [(fn, None)]
    met: set[tuple[int, Place | None]] = set()
    for each, itself in row:
        if (id(each), itself) in met or len(met) > _MOST:
            continue
        met.add((id(each), itself))
        if isinstance(each, type) and owner_of_class(each).is_user:
            # Of a class method the class is what it changes; of others an object that may be anywhere.
            members = vars(each).values()
            row += [(getattr(v, "__func__", v), itself if type(v) is classmethod else None) for v in members]
        elif type(each) is FunctionType and owner_of_function(each).is_user:
            yield each, itself
            row += _named_by(each, itself)
        elif type(each) in _MADE:
            row += [(inside, None) for inside in _inside(each)]


def _inside(made: object) -> Iterator[object]:
    """The functions in what was made around them: by `contextmanager`, as a partial, as a method."""
    yield from (getattr(made, name, None) for name in _AROUND)
    if type(made) is FunctionType:
        yield from _cells(made)


def _cells(fn: FunctionType) -> Iterator[object]:
    for cell in fn.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue


def _named_by(fn: FunctionType, itself: Place | None) -> Iterator[tuple[object, Place | None]]:
    names = sorted(_names(fn.__code__))
    for name in names:
        found = fn.__globals__.get(name)
        if isinstance(found, ModuleType) and owner_of_namespace(vars(found)).is_user:
            for attr in names:
                below = vars(found).get(attr)
                yield below, Place(vars(found), attr, ()) if isinstance(below, type) else None
                yield from _methods(below, Place(vars(found), attr, ()), names)
        else:
            yield found, Place(fn.__globals__, name, ()) if isinstance(found, type) else None
            yield from _methods(found, Place(fn.__globals__, name, ()), names)
    if itself is not None:
        yield from _methods(itself.namespace.get(itself.name), itself, names)
    yield from ((inside, None) for inside in _cells(fn))


def _methods(thing: object, place: Place, names: list[str]) -> Iterator[tuple[object, Place]]:
    kind = type(thing)
    if kind.__flags__ & HEAP_TYPE and owner_of_class(kind).is_user:
        for name in names:
            found = (vars(cls)[name] for cls in type.mro(kind) if name in vars(cls))
            method = next(found, None)
            if type(method) is FunctionType:
                yield method, place


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(const) for const in code.co_consts if isinstance(const, CodeType)))


def _changed_by(fn: FunctionType, itself: Place | None) -> Iterator[Place]:
    row = [fn.__code__]
    for code in row:
        row += [const for const in code.co_consts if isinstance(const, CodeType)]
        names = frozenset(code.co_names)
        ops = code.co_code[::2]
        stores = not _STORES.isdisjoint(ops) or (code.co_freevars and not O.STORES_OF_CELLS.isdisjoint(ops))
        if not stores and _BY_NAME.isdisjoint(names) and _MUTATORS.isdisjoint(names):
            continue
        found = decode(code)
        for at, op in enumerate(found.ops):
            if op & 255 in _STORES or (found.kinds[at] == O.ATTR and found.args[at] in _MUTATORS):
                place = _changed_at(found, at, op & 255, fn.__globals__, itself)
            elif op & 255 in O.STORES_OF_CELLS and found.args[at] in fn.__code__.co_freevars and fn.__closure__:
                cell = fn.__closure__[fn.__code__.co_freevars.index(str(found.args[at]))]
                place = Place({"": cell}, "", ("cell_contents",))
            elif found.args[at] in _BY_NAME and found.kinds[at] in {O.GLOBAL, O.ATTR}:
                place = _ANYTHING
            else:
                continue
            if place is not None:
                yield place


def _changed_at(
    found: Instructions, at: int, op: int, namespace: dict[str, object], itself: Place | None
) -> Place | None:
    if op in _GLOBALS:
        return Place(namespace, str(found.args[at]), ())
    kind, root, attrs = _chain_up_to(found, at - 2 if op in _ITEMS else at - 1)
    if kind == O.GLOBAL:
        named = str(found.args[at])
        of_module = op in _ATTRS and isinstance(_value(Place(namespace, root, attrs)), ModuleType)
        return Place(namespace, root, (*attrs, named) if of_module else attrs)
    if root in _ITSELF:
        return itself
    if op in _ATTRS:  # of what is passed, or imported in the body
        return _ANYTHING
    if kind != O.PLAIN:
        return None  # something of the function's own, as a rule
    for before in range(at - 1, max(at - _NEAR, -1), -1):
        if found.kinds[before] == O.GLOBAL:
            last = before + 1
            while found.kinds[last] == O.ATTR:
                last += 1
            place = Place(namespace, str(found.args[before]), tuple(map(str, found.args[before + 1 : last])))
            if type(_value(place)) in _TABLES:
                return place
    return None


def _chain_up_to(found: Instructions, last: int) -> tuple[int, str, tuple[str, ...]]:
    """(kind of the first, its name, the attributes) of the chain whose last attribute is read at `last`."""
    first = last
    while first > 0 and found.kinds[first] == O.ATTR:
        first -= 1
    if first < 0 or found.kinds[first] not in {O.GLOBAL, O.FAST, O.DEREF}:
        return O.PLAIN, "", ()
    return found.kinds[first], str(found.args[first]), tuple(map(str, found.args[first + 1 : last + 1]))
