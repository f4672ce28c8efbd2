"""What recorded code sees of the modules of Python that look into `sys.modules`, where its own modules are not.

`importlib` finds recorded modules first. `typing` and `inspect` look for what the annotations of a class name where
that class was recorded; `dataclasses` and class statements find the module that a class is being made in. Else they
would find none, or one of that name as it is now.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cas_engine.modules.program import HOME, STANDS_FOR, Facade

Modules = Mapping[str, types.ModuleType]
# The modules, and what each has of its own.
OWN = {
    "importlib": ("import_module",),
    "typing": ("get_type_hints",),
    "inspect": ("get_annotations",),
    "dataclasses": ("dataclass", "make_dataclass"),
}
_BUILD = "__cas_build_class__"
_CALL = compile(f"{_BUILD}()", __file__, "eval")


class Facades:
    """Those of one recorded program, each made when it is first met. `modules` are the recorded ones, now or later."""

    def __init__(self, modules: Modules, find_module: Callable[..., types.ModuleType]) -> None:
        self._functions: dict[str, Callable[..., Any]] = {
            "import_module": find_module,
            "get_type_hints": functools.partial(_type_hints, modules),
            "get_annotations": functools.partial(_annotations, modules),
            "dataclass": functools.partial(_dataclass, modules),
            "make_dataclass": functools.partial(_make_dataclass, modules),
        }
        self._made: dict[str, Facade] = {}

    def get(self, name: str) -> Facade | None:
        """What stands for the module of that name, if anything does."""
        found = self._made.get(name)
        if found is None and name in OWN:
            original = importlib.import_module(name)
            found = self._made[name] = Facade(name)
            vars(found).update(vars(original))
            for own in OWN[name]:
                vars(found)[own] = passing_for(getattr(original, own), self._functions[own])
        return found


def passing_for(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` in the place of `original`, which fingerprints and capsules take it for."""

    @functools.wraps(original)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    stand_in.__dict__[STANDS_FOR] = original
    return stand_in


def build_class(func: types.FunctionType, name: str, /, *bases: Any, **options: Any) -> Any:
    """`__build_class__` in the recorded program: a class statement.

    A metaclass may look for names in the frame that the statement stands in (pydantic does), and for those of the
    module in `sys.modules`: here the frame has both.
    """
    make = functools.partial(builtins.__build_class__, func, name, *bases, **options)
    if "metaclass" not in options and all(type(base) is type for base in bases):
        return make()
    frame = sys._getframe(2)  # noqa: SLF001 - past the stand-in
    names = {**func.__globals__, **frame.f_locals, _BUILD: make}
    return eval(_CALL.replace(co_name=frame.f_code.co_name), func.__globals__, names)  # noqa: S307 - a call, as it stands


def _type_hints(
    modules: Modules, obj: Any, globalns: Any = None, localns: Any = None, include_extras: bool = False
) -> dict[str, Any]:
    if not isinstance(obj, type) or globalns is not None or localns is not None:
        return typing.get_type_hints(obj, globalns, localns, include_extras)
    hints: dict[str, Any] = {}
    for base in reversed(obj.__mro__) if not getattr(obj, "__no_type_check__", False) else ():
        if not (written := _written(base)):
            continue
        # As typing does it: the names of the module before those of the class.
        alone: Any = type(base.__name__, (), {"__annotations__": written, "__module__": base.__module__})
        if hasattr(base, "__type_params__"):
            alone.__type_params__ = base.__type_params__
        hints |= typing.get_type_hints(alone, dict(vars(base)), _names_for(base, modules), include_extras)
    return hints


def _annotations(
    modules: Modules,
    obj: Any,
    *,
    globals: Any = None,  # noqa: A002
    locals: Any = None,  # noqa: A002
    eval_str: bool = False,
) -> dict[str, Any]:
    if eval_str and isinstance(obj, type) and globals is None and locals is None:
        globals, locals = _names_for(obj, modules), dict(vars(obj))  # noqa: A001
    found: dict[str, Any] = inspect.get_annotations(obj, globals=globals, locals=locals, eval_str=eval_str)
    return found


def _dataclass(modules: Modules, cls: Any = None, /, **options: Any) -> Any:
    if cls is None:
        return functools.partial(_dataclass, modules, **options)
    name = cls.__module__
    if not isinstance(cls, type) or name not in modules or _is_live(cls):
        return dataclasses.dataclass(cls, **options)
    made = cls
    try:
        with _there(modules[name]) as alias:
            type.__setattr__(cls, "__module__", alias)
            made = dataclasses.dataclass(cls, **options)
    finally:
        for each in (cls, made):
            type.__setattr__(each, "__module__", name)
    return made


def _make_dataclass(modules: Modules, name: str, /, *args: Any, **options: Any) -> Any:
    make: Any = dataclasses.make_dataclass
    if sys.version_info < (3, 12):
        return make(name, *args, **options)
    # From then on it is of the module that the call stands in.
    module = options.pop("module", None) or sys._getframe(2).f_globals.get("__name__", "__main__")  # noqa: SLF001
    if module not in modules:
        return make(name, *args, module=module, **options)
    with _there(modules[module]) as alias:
        made = make(name, *args, module=alias, **options)
    type.__setattr__(made, "__module__", module)
    return made


@contextmanager
def _there(module: types.ModuleType) -> Iterator[str]:
    """The name under which a recorded module is in `sys.modules` meanwhile; one that nothing else can have."""
    home = types.ModuleType(module.__name__)
    vars(home).update({key: original_of(value) for key, value in vars(module).items()})
    alias = f"{module.__name__}@{id(home):x}"
    sys.modules[alias] = home
    try:
        yield alias
    finally:
        del sys.modules[alias]


def original_of(thing: Any) -> Any:
    """What a facade stands for; all else as it is."""
    return importlib.import_module(thing.__name__) if isinstance(thing, Facade) else thing


def _written(cls: type) -> dict[str, Any]:
    found = vars(cls).get("__annotations__")
    return found if isinstance(found, dict) else {}


def _names_for(cls: type, modules: Modules) -> dict[str, Any]:
    """Where the annotations of a class are looked up."""
    recorded: dict[str, Any] | None = vars(cls).get(HOME)
    if recorded is None and cls.__module__ in modules and not _is_live(cls):
        recorded = vars(modules[cls.__module__])
    if recorded is None:
        return getattr(sys.modules.get(cls.__module__), "__dict__", {})
    return {key: original_of(value) for key, value in recorded.items()}


def _is_live(cls: type) -> bool:
    """Whether it is the class that the running program has under its name."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found is cls
