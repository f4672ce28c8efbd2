"""Looking into what has no content of its own, in search of the user's code."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from cas_engine.fingerprint.places import items_of, pairs_of
from cas_engine.fingerprint.resolve import is_users_code

_MOST = 500  # objects that are looked at in search of code
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
