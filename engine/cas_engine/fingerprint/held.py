"""Values that code reads: by content, with the code inside followed; what has no content is told, never skipped."""

from __future__ import annotations

import logging
import marshal
import os
import re
import reprlib
import sys
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict
from itertools import islice
from operator import itemgetter
from typing import Any

from cas_engine.errors import Undigestible
from cas_engine.fingerprint.annotations import annotated, looks_at_annotations
from cas_engine.fingerprint.contents import content, gives_what_nobody_sees
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.opaque import code_in, known_parts
from cas_engine.fingerprint.origin import Kind, owner_of_class
from cas_engine.fingerprint.places import items_of, names_a_place, pairs_of, place_of
from cas_engine.fingerprint.reach import Reach, belongs, says
from cas_engine.values.instances import has_hidden_state, visible_state
from cas_engine.values.refused import refusal_of
from cas_store.digest import digest_of

_SHORT = frozenset({float, bool, type(None)})  # as they are written
NUMBERS: frozenset[type] = frozenset({int, float, bool, complex, type(None)})
_SCALARS = NUMBERS | {str, bytes}
_LONG = 10**15  # numbers from here on may have to be shortened

_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, defaultdict, OrderedDict, Counter})
PLAIN_TYPES: frozenset[type] = _SCALARS | _CONTAINERS  # of values that are nothing else

# Synchronization and logging: there to be used, not to be computed with. The type is all that counts.
_INERT = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Condition,
    threading.Event,
    threading.Semaphore,
    threading.Barrier,
    logging.Handler,
    logging.LoggerAdapter,
)
_DEEP = 4  # levels of attributes of a package's object
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_number(node: Node, _reach: Reach) -> None:
    """As below; nothing else can be said of one."""
    value = node.obj
    kind = type(value)
    node.kind, node.detail = "value", repr(value) if kind in _SHORT else _short(value)
    says(node, "value", kind.__name__, marshal.dumps(value, 2))


def describe_value(node: Node, reach: Reach) -> None:
    """A value by its digest, or piece by piece where that is refused."""
    value = node.obj
    node.kind, node.detail = "value", _short(value)
    kind = type(value)
    below = place_of(value, node.base) if node.base and kind not in NUMBERS else None
    if below is not None:
        says(node, "place", kind.__name__, below)
        return
    if kind in _SCALARS:
        says(node, "value", kind.__name__, marshal.dumps(value, 2))
        return
    if issubclass(kind, (logging.Logger, *_INERT)) and owner_of_class(kind).is_user:
        node.children = [reach.node(kind)]  # its methods may be called for what they give
    if issubclass(kind, logging.Logger):
        says(node, "logger")  # its name is that of a module, as a rule, and changes no result
        return
    if issubclass(kind, _INERT) or any(value is stream for stream in _streams()):
        # A notebook and a test runner put streams of their own in the place of Python's.
        if issubclass(kind, threading.Semaphore):
            says(node, "inert", kind.__qualname__, _count_of(value))
            return
        is_set = ("set",) if issubclass(kind, threading.Event) and value.is_set() else ()
        says(node, "inert", kind.__qualname__ if issubclass(kind, _INERT) else "stream", *is_set)
        return
    if value is os.environ:
        node.reflects = frozenset({"variables"})  # what is read of it is told by its name
        says(node, "environment")
        return
    _note_packages(node, value)
    if _is_ours(type(value)):
        says(node, "ours", type(value).__qualname__)
        return
    parts = known_parts(value)
    if parts is not None:
        _children(node, reach, parts)
        if owner_of_class(type(value)).package == "pydantic":
            node.children += [reach.node(each, ("annotated", id(each.fn))) for each in annotated(node.children)]
        says(node, "known", type(value).__qualname__)
        return
    if node.base and names_a_place(value, node.base):
        _describe_in_pieces(node, reach)
        return
    try:
        digest, inside = reach.read_value(value)
    except Undigestible:
        _describe_in_pieces(node, reach)
        return
    if any(each.obj is value for each in inside):
        _describe_in_pieces(node, reach)  # its digest says no more than that it is code
        return
    node.local = digest
    node.children = inside
    if inside and looks_at_annotations(type(value)):
        held = [reach.node(each, ("annotated", id(each.fn))) for each in annotated(inside)]
        node.children = [*inside, *held]
        node.recipe = lambda of: digest_of(reach.mix_value(value, of), *(of(each) for each in held))
    elif inside:
        node.recipe = lambda digest_of_node: reach.mix_value(value, digest_of_node)


# By semaphore. How many it lets through is told by what it lets through at first: less while calls are in.
_counts: weakref.WeakKeyDictionary[threading.Semaphore, int] = weakref.WeakKeyDictionary()


def _count_of(semaphore: Any) -> int:
    most: int = max(_counts.get(semaphore, 0), vars(semaphore).get("_initial_value", 0), vars(semaphore)["_value"])
    _counts[semaphore] = most
    return most


