"""Paths in values, as seen from the folder of the project: where the project lies doesn't count."""

# ruff: noqa: PTH117 - as texts

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from cas_engine.fingerprint.origin import Kind, owner_of_class
from cas_engine.values.instances import has_hidden_state, visible_state

_MOST = 256  # values that are looked at in search of a path
_NUMBERS = frozenset({int, float, complex, bool, bytes, type(None)})
_CODE = (FunctionType, MethodType, ModuleType)


def place_of(value: object, base: str) -> str | None:
    """What a text or path names, told from the folder of the project; None for all that lies elsewhere.

    Folders above count as well, two levels up: a project often names its parent to find its neighbours.
    """
    if not issubclass(type(value), (str, PurePath)):
        return None
    path = os.fspath(value)  # type: ignore[call-overload]
    if len(path) < 2 or not os.path.isabs(path):
        return None
    seen = os.path.relpath(path, base).replace(os.sep, "/")
    ups = seen.split("/").count("..")
    return seen if ups == 0 or (ups <= 2 and set(seen.split("/")) == {".."}) else None


def names_a_place(value: object, base: str) -> bool:
    """Whether a container, or an object that is made of attributes, holds a path into the project."""
    row: list[Any] = [value]
    seen: set[int] = set()
    while row and len(seen) < _MOST:
        each = row.pop()
        kind = type(each)
        if kind is str or issubclass(kind, PurePath):
            if place_of(each, base) is not None:
                return True
        elif kind not in _NUMBERS and id(each) not in seen:
            seen.add(id(each))
            row += _parts(each, kind)
    return False


def _parts(value: Any, kind: type) -> list[object]:
    if issubclass(kind, (list, tuple)):
        return list(islice(items_of(value), _MOST))
    if issubclass(kind, (dict, MappingProxyType)):
        pairs = list(islice(pairs_of(value), _MOST + 1))
        values = [held for _, held in pairs[:_MOST]]
        return [*(key for key, _ in pairs), *values] if len(pairs) <= _MOST else values
    if issubclass(kind, (set, frozenset)):
        items = list(islice(items_of(value), _MOST + 1))
        return items if len(items) <= _MOST else []
    if owner_of_class(kind).kind is Kind.PACKAGE or issubclass(kind, (type, *_CODE)) or has_hidden_state(kind):
        return []
    return list(visible_state(kind)(value))[1::2]


def items_of(value: Any) -> Iterator[Any]:
    """What a list, tuple or set holds, whatever a class of the user's that is derived from one says of it."""
    base = next(base for base in (list, tuple, set, frozenset) if issubclass(type(value), base))
    items: Iterator[Any] = base.__iter__(value)
    return items


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """The same of a dict: its keys and what they stand for."""
    bases = (OrderedDict, dict, type(value))
    base: Any = next(base for base in bases if issubclass(type(value), base))
    pairs: Iterable[tuple[Any, Any]] = base.items(value)
    return pairs
