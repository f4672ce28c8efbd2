"""Looking into what has no content of its own: containers of several kinds, and the user's code that is inside."""

from __future__ import annotations

import contextvars
import gc
import queue
import threading
import weakref
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

from cas_engine.fingerprint.resolve import is_users_code

_MOST = 500  # objects that are looked at in search of code
_SCALARS = frozenset({int, str, float, bool, bytes, complex, type(None)})

# Callables of packages that keep, besides the user's function, whole namespaces or caches: what counts of them.
_KNOWN = {
    "pydantic._internal._validate_call.ValidateCallWrapper": ("function", "validate_return"),
    "functools._lru_cache_wrapper": ("__wrapped__",),
    "numba.core.registry.CPUDispatcher": ("py_func", "targetoptions"),
    "joblib.memory.MemorizedFunc": ("func", "ignore"),
    "joblib.memory.NotMemorizedFunc": ("func",),
    "dask.delayed.DelayedLeaf": ("_obj", "_nout"),
}


def known_parts(value: object) -> list[tuple[str, object]] | None:
    """The parts that count of a callable that is known to hold more than what it does; None for all others."""
    kind = type(value)
    names = _KNOWN.get(f"{kind.__module__}.{kind.__qualname__}")
    return None if names is None else [(name, getattr(value, name, None)) for name in names]


def content(value: Any) -> object:
    """What is in a container that holds weakly, for one thread or context only, or to be read once; or the value."""
    if isinstance(value, (weakref.WeakValueDictionary, weakref.WeakKeyDictionary)):
        return dict(value)
    if isinstance(value, weakref.WeakSet):
        return sorted(value, key=lambda each: getattr(each, "__qualname__", ""))
    if isinstance(value, weakref.ref):
        return [value()]
    if isinstance(value, contextvars.ContextVar):
        try:
            return [value.get()]
        except LookupError:
            return []
    if isinstance(value, threading.local):
        return dict(vars(value))
    if isinstance(value, queue.Queue):
        return list(value.queue)
    if hasattr(type(value), "__next__"):
        return _coming(value)
    return value


def _coming(value: Any) -> object:
    """What an iterator will give, as far as it says so without being used up."""
    kind = type(value)
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return value if frame is None else [value.gi_code, frame.f_lasti, dict(frame.f_locals)]
    if kind.__module__ == "itertools" and kind.__name__ in {"count", "repeat"}:
        return [kind.__name__, repr(value)]
    if kind.__module__ != "builtins":
        return value
    try:
        return list(value.__reduce__())
    except TypeError:
        return value


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
        return [] if "__builtins__" in value else list(value.values())
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda each: str(getattr(each, "__qualname__", "")))
    found = [type(value)]
    try:
        found += vars(value).values()
    except TypeError:
        held = [each for each in gc.get_referents(value) if not isinstance(each, (type, ModuleType))]
        found += held
    return found


def _is_bound(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises when it is empty
    except ValueError:
        return False
    return True
