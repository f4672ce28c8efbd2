"""Code of the user's written down by value: functions, classes and modules with all of the user's own that they reach.

Installed code is written by name, as in any pickle; what is the user's own is written out, wherever it lies, so that it
can be loaded where no source is. `image` is the other side: it says what the stream's words mean.

Built on cloudpickle for the many small types that pickle leaves out. Functions, classes, cells, code and modules have
forms of their own, because here classes are known by their fingerprint (cloudpickle knows them by a random id of the
process), modules stay modules, and a blob must not depend on the private names of one release of cloudpickle.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import io
import marshal
import sys
import types
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle

from cas_engine.capsules import classes, live, oddities, reached
from cas_engine.capsules.image import Image
from cas_engine.capsules.installed import (
    DISPATCH_ATTRIBUTES,
    class_by_name,
    function_by_name,
    installed_name,
    is_dispatcher,
    is_installed,
    is_users_class,
    is_users_module,
)
from cas_engine.capsules.live import Name, Session
from cas_engine.fingerprint.annotations import annotations_of, codes_in, names_for
from cas_engine.fingerprint.classes import reads_annotations
from cas_engine.fingerprint.patches import Extension, Patch
from cas_engine.modules.program import Facade, program_of, stood_for

PROTOCOL = 5
_FUNCTION_ATTRIBUTES = (
    "__qualname__",
    "__module__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
)
_FACTS = ("__name__", "__package__", "__file__", "__path__")
# A class without a fingerprint is known by a name of its own, which lasts as long as the class.
_unnamed: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that could not be written, and why."""

    type: str
    why: str


class _Space:
    """Stands in the stream for the namespace of functions, that is for their module."""

    __slots__ = ("filled", "namespace")

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.filled: set[str] = set()


class _Cell:
    """Stands in the stream for a closure's cell: made empty, since what it holds may hold the function."""

    __slots__ = ("cell", "filled")

    def __init__(self, cell: types.CellType) -> None:
        self.cell = cell
        self.filled = False


