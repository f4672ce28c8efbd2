"""Types that pickle refuses, or writes so that something else comes back, and what to write for them instead."""

from __future__ import annotations

import dataclasses
import functools
import io
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

# Told apart by identity: a copy of one would mean nothing.
_SENTINELS = {
    id(getattr(dataclasses, name)): name
    for name in ("MISSING", "KW_ONLY", "_HAS_DEFAULT_FACTORY")
    if hasattr(dataclasses, name)
}
_LOCKS: dict[type, str] = {
    type(threading.Lock()): "Lock",
    type(threading.RLock()): "RLock",
    threading.local: "local",
}


class Refused(Exception):
    """A value that has no lasting content, and why."""


def _memoryview(view: memoryview) -> Any:
    return _view, (view.tobytes(), view.format, view.shape)


def _view(content: bytes, form: str, shape: tuple[int, ...]) -> memoryview:
    """A memoryview again, over memory of its own."""
    flat = memoryview(bytearray(content))
    return flat if form == "B" and len(shape) == 1 else flat.cast("B").cast(form, shape)  # type: ignore[call-overload]


def _type_variable(variable: Any) -> Any:
    keywords = {"covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
    if getattr(variable, "__infer_variance__", False):
        keywords = {"infer_variance": True}
    if variable.__bound__ is not None:
        keywords["bound"] = variable.__bound__
    return functools.partial(typing.TypeVar, **keywords), (variable.__name__, *variable.__constraints__)


def _refuse(why: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise Refused(why)

    return refuse


_RUNNING = "it is a computation under way: it can be used up once, and not be kept"
_OPEN = "it is an open file of this process"
REDUCERS: dict[type, Callable[[Any], Any]] = {
    memoryview: _memoryview,
    weakref.WeakKeyDictionary: lambda d: (weakref.WeakKeyDictionary, (dict(d),)),
    weakref.WeakValueDictionary: lambda d: (weakref.WeakValueDictionary, (dict(d),)),
    types.GeneratorType: _refuse(_RUNNING),
    types.AsyncGeneratorType: _refuse(_RUNNING),
    types.CoroutineType: _refuse(_RUNNING),
    # cloudpickle would read the file and write a text in its place.
    io.TextIOWrapper: _refuse(_OPEN),
    io.BufferedReader: _refuse(_OPEN),
    io.BufferedWriter: _refuse(_OPEN),
    io.BufferedRandom: _refuse(_OPEN),
    io.FileIO: _refuse(_OPEN),
}
# Their pickle is their name in a module, which must then exist.
NAMED: dict[type, Callable[[Any], Any]] = {
    typing.TypeVar: _type_variable,
    typing.ParamSpec: lambda p: (typing.ParamSpec, (p.__name__,)),
    typing.NewType: lambda n: (typing.NewType, (n.__name__, n.__supertype__)),
}
if sys.version_info >= (3, 11):
    NAMED[typing.TypeVarTuple] = lambda t: (typing.TypeVarTuple, (t.__name__,))
if sys.version_info >= (3, 12):
    NAMED[typing.TypeAliasType] = lambda t: (typing.TypeAliasType, (t.__name__, t.__value__))


def sentinel_name(value: object) -> str | None:
    """The name in `dataclasses` of one of its sentinels."""
    return _SENTINELS.get(id(value))


def lock_kind(value: object) -> str | None:
    """The kind of a lock, of which a fresh one is as good."""
    return _LOCKS.get(type(value))
