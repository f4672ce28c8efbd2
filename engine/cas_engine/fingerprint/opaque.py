"""Looking into things of others, in search of the user's code: objects without content, classes that were added to."""

from __future__ import annotations

import abc
import functools
import gc
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from cas_engine.fingerprint.origin import HEAP_TYPE, Kind, owner_of_class
from cas_engine.fingerprint.places import items_of, pairs_of
from cas_engine.fingerprint.resolve import Foreign, is_users_code, made_when_asked

_MOST = 500  # objects that are looked at in search of code
_OF_ALL = frozenset({"abc", "typing", "typing_extensions"})  # their classes are bases of many, and nobody registers
_SCALARS = frozenset({int, str, float, bool, bytes, complex, type(None)})

# Callables of packages that keep, besides the user's function, whole namespaces or caches: what counts of them.
_KNOWN = {
    "pydantic._internal._validate_call.ValidateCallWrapper": ("function", "validate_return"),
    "functools._lru_cache_wrapper": ("__wrapped__",),
    "numba.core.registry.CPUDispatcher": ("py_func", "targetoptions"),
    "numpy.vectorize": ("pyfunc", "otypes", "excluded", "signature", "cache"),
    "joblib.memory.MemorizedFunc": ("func", "ignore"),
    "joblib.memory.NotMemorizedFunc": ("func",),
    "dask.delayed.DelayedLeaf": ("_obj", "_nout"),
    "sympy.core.function.UndefinedFunction": ("name", "_kwargs", "_nargs"),  # a class, made for its name
}


def known_parts(value: object) -> list[tuple[str, object]] | None:
    """The parts that count of a callable that is known to hold more than what it does; None for all others."""
    kind = type(value)
    if kind is type and getattr(value, "__module__", None) == "pint" and "_REGISTRY" in vars(value):
        return [("_REGISTRY", vars(value)["_REGISTRY"])]  # pint makes such a class for each registry
    names = _KNOWN.get(f"{kind.__module__}.{kind.__qualname__}")
    return None if names is None else [(name, getattr(value, name, None)) for name in names]


def code_in(value: object) -> list[object]:
    """The user's functions and classes that an object leads to, in the order in which they are met."""
    found: dict[int, object] = {}
    seen: set[int] = set()
    row: list[object] = [value]
    for each in row:
        if id(each) in seen or type(each) in _SCALARS or len(seen) > _MOST:
            continue
        seen.add(id(each))
        if each is not value and is_users_code(each):
            found[id(each)] = each
        elif not isinstance(each, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            row += _within(each)
        elif isinstance(each, FunctionType):
            row += [cell.cell_contents for cell in each.__closure__ or () if _is_bound(cell)]
    return [each for each in found.values() if each is not type(value)]


def _within(value: Any) -> Iterable[object]:
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, dict):
        # Not a module's namespace: what lies in it is not held by who holds it.
        pairs = dict(pairs_of(value))
        return [] if "__builtins__" in pairs else list(pairs.values())
    if isinstance(value, (list, tuple)):
        return items_of(value)
    if isinstance(value, (set, frozenset)):
        return sorted(items_of(value), key=lambda each: str(getattr(each, "__qualname__", "")))
    found: list[object] = [type(value)]
    with suppress(TypeError):
        found += vars(value).values()
    if not hasattr(type(value), "__next__"):
        # Not of an iterator: the tuples inside of some have holes, and reading those ends the process.
        found += [each for each in gc.get_referents(value) if not isinstance(each, (type, ModuleType))]
    return found


def _is_bound(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises when it is empty
    except ValueError:
        return False
    return True


# Classes of others ----------------------------------------------------------------------------------------------------


def name_of_class(cls: type) -> Foreign | None:
    """By what name a class of a package or of Python counts; None if it counts by more than that.

    The name is that of the topmost package which offers it: where users have it from, as a rule.
    """
    if type(getattr(cls, "__module__", None)) is not str:
        return None  # made by a call where nothing says the name of the module: it is given one where it is described
    owner = owner_of_class(cls)
    if owner.kind in (Kind.USER, Kind.OURS) or not cls.__flags__ & HEAP_TYPE:
        return None
    if put_into(cls) or registered_by_users(cls):
        return None
    module, name = cls.__module__, cls.__qualname__
    parts = module.split(".")
    above = (".".join(parts[:end]) for end in range(1, len(parts)))
    offered = (each for each in above if each in sys.modules and made_when_asked(sys.modules[each], name) is cls)
    return Foreign(owner, next(offered, module), tuple(name.split(".")), (), owner)


def put_into(cls: type) -> list[str]:
    """The names of what the user's code has put into a class of others."""
    return sorted(name for name, value in vars(cls).items() if _is_put_in(value))


def _is_put_in(value: object) -> bool:
    """Whether a member of a package's class is code of the user's. (What attrs and the like make has no module.)"""
    name = value.__globals__.get("__name__") if isinstance(value, FunctionType) else getattr(value, "__module__", None)
    return name in sys.modules and is_users_code(value)


def registered_by_users(cls: type) -> tuple[str, ...]:
    """The user's classes that are instances of a class of others because they were registered: `Sequence.register`."""
    return _registered_by_users(cls, abc.get_cache_token()) if isinstance(cls, abc.ABCMeta) else ()


def registered_with(cls: abc.ABCMeta) -> list[type]:
    """What `cls.register` was called with: instances of it are instances of `cls` from then on."""
    try:
        found = [ref() for ref in import_module("_abc")._get_dump(cls)[0]]  # noqa: SLF001 - it has no other face
    except (ImportError, AttributeError, TypeError):
        return []
    return sorted((each for each in found if each is not None), key=lambda each: (each.__qualname__, each.__module__))


@functools.lru_cache(256)
def _registered_by_users(cls: abc.ABCMeta, _token: int) -> tuple[str, ...]:
    """By name: what they do counts where they are made. `_token` is another one after each registration anywhere."""
    return tuple(each.__qualname__ for each in users_instances(cls))


def users_instances(cls: abc.ABCMeta) -> list[type]:
    """The user's classes that were registered with a class of others, or with one below it."""
    if cls.__module__ in _OF_ALL:
        return []
    abstract = (one for one in (cls, *all_subclasses(cls)) if isinstance(one, abc.ABCMeta))
    found = {each for one in abstract for each in registered_with(one) if owner_of_class(each).is_user}
    return sorted(found, key=lambda each: (each.__qualname__, each.__module__))


def all_subclasses(cls: type) -> list[type]:
    """All classes below one, in an order that doesn't depend on which was defined first."""
    found: dict[int, type] = {}
    row: list[type] = list(type.__subclasses__(cls))
    for each in row:
        if id(each) not in found:
            found[id(each)] = each
            row += type.__subclasses__(each)
    return sorted(found.values(), key=lambda each: (each.__qualname__, each.__module__))
