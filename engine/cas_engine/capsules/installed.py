"""Whose code it is, by one question: can it be written by name, or is it the user's own and has to be recorded?"""

from __future__ import annotations

import functools
import operator
import sys
import types
from typing import Any

from cas_engine.capsules import live
from cas_engine.fingerprint.origin import is_importable, owner_of_class, owner_of_namespace

DISPATCH_ATTRIBUTES = frozenset({"registry", "dispatch", "register", "_clear_cache"})
_TYPES = {kind: name for name, kind in vars(types).items() if type(kind) is type}
# Classes and functions of installed modules, known by identity: they stay as long as the process.
_installed: dict[int, object] = {}


def is_users_module(module: types.ModuleType) -> bool:
    """Whether the module is recorded, not imported where it is needed."""
    return owner_of_namespace(vars(module)).is_user


def is_users_class(cls: type) -> bool:
    """Whether the class is recorded."""
    if _installed.get(id(cls)) is cls:
        return False
    if owner_of_class(cls).is_user:
        return True
    _installed[id(cls)] = cls
    return False


def is_installed(fn: Any, name: str = "") -> bool:
    """Whether an installed module has this very thing under its name, so that the name is enough."""
    if _installed.get(id(fn)) is fn:
        return True
    module = sys.modules.get(fn.__module__) if isinstance(fn.__module__, str) else None
    if module is None or is_users_module(module) or not is_importable(fn, module, name or fn.__qualname__):
        return False
    _installed[id(fn)] = fn
    return True


def function_by_name(fn: types.FunctionType) -> Any:
    """An installed function: pickle's own way, but for those that a class method hides."""
    module = sys.modules[fn.__module__]
    if live.attribute(module, fn.__qualname__) is fn:
        return NotImplemented
    return operator.attrgetter(f"{fn.__qualname__}.__func__"), (module,)


def class_by_name(cls: type) -> Any:
    """An installed class: pickle's own way, but for types of Python's that only `types` has a name for."""
    name = _TYPES.get(cls)
    return NotImplemented if name is None else (getattr, (types, name))


def installed_name(namespace: dict[str, Any]) -> str | None:
    """The name of the installed module whose globals these are."""
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or vars(module) is not namespace or is_users_module(module):
        return None
    return name


def is_dispatcher(fn: types.FunctionType) -> bool:
    """Whether functools.singledispatch made it."""
    return fn.__globals__ is vars(functools) and fn.__dict__.keys() >= DISPATCH_ATTRIBUTES