class _Reached:
    """What one function adds to the stream: attributes by namespace, and installed modules to be imported."""

    __slots__ = ("needs", "spaces")

    def __init__(self) -> None:
        self.spaces: list[tuple[_Space, dict[str, Any]]] = []
        self.needs: list[types.ModuleType] = []


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes code by value. What can't be written is noted in `faults`, and the stream goes on without it."""

    def __init__(
        self,
        file: io.BytesIO,
        session: Session,
        *,
        annotated: bool = False,
        modules: Sequence[tuple[types.ModuleType, reached.Paths]] = (),
    ) -> None:
        """`modules`: what functions may reach of modules that are only named in texts and pickles."""
        super().__init__(file, protocol=PROTOCOL)
        self._modules = modules
        self.session = session
        self._annotated = annotated  # whether something reads the annotations of functions and of any class
        self.faults: list[Fault] = []
        self.functions: list[types.FunctionType] = []
        self._spaces: dict[int, _Space] = {}
        self._cells: dict[int, _Cell] = {}
        self._trials: dict[int, bool] = {}

    def reducer_override(self, obj: Any) -> Any:
        """What pickle asks for each object that is not of the simplest types."""
        kind = type(obj)
        if kind is types.FunctionType:
            return self._function(obj)
        if issubclass(kind, type):
            return self._class(obj)
        if issubclass(kind, types.ModuleType):
            return self._module(obj)
        if kind is _Space:
            return self._namespace(obj)
        if kind is _Cell:
            return Image.cell, ()
        if kind is types.CellType:
            return self._free_cell(obj)
        if kind is types.CodeType:
            return _code(obj)
        if kind is Patch or kind is Extension:
            told = (obj.package, obj.path, obj.holder, obj.name, obj.is_item, obj.value, obj.shown)
            return Image.patch, (*told, kind is Extension)
        return self._instance(obj)

    # --- functions

    def _function(self, fn: types.FunctionType) -> Any:
        if stood_for(fn) is not fn:
            return Image.same, (stood_for(fn),)
        if is_installed(fn):
            return function_by_name(fn)
        if is_dispatcher(fn):
            return self._singledispatch(fn)
        self.functions.append(fn)
        cells = None if fn.__closure__ is None else tuple(map(self._cell, fn.__closure__))
        found = _Reached()
        self._take_globals(fn, found)
        for module, paths in reached.modules_of(fn):
            self._take_paths(module, paths, found)
        if self._modules and reached.looks_up_modules(fn.__code__):
            for module, paths in self._modules:
                if is_users_module(module):
                    self._take_paths(module, paths, found)
        if self._annotated:
            self._take_annotated(fn, found)
        state = {
            "cells": [] if cells is None else self._contents(fn.__code__, cells, found),
            "spaces": found.spaces,
            "needs": found.needs,
            "attributes": {name: getattr(fn, name) for name in _FUNCTION_ATTRIBUTES},
            "dict": fn.__dict__,
        }
        args = (fn.__code__, self._space(fn.__globals__), fn.__name__, cells)
        return Image.function, args, state, None, None, Image.set_function

    def _take_globals(self, fn: types.FunctionType, found: _Reached) -> None:
        """The globals that the function reaches and no function before it did."""
        if installed_name(fn.__globals__) is not None:
            return
        space = self._space(fn.__globals__)
        for name, paths in reached.globals_of(fn.__code__).items():
            self._take(space, name, paths, found)
        if reached.reads_any_global(fn.__code__):
            self._take_all(space, found)

    def _take(self, space: _Space, name: str, paths: reached.Paths, found: _Reached) -> None:
        if name in space.namespace and name not in reached.NOT_CARRIED:
            value = self._narrowed(space.namespace[name], paths, found)
            if name not in space.filled:
                space.filled.add(name)
                found.spaces.append((space, {name: value}))

    def _narrowed(self, value: Any, paths: reached.Paths, found: _Reached) -> Any:
        """The value; of a module of the user's only what is read of it."""
        if not isinstance(value, types.ModuleType):
            return value
        if not is_users_module(value):
            # The submodules read through a package must have been imported when they are read again.
            found.needs += reached.submodules(value, paths)
            return value
        self._take_paths(value, paths, found)  # the whole of it also where a function before took a part
        return self._space(vars(value))

    def _take_annotated(self, thing: type | types.FunctionType, found: _Reached) -> _Space | None:
        """What texts among the annotations name, and the namespace where they are looked for; None without texts."""
        codes = [code for each in annotations_of(thing).values() for code in codes_in(each)]
        names = names_for(thing)
        if not codes or not names or installed_name(names) is not None:
            return None
        space = self._space(names)
        for code in codes:
            for name, paths in reached.globals_of(code).items():
                # Nothing calls for them but the annotations: what can't be written is as good as not defined.
                if name in names and (isinstance(names[name], types.ModuleType) or self.can_write(names[name])):
                    self._take(space, name, paths, found)
        return space

    def _take_paths(self, module: types.ModuleType, paths: reached.Paths, found: _Reached) -> None:
        space = self._space(vars(module))
        found.spaces.append((space, {}))
        if () in paths:
            self._take_all(space, found)
            return
        for name, deeper in reached.by_first(paths).items():
            self._take(space, name if name in space.namespace else "__getattr__", deeper, found)

    def _take_all(self, space: _Space, found: _Reached) -> None:
        """Every global that can be written: the code may ask for any of them."""
        taken: dict[str, Any] = {}
        for name, value in list(space.namespace.items()):
            if name not in space.filled and name not in reached.NOT_CARRIED and self.can_write(value):
                space.filled.add(name)
                taken[name] = value
        found.spaces.append((space, taken))
        for module in reached.modules_below(space.namespace):
            self._take_all(self._space(vars(module)), found)

    def _contents(self, code: types.CodeType, cells: tuple[_Cell, ...], found: _Reached) -> list[tuple[_Cell, Any]]:
        contents: list[tuple[_Cell, Any]] = []
        paths = reached.variables_of(code)
        for name, cell in zip(code.co_freevars, cells, strict=True):
            try:
                value = self._narrowed(cell.cell.cell_contents, paths.get(name, reached.WHOLE), found)
            except ValueError:
                continue  # empty: a variable that the enclosing function has not bound
            if not cell.filled:
                cell.filled = True
                contents.append((cell, value))
        return contents

    def _singledispatch(self, fn: Any) -> Any:
        own = {name: value for name, value in fn.__dict__.items() if name not in DISPATCH_ATTRIBUTES}
        special = {name: getattr(fn, name) for name in ("__name__", "__qualname__", "__module__", "__doc__")}
        return Image.singledispatch, (dict(fn.registry),), (own, special), None, None, Image.set_attributes

    # --- namespaces and modules

    def _space(self, namespace: dict[str, Any]) -> _Space:
        space = self._spaces.get(id(namespace))
        if space is None:
            space = self._spaces[id(namespace)] = _Space(namespace)
        return space

    def _namespace(self, space: _Space) -> Any:
        namespace = space.namespace
        installed = installed_name(namespace)
        if installed is not None:
            return Image.module, (installed,)
        facts = {name: namespace[name] for name in _FACTS if name in namespace}
        if "__path__" in facts:
            facts["__path__"] = list(facts["__path__"])
        shown = facts.get("__name__")
        shown = shown if isinstance(shown, str) else ""
        return Image.space, (shown if _is_module(namespace, shown) else None, facts, shown)

    def _module(self, module: types.ModuleType) -> Any:
        if isinstance(module, Facade) or not is_users_module(module):
            return Image.module, (module.__name__,)
        space = self._space(vars(module))
        found = _Reached()
        self._take_all(space, found)
        return Image.same, (space,), found.spaces, None, None, Image.set_spaces

    def can_write(self, value: object) -> bool:
        """Whether the value can be written, found out by trying, once for each value."""
        known = self._trials.get(id(value))
        if known is None:
            self._trials[id(value)] = True  # so that what leads back to it does not try for ever
            known = self._try([value]) or self._try([*reached.innermost_first(value), value])
            self._trials[id(value)] = known
        return known

    def _try(self, roots: list[Any]) -> bool:
        trial = CodePickler(io.BytesIO(), self.session, annotated=self._annotated)
        trial._trials = self._trials
        try:
            for root in roots:
                trial.dump(root)
        except Exception:  # noqa: BLE001 - any type may refuse in its own way
            return False
        return not trial.faults

    # --- cells, classes, the rest

    def _cell(self, cell: types.CellType) -> _Cell:
        found = self._cells.get(id(cell))
        if found is None:
            found = self._cells[id(cell)] = _Cell(cell)
        return found

    def _free_cell(self, cell: types.CellType) -> Any:
        box = self._cell(cell)
        try:
            return Image.same, (box,), cell.cell_contents, None, None, Image.set_cell
        except ValueError:
            return Image.same, (box,)

    def _class(self, cls: type) -> Any:
        if not is_users_class(cls):
            return class_by_name(cls)
        shape, contents, registered = classes.parts_of(cls, is_users_class)
        members = classes.members_of(cls) if isinstance(cls, enum.EnumMeta) else None
        name = Name.of(cls.__module__, cls.__qualname__)
        code = code_of_class(cls, self.session)
        live.remember(name, code, cls)
        whole = (shape.maker, shape.metaclass, shape.quiet, shape.name, shape.bases, shape.namespace)
        args = ((name.module, name.qualname, name.script, code), whole, members)
        found = _Reached()
        home = self._take_annotated(cls, found) if self._annotated or reads_annotations(cls) else None
        return Image.skeleton, args, (contents, registered, home, found.spaces), None, None, Image.set_class

    def _instance(self, obj: Any) -> Any:
        kind = type(obj)
        sentinel = oddities.sentinel_name(obj)
        if sentinel is not None:
            return getattr, sentinel
        lock = oddities.lock_kind(obj)
        if lock is not None:
            return Image.fresh, (lock,)
        if kind is functools._lru_cache_wrapper and not is_installed(obj):  # noqa: SLF001 - it has no public name
            settings = obj.cache_parameters()
            own: tuple[dict[str, Any], dict[str, Any]] = (dict(vars(obj)), {})
            args = (obj.__wrapped__, settings["maxsize"], settings["typed"])
            return Image.lru_cache, args, own, None, None, Image.set_attributes
        try:
            return self._reduced(obj, kind)
        except Exception as error:  # noqa: BLE001 - any type may refuse in its own way
            self.faults.append(Fault(kind.__name__, first_line(error)))
            return Image.absent, (f"{kind.__name__}: {first_line(error)}",)

    def _reduced(self, obj: Any, kind: type) -> Any:
        special = oddities.reducer_of(kind)
        if special is None and kind in oddities.NAMED and not is_installed(obj, obj.__name__):
            special = oddities.NAMED[kind]
        if special is not None:
            return special(obj)
        reduce = self.dispatch_table.get(kind)
        reduced = obj.__reduce_ex__(PROTOCOL) if reduce is None else reduce(obj)
        if isinstance(reduced, str) and is_users_class(kind):
            # By the name of a global of the user's, which need not exist where this is loaded.
            return copyreg.__newobj__, (kind,), getattr(obj, "__dict__", None)  # type: ignore[attr-defined]
        return reduced


def code_of_class(cls: type, session: Session) -> bytes:
    """The fingerprint's digest; for a class that has none, an id that lasts as long as the class."""
    return live.code_of(cls, session) or _unnamed.setdefault(cls, uuid.uuid4().bytes)


def _is_module(namespace: dict[str, Any], name: str) -> bool:
    """Whether these are the globals of the module of that name, in the live program or in the recorded one."""
    module = program_of(namespace).get(name) or sys.modules.get(name)
    return module is not None and vars(module) is namespace


def _code(code: types.CodeType) -> Any:
    try:
        # Marshal's second format knows no sharing and no interning: equal code, equal bytes.
        return Image.code, (marshal.dumps(code, 2),)
    except ValueError:
        # Somebody put an object among the constants.
        return cloudpickle.Pickler.dispatch_table[types.CodeType](code)


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
