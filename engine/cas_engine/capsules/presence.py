"""Recorded modules under their names, for the moment in which somebody looks there for what recorded code gave him.

Pickle writes a class by its name only if it finds it there, and so do all that use it: multiprocessing, joblib, shelve.
While recorded code is called, an import of a recorded module's name, which would fail as its source is gone, gives one
that has nothing of its own: it looks in the recorded program of the call that asks. It is there until it has answered.
Where another module of that name is here, it steps aside for it only if recorded code has called pickle itself.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from importlib.machinery import ModuleSpec
from typing import Any

from cas_engine.capsules import live
from cas_engine.modules.program import program_of
from cas_store import forks

Program = Mapping[str, types.ModuleType]
_MAIN = "__main__"
_NOTHING = object()
_program: ContextVar[Program | None] = ContextVar("program", default=None)
_under_way: list[Program] = []  # one for each call
_lock = forks.free_lock()


class Presence(types.ModuleType):
    """Stands for a recorded module, whichever call asks; `_cas_aside` is the one that stepped aside."""

    _cas_aside: types.ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        aside = self._cas_aside
        if aside is not None and (name.startswith("__") or _program.get() is None):
            return getattr(aside, name)
        value = _attribute(self.__name__, name)
        _withdraw(self)
        return value


def within_its_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called so that the modules recorded with it are found by name; itself if there are none."""
    program = _program_of(function)
    if not program:
        return function

    def call(*args: Any, **kwargs: Any) -> Any:
        with _under(program):
            value = function(*args, **kwargs)
            if isinstance(value, types.CoroutineType):
                import asyncio

                value = asyncio.run(value)
            return value

    return call


def offer(name: str) -> None:
    """Recorded code calls something written in C that imports this module, and looks in `sys.modules` right after."""
    if _program.get() is not None and name != _MAIN and type(sys.modules.get(name)) is not Presence:
        made = Presence(name)
        made._cas_aside = sys.modules.get(name)  # noqa: SLF001 - it is ours
        sys.modules[name] = made


@contextmanager
def _under(program: Program) -> Iterator[None]:
    token = _program.set(program)
    with _lock:
        if not _under_way:
            sys.meta_path.append(_Finder)
            _let_main_answer()
        _under_way.append(program)
    try:
        yield
    finally:
        _program.reset(token)
        with _lock:
            del _under_way[next(at for at, each in enumerate(_under_way) if each is program)]
            if not _under_way:
                sys.meta_path.remove(_Finder)
                _forget()


def _program_of(function: Any) -> Program:
    """The recorded modules that a callable was loaded with."""
    for _ in range(16):
        if isinstance(function, types.FunctionType):
            return program_of(function.__globals__)
        if isinstance(function, partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        else:
            own = getattr(function, "__dict__", {})
            called = own.get("__wrapped__") or own.get("fn")
            function = called if called is not None else vars(type(function)).get("__call__")
    return {}


def _programs() -> list[Program]:
    """That of the call that asks. A thread that a call has started may be that of any that is under way."""
    own = _program.get()
    return list({id(each): each for each in list(_under_way)}.values()) if own is None else [own]


def _attribute(module: str, name: str) -> Any:
    found: dict[int, Any] = {}
    # Special names are asked for by whoever walks over all modules.
    for program in () if name.startswith("__") else _programs():
        value = vars(program[module]).get(name, _NOTHING) if module in program else _NOTHING
        if value is not _NOTHING:
            found[id(value)] = value
    if not found and not name.startswith("__"):
        found = {id(cls): cls for cls in live.loaded_by_value(module, name)}
    if len(found) != 1:
        how = "several calls have one of their own" if found else "it was not recorded with the code"
        raise AttributeError(f"recorded module `{module}` has no `{name}` to be found by name: {how}")
    return next(iter(found.values()))


class _Recorded:
    """A loader. Not derived from that of importlib.abc, which imports much."""

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return Presence(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """It has nothing of its own."""


class _Finder:
    """The last one that Python asks for a module: nobody else has it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """A module that was recorded."""
        del path, target
        if live.importing():
            return None  # somebody looks whether it is here
        programs = _programs()
        if not any(name in program for program in programs) and not live.loaded_by_value(name):
            return None
        is_package = any(each.startswith(f"{name}.") for program in programs for each in program)
        loader: Any = _Recorded()
        return ModuleSpec(name, loader, is_package=is_package)


def _withdraw(presence: Presence) -> None:
    """It is no longer there, nor are those above it: cloudpickle takes what is there for what everybody can import."""
    name = presence.__name__
    if sys.modules.get(name) is presence:
        if presence._cas_aside is not None:  # noqa: SLF001 - it is ours
            sys.modules[name] = presence._cas_aside  # noqa: SLF001
        else:
            sys.modules.pop(name, None)
    parent, _, child = name.rpartition(".")
    above = sys.modules.get(parent)
    if above is not None and vars(above).get(child) is presence:
        delattr(above, child)
    if type(above) is Presence:
        _withdraw(above)


def _let_main_answer() -> None:
    """What a script defined is looked for in `__main__`, which is another one here."""
    main = sys.modules.get(_MAIN)
    if main is not None:
        vars(main).setdefault("__getattr__", partial(_attribute, _MAIN))


def _forget() -> None:
    main = vars(sys.modules.get(_MAIN, types))
    answer = main.get("__getattr__")
    if isinstance(answer, partial) and answer.func is _attribute:
        del main["__getattr__"]
    for module in list(sys.modules.values()):
        if type(module) is Presence:
            _withdraw(module)
