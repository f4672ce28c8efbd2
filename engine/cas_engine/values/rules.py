"""Which rule takes a value of a given type to pieces; found once per type."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any, TypeVar

from cas_engine.errors import BadOption
from cas_engine.values import instances, plain
from cas_engine.values.files import File, file_rule
from cas_engine.values.pieces import Branch, CodeOf, Digested, Refusal, Rule, fields, listed
from cas_engine.values.refused import refusal_of
from cas_engine.values.stdlib import CODE, STDLIB

_T = TypeVar("_T")

# The room for a library, by the top of its module names. A room looks its library up in sys.modules: a value
# of one of its types exists, so it is there. Its `rule_for(kind)` gives None for what it leaves to the
# general rules.
_ROOMS = {
    "astropy": "quantities",
    "networkx": "science",
    "numpy": "numpy_",
    "pandas": "pandas_",
    "pint": "quantities",
    "polars": "polars_",
    "pyarrow": "pyarrow_",
    "scipy": "science",
    "sklearn": "science",
    "torch": "science",
    "xarray": "science",
}

_CONTENT = instances.mark("content")
_BUILT_IN: dict[type, Rule] = {**plain.RULES, File: file_rule}

_registered: dict[type, Callable[[Any], object]] = {}
_rules: dict[type, Rule] = dict(_BUILT_IN)
_MOST_TYPES = 10_000  # notebooks define the same class over and over; the old ones should not live for ever


def register_digest(kind: type[_T], fn: Callable[[_T], object]) -> None:
    """Let values of this type, and of subclasses, be digested as their class and ``fn(value)``.

    ``fn`` returns what the value amounts to, as any value that can be digested. It comes before
    `__cas_digest__` and everything that is known about the type. Raises BadOption for object, classes and the
    plain scalars.
    """
    if not isinstance(kind, type) or kind is object or kind in plain.LEAVES or issubclass(kind, type):
        raise BadOption(f"{kind!r} cannot be given a digest of its own\n  -> register a class of your own")
    if not callable(fn):
        raise BadOption(f"{fn!r} is not a function, so it cannot digest {kind.__qualname__}\n  -> give a function")
    _registered[kind] = fn
    _rules.clear()
    _rules.update({built_in: rule for built_in, rule in _BUILT_IN.items() if built_in not in _registered})


def rule_of(kind: type) -> Rule:
    """The rule for values of exactly this type."""
    rule = _rules.get(kind)
    if rule is None:
        if len(_rules) > _MOST_TYPES:
            for old in set(_rules) - set(_BUILT_IN):
                del _rules[old]
        rule = _rules[kind] = _found(kind)
    return rule


def _found(kind: type) -> Rule:
    instances.give_module(kind)
    for cls in kind.__mro__:
        if cls in _registered:
            return _by_content(_registered[cls])
        if "__cas_digest__" in vars(cls):
            return _by_content(lambda value: value.__cas_digest__())
    if issubclass(kind, type) or any("__cas_code__" in vars(cls) for cls in kind.__mro__):
        return CodeOf
    if issubclass(kind, Enum):
        return _enum_member
    for cls in kind.__mro__[:-1]:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name in CODE:
            return CodeOf
        rule = STDLIB.get(name) or plain.RULES.get(cls) or _leaf(cls)
        if rule is not None:
            return rule if cls is kind else instances.derived(kind, cls, rule)
        refusal = refusal_of(name)
        if refusal is not None and not instances.has_own_state(kind, below=cls):
            return refusal
        rule = _from_room(kind, name.partition(".")[0])
        if rule is not None:
            return rule
    return instances.rule_for(kind)


def _from_room(kind: type, library: str) -> Rule | None:
    if library not in _ROOMS or library not in sys.modules:
        return None
    room_for: Callable[[type], Rule | None] = import_module(f"cas_engine.values.{_ROOMS[library]}").rule_for
    try:
        return room_for(kind)
    except AttributeError:  # a module of the user's that has the library's name
        return None


def _by_content(content: Callable[[Any], object]) -> Rule:
    def rule(value: Any) -> Branch:
        told = content(value)
        if told is value:  # a cycle with nothing in it: every such object would look like every other
            raise Refusal("its content is said to be the object itself; let __cas_digest__ return what it holds")
        return fields(type(value), [_CONTENT, told])

    return rule


def _leaf(cls: type) -> Rule | None:
    leaf = plain.LEAVES.get(cls)
    return None if leaf is None else lambda value: Digested(leaf(value))


def _enum_member(value: Enum) -> Branch:
    # Members of a Flag may be unions, which have no name before Python 3.11.
    name = value._name_ if value._name_ in type(value).__members__ else None
    return listed("enum", CodeOf(type(value)), name, value._value_)