def _describe_in_pieces(node: Node, reach: Reach) -> None:
    """A container or an object that holds something without content: the rest of it still counts."""
    inside: Any = content(node.obj)
    kind: Any = type(inside)
    said: list[object] = [type(node.obj).__qualname__]
    if issubclass(kind, (list, tuple)):
        items = list(items_of(inside))
        _children(node, reach, [(f"[{at}]", item) for at, item in enumerate(items)])
        said.append(len(items))
    elif issubclass(kind, (set, frozenset)):
        _children(node, reach, [("{}", item) for item in items_of(inside)])
        held = list(node.children)
        node.recipe = lambda of: digest_of(node.local, *sorted(map(of, held)), *map(of, node.children[len(held) :]))
    elif issubclass(kind, dict):
        if issubclass(kind, defaultdict):
            _children(node, reach, [(".default_factory", inside.default_factory)])
        pairs = list(pairs_of(inside))
        keys = [key for key, _ in pairs if type(key) in _SCALARS]
        _children(node, reach, [(f"[{key!r}]", part) for key, part in pairs if type(key) in _SCALARS])
        others = [(f".keys()[{at}]", pair) for at, pair in enumerate(pairs) if type(pair[0]) not in _SCALARS]
        _children(node, reach, [(where, part) for where, pair in others for part in pair])
        said += [tuple(place_of(key, node.base) or repr(key) for key in keys), len(others)]
    elif inside is not node.obj:
        _children(node, reach, [("", inside)])
    elif not _may_be_taken_apart(node, kind):
        _describe_opaque(node, reach)
        return
    if inside is node.obj and kind not in _CONTAINERS:
        _describe_attributes(node, reach, said)
    elif owner_of_class(type(node.obj)).is_user:
        node.children.append(reach.node(type(node.obj)))  # a dict, a queue, a `threading.local` of the user's own
    says(node, "pieces", *said)


def _describe_attributes(node: Node, reach: Reach, said: list[object]) -> None:
    kind = type(node.obj)
    named = list(visible_state(kind)(node.obj))
    state = sorted(zip(map(str, named[::2]), named[1::2], strict=True), key=itemgetter(0))
    node.children.append(reach.node(kind))
    _children(node, reach, [(f".{name}", part) for name, part in state])
    said.append(tuple(name for name, _ in state))
    if has_hidden_state(kind):
        node.children += [reach.node(each) for each in code_in(node.obj)]


def _may_be_taken_apart(node: Node, kind: type) -> bool:
    """Whether the attributes of such an object are its content; those of others' only as far as they are near."""
    if owner_of_class(kind).kind is not Kind.USER and (node.depth >= _DEEP or _is_refused(kind)):
        return False
    return kind.__dictoffset__ != 0 or hasattr(kind, "__slots__")


def _is_refused(kind: type) -> bool:
    """Whether it is the object itself that has no content, and not only something in it: a process, a connection."""
    return any(refusal_of(f"{cls.__module__}.{cls.__qualname__}") for cls in kind.__mro__)


def _describe_opaque(node: Node, reach: Reach) -> None:
    """Something that can't be looked into: its type, and the user's code that it holds."""
    kind = type(node.obj)
    node.children = [reach.node(kind), *(reach.node(each) for each in code_in(node.obj))]
    node.unresolved += (f"{node.name}: {kind.__qualname__} has no stable content",)
    if gives_what_nobody_sees(kind):
        says(node, "iterator", os.urandom(16))  # it would be another one at the next look: never the same as before
    else:
        says(node, "opaque")


def _children(node: Node, reach: Reach, parts: list[tuple[str, object]]) -> None:
    for where, part in parts:
        place = ("held", id(node.obj), where) if type(part) in _SCALARS else ("held", id(part))
        child = reach.node(part, place, f"{node.name}{where}")
        if child.index < 0:
            child.depth, child.base = node.depth + 1, child.base or node.base
        node.children.append(child)


def _streams() -> tuple[object, ...]:
    return sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__


def _is_ours(cls: type) -> bool:
    from cas_engine.values import File

    return owner_of_class(cls).kind is Kind.OURS and not issubclass(cls, File)


def _note_packages(node: Node, value: object) -> None:
    """The packages of the values themselves: `TABLE.mean()` runs pandas without naming it."""
    row: list[Any] = [value]
    seen = 0
    while row and seen < 256:
        seen += 1
        each = row.pop()
        kind = type(each)
        if kind in _SCALARS:
            continue
        belongs(node, owner_of_class(kind))
        if issubclass(kind, (list, tuple, set, frozenset)):
            row += islice(items_of(each), 64)
        elif issubclass(kind, dict):
            row += [held for _, held in islice(pairs_of(each), 64)]


class _Shortener(reprlib.Repr):
    """As reprlib does it, without running any code of the user's and of packages."""

    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        if owner_of_class(kind).kind is Kind.PYTHON:
            return super().repr_instance(x, level)
        shape = getattr(x, "shape", None)
        return f"<{kind.__qualname__} {shape}>" if isinstance(shape, tuple) else f"<{kind.__qualname__}>"


_shorten = _Shortener()
_shorten.maxother = _shorten.maxstring = _shorten.maxlong = 80  # an address must not be cut in half


def _short(value: object) -> str:
    if type(value) in _SHORT or (type(value) is int and -_LONG < value < _LONG):
        return repr(value)
    try:
        text = _shorten.repr(value)
    except Exception:  # noqa: BLE001 - a repr of the user's may raise anything
        text = f"<{type(value).__qualname__}>"
    return _ADDRESS.sub("", text)[:120]
