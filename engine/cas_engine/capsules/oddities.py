"""Types that pickle refuses, or writes so that something else comes back, and what to write for them instead."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import datetime as dt
import decimal
import fractions
import functools
import gc
import io
import pathlib
import pickle
import struct
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from cas_engine.capsules import arrays, expressions
from cas_engine.fingerprint.origin import owner_of_class, owner_of_namespace
from cas_engine.values.numpy_ import MASKED_OWN
from cas_engine.values.stdlib import module_offering

_BARE = object.__basicsize__ + 2 * tuple.__itemsize__  # of an object that holds nothing but attributes
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
    if not content and len(shape) == 1:  # memory of no size cannot be cast
        return memoryview(bytearray(struct.calcsize(form))).cast(form)[:0]  # type: ignore[call-overload, no-any-return]
    flat = memoryview(bytearray(content))
    return flat if form == "B" and len(shape) == 1 else flat.cast("B").cast(form, shape)  # type: ignore[call-overload]


def _exception(error: BaseException) -> Any:
    return _raised, (type(error), error.args), vars(error) or None


def _raised(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception again, without its own `__init__`, which may take other arguments than those it keeps."""
    made = kind.__new__(kind, *args)
    native = next(cls for cls in kind.__mro__ if isinstance(vars(cls).get("__init__"), types.WrapperDescriptorType))
    native.__init__(made, *args)  # type: ignore[misc]
    return made


def _keeps_other_arguments(kind: type) -> bool:
    """Whether this is an exception whose pickle calls a Python `__init__` with what may not be its arguments."""
    return (
        issubclass(kind, BaseException)
        and isinstance(kind.__init__, types.FunctionType)
        and not isinstance(kind.__new__, types.FunctionType)
        and kind.__reduce__ is BaseException.__reduce__
        and kind.__reduce_ex__ is object.__reduce_ex__
    )


# Methods that tell pickle all but the attributes that a derived class adds.
_FORGETFUL = {
    "__reduce_ex__": (dt.datetime.__reduce_ex__, dt.time.__reduce_ex__),
    "__reduce__": (
        dt.date.__reduce__,
        dt.timedelta.__reduce__,
        decimal.Decimal.__reduce__,
        fractions.Fraction.__reduce__,
        collections.Counter.__reduce__,
        collections.defaultdict.__reduce__,
        pathlib.PurePath.__reduce__,
    ),
}


def _forgets_attributes(kind: type) -> bool:
    """Whether this is a derived class whose instances have attributes, and whose base, such as an array, writes none.

    https://numpy.org/doc/stable/user/basics.subclassing.html has such classes, and nothing about their pickles.
    """
    if kind.__dictoffset__ == 0:
        return False
    for module, name in (("numpy.ma", "MaskedArray"), ("numpy", "ndarray")):
        base = getattr(sys.modules.get(module), name, None)
        if base is not None and issubclass(kind, base):
            said = ("__reduce_ex__", "__reduce__", "__setstate__")
            return all(getattr(kind, each) is getattr(base, each) for each in said)
    own: Any = kind  # whose methods are compared, of whatever type they are
    if own.__reduce_ex__ is object.__reduce_ex__:
        return own.__reduce__ in _FORGETFUL["__reduce__"]
    return own.__reduce_ex__ in _FORGETFUL["__reduce_ex__"]


def _with_attributes(value: Any) -> Any:
    reduced = value.__reduce_ex__(arrays.PROTOCOL)
    own = {name: held for name, held in vars(value).items() if name not in MASKED_OWN}
    if not own:
        return reduced
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    return make, args, (state, own), items, pairs, _set


def _set(value: Any, told: tuple[Any, dict[str, Any]]) -> None:
    state, own = told
    if state is not None:
        value.__setstate__(state)
    vars(value).update(own)


def _type_variable(variable: Any) -> Any:
    keywords = {"covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
    if getattr(variable, "__infer_variance__", False):
        keywords = {"infer_variance": True}
    if variable.__bound__ is not None:
        keywords["bound"] = variable.__bound__
    return functools.partial(typing.TypeVar, **keywords), (variable.__name__, *variable.__constraints__)


def _method(method: types.MethodType) -> Any:
    return _of_its_module(method) or (types.MethodType, (method.__func__, method.__self__))


def _builtin(method: types.BuiltinMethodType) -> Any:
    return _of_its_module(method) or method.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _of_its_module(method: Any) -> Any:
    """What a module of others offers as a function is not a copy of it: `random.gauss` goes on where the module is."""
    if method.__self__ is None or isinstance(method.__self__, (type, types.ModuleType)):
        return None
    module = module_offering(method)
    return None if module is None or owner_of_namespace(vars(module)).is_user else (getattr, (module, method.__name__))


def _weak(kind: Callable[[Any], Any], held: dict[Any, Any]) -> Any:
    """A weak dictionary that keeps what it holds: what did so elsewhere may not have come along."""
    made = kind(held)
    weakref.finalize(made, list, [*held.items()]).atexit = False
    return made


def _key_wrapper(wrapper: Any) -> Any:
    """What functools.cmp_to_key gives, which tells nobody its function."""
    compare = next(each for each in gc.get_referents(wrapper) if callable(each) and each is not type(wrapper))
    return functools.cmp_to_key, (compare,)


def _refuse(why: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise Refused(why)

    return refuse


_RUNNING = "it is a computation under way: it can be used up once, and not be kept"
_OPEN = "it is an open file of this process"
REDUCERS: dict[type, Callable[[Any], Any]] = {
    memoryview: _memoryview,
    type(functools.cmp_to_key(len)): _key_wrapper,  # type: ignore[arg-type]
    types.MethodType: _method,
    types.BuiltinMethodType: _builtin,
    struct.Struct: lambda s: (struct.Struct, (s.format,)),
    weakref.WeakKeyDictionary: lambda d: (_weak, (weakref.WeakKeyDictionary, dict(d))),
    weakref.WeakValueDictionary: lambda d: (_weak, (weakref.WeakValueDictionary, dict(d))),
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


def cached(fn: Callable[..., Any], maxsize: int | None, typed: bool, own: dict[str, Any]) -> Any:
    """A function behind a cache of its own, empty."""
    made = functools.lru_cache(maxsize, typed)(fn)
    vars(made).update(own)
    return made


def reducer_of(kind: type) -> Callable[[Any], Any] | None:
    """What says how values of exactly this type are written, if not they themselves."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    found = REDUCERS.get(kind) or arrays.REDUCERS.get(name) or expressions.REDUCERS.get(name)
    if found is None and _keeps_other_arguments(kind):
        return _exception
    return _with_attributes if found is None and _forgets_attributes(kind) else found


def sentinel_name(value: object) -> tuple[types.ModuleType, str] | None:
    """(module, name) of one of the sentinels of `dataclasses`, or of another module that isn't the user's."""
    if id(value) in _SENTINELS:
        return dataclasses, _SENTINELS[id(value)]
    kind = type(value)
    if kind.__basicsize__ > _BARE or kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    if kind.__dictoffset__ and object.__getattribute__(value, "__dict__"):
        return None
    home = sys.modules.get(str(kind.__module__))
    if home is None or home is builtins or owner_of_class(kind).is_user:
        return None
    name = next((name for name, each in list(vars(home).items()) if each is value), None)
    return None if name is None else (home, name)


def lock_kind(value: object) -> str | None:
    """The kind of a lock, of which a fresh one is as good."""
    return _LOCKS.get(type(value))
