"""What is in an object that has no digest of its own, as far as it says so without being used up."""

# ruff: noqa: PTH113 - as texts

from __future__ import annotations

import collections
import contextvars
import gc
import io
import os
import queue
import re
import sys
import threading
import warnings
import weakref
from types import BuiltinFunctionType, GeneratorType, MappingProxyType
from typing import Any

from cas_engine.fingerprint.functions import CompiledFile
from cas_engine.graphs.contexts import note

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_SETS: type = type(iter(set()))
_LONG = 64  # bytes taken from a hash of any length
_KNOWN_MODULES = frozenset({"builtins", "itertools", "collections", "_collections", "_csv"})
_BARE = frozenset({"pairwise", "batched", "reader"})  # of itertools and csv: they don't say what they hold


def content(value: Any) -> object:
    """What is in a view, a hash, a container that holds weakly or for one thread only, an iterator; or the value."""
    kind = type(value)
    if issubclass(kind, _VIEWS):
        return list(value)
    if issubclass(kind, (weakref.WeakValueDictionary, weakref.WeakKeyDictionary)):
        return dict(value)
    if issubclass(kind, weakref.WeakSet):
        return sorted(value, key=lambda each: getattr(each, "__qualname__", ""))
    if issubclass(kind, weakref.ref):
        return [value()]
    if kind in _PROXIES:
        return [value.__reduce_ex__.__self__]  # a proxy passes on whatever it is asked for
    if issubclass(kind, contextvars.ContextVar):
        note(value)
        try:
            return [value.get()]
        except LookupError:
            return []
    if issubclass(kind, contextvars.Context):
        return [[var.name, value[var]] for var in sorted(value, key=lambda var: var.name)]
    if issubclass(kind, threading.local):
        return dict(vars(value))
    if issubclass(kind, queue.Queue):
        return list(value.queue)
    if issubclass(kind, BuiltinFunctionType):  # of kinds that Python 3.9 and later have besides it
        return [value.__name__, value.__self__]
    if kind.__module__ == "concurrent.futures._base" and kind.__name__ == "Future":
        return [value.result()] if value.done() and not value.cancelled() and not value.exception() else value
    if kind.__name__ == "LazyFrame" and kind.__module__.startswith("polars."):
        return [value.__getstate__()]  # as an argument it is refused: what it comes to may lie in a file
    if "sqlite3" in sys.modules and isinstance(value, sys.modules["sqlite3"].Connection):
        return _database(value)
    if kind is re.Match:
        return [value.re, value.string, value.pos, value.endpos, value.span()]
    if _is_hash(kind):
        return [value.name, value.hexdigest() if value.digest_size else value.hexdigest(_LONG)]
    if "ctypes" in sys.modules and _of_ctypes(kind):
        return _foreign_code(value)
    if kind is collections.deque:
        return [value.maxlen, *value]
    if kind is MappingProxyType:
        return dict(value)
    if hasattr(kind, "__next__") or kind.__name__ == "_tee_dataobject":
        return _coming(value)
    return value


def _database(connection: Any) -> object:
    """What a database holds that is in memory only; of one in a file no more is known than of any file."""
    try:
        if any(file for _, _, file in connection.execute("pragma database_list").fetchall()):
            return connection
        return list(connection.iterdump())
    except Exception:  # noqa: BLE001 - closed, another thread's, or with a row factory of the user's
        return connection


def gives_what_nobody_sees(kind: type) -> bool:
    """Whether its objects are iterators, or what one is made from, which looking would use up.

    Not files, which may be there to be written to; nor cursors, and generators, of which the code is known.
    """
    if issubclass(kind, (io.IOBase, GeneratorType)) or "cursor" in kind.__name__.lower():
        return False
    return hasattr(kind, "__next__") or kind.__name__ == "SRE_Scanner"


def _coming(value: Any) -> object:
    """What an iterator will give."""
    kind = type(value)
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return value if frame is None else [value.gi_code, frame.f_lasti, dict(frame.f_locals)]
    if kind is _SETS:
        return frozenset(_reduced(value)[1][0])  # in no order, as the hash seed is none of the code's
    if kind.__module__ == "numpy" and kind.__name__ == "flatiter":
        return [value.base, value.index]
    if kind.__module__ not in _KNOWN_MODULES:
        return value
    if "__reduce__" not in vars(kind):
        held = gc.get_referents(value) if kind.__name__ in _BARE else []
        return [each for each in held if each is not kind and type(each) is not tuple] or value
    try:
        return list(_reduced(value))
    except TypeError:
        return value


def _reduced(value: Any) -> Any:
    # https://docs.python.org/3/whatsnew/3.12.html: itertools says that it will not be pickled for ever.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return value.__reduce__()


def _is_hash(kind: type) -> bool:
    """Whether its objects are running hashes: of hashlib, or of hmac."""
    return kind.__module__ in {"hmac", "_hashlib", "_blake2"} or (
        kind.__module__ in sys.stdlib_module_names and {"hexdigest", "copy", "digest_size", "name"} <= vars(kind).keys()
    )


def _of_ctypes(kind: type) -> bool:
    import ctypes

    return issubclass(kind, (ctypes.CDLL, ctypes._CFuncPtr))  # type: ignore[attr-defined] # noqa: SLF001


def _foreign_code(value: Any) -> object:
    """A library that ctypes loaded, or a function of it: what it is called, and how it is to be called."""
    import ctypes

    if isinstance(value, ctypes.CDLL):
        # It keeps each function that it was asked for: those that were told nothing are as good as not there.
        asked = {name: _signature(fn) for name, fn in vars(value).items() if _of_ctypes(type(fn))}
        told = {name: how for name, how in asked.items() if how[1:] != [ctypes.c_int, None, None]}
        return [_library(vars(value)["_name"]), type(value).__name__, dict(sorted(told.items()))]
    kept = value._objects or {}  # noqa: SLF001 - documented: https://docs.python.org/3/library/ctypes.html
    libraries = [vars(each)["_name"] for each in kept.values() if isinstance(each, ctypes.CDLL)]
    return [*_signature(value), *map(_library, libraries)] if libraries else value


def _signature(fn: Any) -> list[object]:
    return [str(getattr(fn, "__name__", "")), fn.restype, fn.argtypes, getattr(fn, "errcheck", None)]


def _library(name: object) -> object:
    return CompiledFile(name) if isinstance(name, str) and os.sep in name and os.path.isfile(name) else name
