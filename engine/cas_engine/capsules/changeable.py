"""What a call could change, in place, of all that its code reads; when in doubt, it could."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import functools
import logging
import numbers
import pathlib
import re
import threading
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cas_engine.capsules.reading import is_simple_table, only_reads
from cas_engine.fingerprint import Fingerprint, Fingerprinter
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.opcodes import number

_FIXED = (
    *(type(None), bool, int, float, complex, str, bytes, range, slice, type, type(...), type(NotImplemented)),
    *(types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType, enum.Enum, re.Pattern),
    *(numbers.Number, decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath),
    *(dt.date, dt.time, dt.timedelta, dt.tzinfo),
    # What these hold is none of a result's, and is not counted: loggers, locks, caches.
    *(logging.Logger, logging.LoggerAdapter, logging.Handler, type(threading.Lock()), type(threading.RLock())),
    *(threading.Condition, threading.Event, threading.Semaphore, threading.Barrier, type(functools.cache(len))),
)
_STORES = frozenset({number("STORE_ATTR"), number("DELETE_ATTR")})
_BY_NAME = frozenset({"setattr", "delattr", "__setattr__", "__dict__", "vars", "globals"})
_WRITES = re.compile(r" writes the (?:global|variable) (\S+)")


@dataclass(frozen=True, slots=True)
class Exposure:
    """What can change of what code reads."""

    can_change: bool  # whether anybody could change it in place
    is_changed: bool  # whether its own calls could
    classes: frozenset[tuple[str, str]]  # those that its calls could change, by module and qualified name


def is_fixed(value: object) -> bool:
    """Whether nothing that a call does to the value could be seen in it later."""
    if type(value) in (tuple, frozenset):
        return all(map(is_fixed, value))  # type: ignore[call-overload]
    if issubclass(type(value), _FIXED) or type(value).__module__.partition(".")[0] in {"cas_engine", "cas_run"}:
        return True
    # An object without any state stands for itself: `if x is MISSING`.
    return type(value).__hash__ is object.__hash__ and not _has_state(value)


def _has_state(value: object) -> bool:
    return bool(getattr(value, "__dict__", None)) or type(value).__basicsize__ > object.__basicsize__ + 16


def exposure_of(fn: Callable[..., Any], found: Fingerprint, session: Fingerprinter) -> Exposure:
    """What calls of a function could change."""
    nodes = session.reached(fn)
    stored: set[str] = set()
    for node in nodes:
        if node.kind == "code" and isinstance(node.obj, types.FunctionType):
            stored |= _stored(node.obj.__code__)
    by_name = not stored.isdisjoint(_BY_NAME)

    def may_change(name: str, value: object) -> bool:
        return not is_fixed(value) or by_name or last_name(name) in stored

    classes: set[tuple[str, str]] = set()
    for node in nodes:
        cls = node.obj
        if node.kind == "class" and isinstance(cls, type) and not issubclass(cls, enum.Enum):
            held = [child for child in node.children if child.kind == "value"]
            if any(may_change(child.name, child.obj) for child in held):
                classes.add((cls.__module__, cls.__qualname__))
    values = {last_name(component.name) for component in found.components if component.kind == "value"}
    held = [node for node in nodes if node.kind == "value" and may_change(node.name, node.obj)]
    is_changed = (
        bool(classes)
        or not written_by(found).isdisjoint(values)
        or any(node.evaluates or node.computes or node.kind == "module" for node in nodes)
        or (by_name and bool(held))
        or not all(_is_only_read(node, nodes) for node in held)
    )
    return Exposure(is_changed or bool(held), is_changed, frozenset(classes))


def _is_only_read(value: Node, nodes: list[Node]) -> bool:
    if not is_simple_table(value.obj):
        return False
    for node in nodes:
        if any(child is value for child in node.children):
            fn = node.obj
            if node.kind != "code" or not isinstance(fn, types.FunctionType) or not only_reads(fn, value.obj):
                return False
    return True


def written_by(found: Fingerprint) -> frozenset[str]:
    """The globals and the variables of enclosing functions that code says it writes."""
    return frozenset(match[1] for text in found.warnings if (match := _WRITES.search(text)))


def last_name(name: str) -> str:
    """Of how a value is told: `helpers.scale` is "scale", the variable `count[n]` is "n"."""
    words: list[str] = re.findall(r"\w+", name)
    return words[-1] if words else ""


@functools.lru_cache(4096)
def _stored(code: types.CodeType) -> frozenset[str]:
    """Names of attributes that the code may set, and by which it may set others: rather too many than too few."""
    found: set[str] = set(_BY_NAME.intersection(code.co_names))
    if not _STORES.isdisjoint(code.co_code[::2]):
        found.update(code.co_names)
    return frozenset(found).union(*(_stored(const) for const in code.co_consts if isinstance(const, types.CodeType)))
