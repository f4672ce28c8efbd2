"""Objects of classes that nothing special is known about: their class and their state."""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable, Iterable
from itertools import chain
from types import MemberDescriptorType
from typing import Any

from cas_engine.values.pieces import Branch, CodeOf, Digested, Refusal, Rule, fields, listed
from cas_engine.values.refused import refuse_iterator
from cas_store.digest import digest_of

_WORD = tuple.__itemsize__
_State = Callable[[Any], Iterable[object]]  # name, value, name, value, ...


def mark(name: str) -> Digested:
    """In the place of an attribute's name, for what is not an attribute: can't be confused with any."""
    return Digested(digest_of(b"mark\0" + name.encode()))


PAYLOAD, _STATE, _NEW_ARGS = mark("payload"), mark("state"), mark("arguments of __new__")
_MAKER, _ARGS, _ITEMS, _PAIRS = mark("maker"), mark("arguments"), mark("items"), mark("pairs")
# attrs keeps a hash here that differs with PYTHONHASHSEED; made again on demand.
_NOT_STATE = frozenset(["_attrs_cached_hash", "__weakref__", "__dict__"])
_HEAP_TYPE = 1 << 9  # https://docs.python.org/3/c-api/typeobj.html#c.Py_TPFLAGS_HEAPTYPE
_ASSIGNED = functools.WRAPPER_ASSIGNMENTS


def give_module(kind: type) -> bool:
    """Let a class that says no module say the one that a class statement would have given it; whether there was one.

    `type(...)` where there is no `__name__`, as in `exec(text, {})`, makes such classes, and ctypes its arrays there.
    """
    without = [cls for cls in kind.__mro__ if cls.__flags__ & _HEAP_TYPE and "__module__" not in vars(cls)]
    for cls in without:
        cls.__module__ = "builtins"
    return bool(without)


def rule_for(kind: type) -> Rule:
    """The rule for objects of this class, by what the class says about its state, or by looking."""
    if kind in copyreg.dispatch_table:
        return _by_reducer(copyreg.dispatch_table[kind])
    if _is_pydantic(kind):
        return _pydantic_model
    if (kind.__module__, kind.__qualname__) == ("pydantic.type_adapter", "TypeAdapter"):
        return _type_adapter
    hidden = has_hidden_state(kind)
    if hidden and _has(kind, "__next__"):
        return refuse_iterator
    if hidden and _has(kind, "__call__"):
        return _compiled_callable
    if _defines(kind, "__reduce_ex__") or _defines(kind, "__reduce__") or hidden:
        return _by_reducer(lambda value: value.__reduce_ex__(4))
    if _defines(kind, "__getstate__") and not _getstate_is_generated(kind):
        return _by_getstate
    state = visible_state(kind)
    return lambda value: fields(kind, state(value))


def derived(kind: type, base: type, rule: Rule) -> Rule:
    """The rule for a class that adds to ``base``, whose own part ``rule`` knows how to take to pieces."""
    if base is tuple and hasattr(kind, "_fields") and hasattr(kind, "_make"):
        return _named_tuple(kind)
    if _defines(kind, "__reduce_ex__", base) or _defines(kind, "__reduce__", base):
        return _by_reducer(lambda value: value.__reduce_ex__(4))
    if _defines(kind, "__getstate__", base) and not _getstate_is_generated(kind):
        return lambda value: fields(kind, [PAYLOAD, rule(value), *_named(value.__getstate__())])
    state = visible_state(kind, base)
    return lambda value: fields(kind, [PAYLOAD, rule(value), *state(value)])


def _named_tuple(kind: type) -> Rule:
    names: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    state = visible_state(kind, tuple)
    return lambda value: fields(kind, chain(*zip(names, tuple.__iter__(value), strict=True), state(value)))


def has_own_state(kind: type, below: type) -> bool:
    """Whether a class derived from ``below`` says itself what its state is."""
    return any(_defines(kind, name, below) for name in ("__reduce_ex__", "__reduce__", "__getstate__"))


# What a class says ------------------------------------------------------------------------------------------


def _has(kind: type, name: str) -> bool:
    """Whether objects of this class have a method. (hasattr would ask the class's own class too.)"""
    return any(name in vars(cls) for cls in kind.__mro__)


def _defines(kind: type, name: str, base: type = object) -> bool:
    return getattr(kind, name, None) is not getattr(base, name, None)


def _getstate_is_generated(kind: type) -> bool:
    """Written by dataclasses or attrs because of __slots__: says less than looking does."""
    name = getattr(kind.__getstate__, "__qualname__", "")
    return name == "_dataclass_getstate" or name.endswith(".slots_getstate")


def _is_pydantic(kind: type) -> bool:
    return any(cls.__name__ == "BaseModel" and cls.__module__ in _PYDANTIC for cls in kind.__mro__)


_PYDANTIC = ("pydantic.main", "pydantic.v1.main")


def has_hidden_state(kind: type) -> bool:
    """Whether objects hold more than attributes and slots: what the base in C keeps.

    The same sum that object.__reduce_ex__ does before it refuses ("cannot pickle"), see
    object_getstate_default in CPython's Objects/typeobject.c.
    """
    own = sum(type(one) is MemberDescriptorType for cls in kind.__mro__ for one in vars(cls).values())
    known = own + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return kind.__itemsize__ > 0 or kind.__basicsize__ > object.__basicsize__ + _WORD * known


# What objects hold ------------------------------------------------------------------------------------------


def visible_state(kind: type, base: type = object) -> _State:
    """Attributes and slots; those that are not set have no place in it."""
    below = [cls for cls in kind.__mro__ if cls not in base.__mro__]
    slots = [
        (name, slot.__get__)
        for cls in below
        for name, slot in vars(cls).items()
        if type(slot) is MemberDescriptorType and name not in _NOT_STATE
    ]
    has_dict = kind.__dictoffset__ != 0

    def state(value: Any) -> list[object]:
        named: list[object] = []
        for name, get in slots:
            try:
                named += (name, get(value))
            except AttributeError:
                continue
        if has_dict:
            own = object.__getattribute__(value, "__dict__")
            copied = _copied(own) if "__wrapped__" in own else _NOT_STATE
            for name, held in own.items():
                if name not in copied:
                    named += (name, held)
        return named

    return state


def _copied(own: dict[str, object]) -> frozenset[str]:
    """What functools.update_wrapper copied from what is wrapped: name and texts, which count there or nowhere."""
    wrapped = own["__wrapped__"]
    return _NOT_STATE.union(name for name in _ASSIGNED if name in own and getattr(wrapped, name, own) is own[name])


def _named(state: object) -> list[object]:
    if type(state) is dict and all(type(name) is str for name in state):
        return list(chain.from_iterable(state.items()))
    return [_STATE, state]


def _by_getstate(value: Any) -> Branch:
    named = _named(value.__getstate__())
    if hasattr(type(value), "__getnewargs_ex__"):
        named += (_NEW_ARGS, value.__getnewargs_ex__())
    elif hasattr(type(value), "__getnewargs__"):
        named += (_NEW_ARGS, value.__getnewargs__())
    return fields(type(value), named)


def _by_reducer(reduce: Callable[[Any], Any]) -> Rule:
    """By what pickle would be told: https://docs.python.org/3/library/pickle.html#object.__reduce__."""

    def rule(value: Any) -> Branch:
        try:
            reduced = reduce(value)
        except TypeError as error:
            if "pickle" not in str(error):
                raise
            raise Refusal from error  # "cannot pickle '_thread.lock' object"
        if isinstance(reduced, str):
            return listed("global", CodeOf(type(value)), reduced)
        make, args, state, items, pairs = (*reduced, None, None, None)[:5]
        named: list[object] = [_MAKER, make, _ARGS, tuple(args)]
        if state is not None:
            named += _named(state)
        if items is not None:
            named += (_ITEMS, list(items))
        if pairs is not None:
            named += (_PAIRS, dict(pairs))
        return fields(type(value), named)

    return rule


def _compiled_callable(value: Any) -> CodeOf | Branch:
    """Functions of Cython, NumPy's ufuncs and the like are code; what has no name of its own is an object."""
    if isinstance(getattr(value, "__name__", None), str):
        return CodeOf(value)
    made = _by_reducer(lambda one: one.__reduce_ex__(4))(value)
    return made if isinstance(made, (CodeOf, Branch)) else fields(type(value), [])


def _type_adapter(value: Any) -> Branch:
    """What it was made of: what it made of that has addresses in it."""
    return fields(type(value), ["type", value._type, "config", value._config])  # noqa: SLF001 - they have no other name


def _pydantic_model(value: Any) -> Branch:
    """As pydantic compares: the fields, whether set or left at their default, and what was added to them."""
    cls = type(value)
    known = getattr(cls, "__pydantic_fields__", None)
    if known is None:  # before pydantic 2.10; and before 2, where all that there is are fields
        known = getattr(cls, "model_fields", vars(value))
    named = list(chain.from_iterable((name, held) for name, held in vars(value).items() if name in known))
    for part in ("__pydantic_extra__", "__pydantic_private__"):
        more = getattr(value, part, None)
        if more:
            named += chain.from_iterable((f"{part}.{name}", held) for name, held in more.items())
    return fields(cls, named)
