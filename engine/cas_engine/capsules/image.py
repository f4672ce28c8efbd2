"""A recorded program in memory: the user's modules as they were, beside those of the running program.

Each stream of code loaded by value gets an Image. The functions in it have the recorded modules as their globals, and
an import inside one of their bodies finds the recorded module first, whatever the source has become and whether it is
still there. Nothing of this enters `sys.modules`: the user's live program never meets it.

The methods in `Image` that a stream may name are its vocabulary: `by_value` writes references to them, `ImageUnpickler`
binds these to the Image being made. Their names and arguments are part of the format.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import marshal
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cas_engine.capsules import classes, facades
from cas_engine.capsules.live import ClassKey, Name, Session, agree_on, find_class, key_of
from cas_engine.errors import CapsuleError
from cas_engine.fingerprint.patches import Extension, Patch
from cas_engine.modules import moved
from cas_engine.modules.importing import Unpickler, imported
from cas_engine.modules.program import MODULES, RECORDED, RecordedModule, absolute_name


class Image:
    """What one stream of recorded code becomes. `session` looks at live classes that might be the recorded ones."""

    def __init__(self, session: Session) -> None:
        self.modules: dict[str, RecordedModule] = {}
        self.session = session
        self._builtins = {
            **vars(builtins),
            "__import__": facades.passing_for(builtins.__import__, self._import),
            "__build_class__": facades.passing_for(builtins.__build_class__, facades.build_class),
            MODULES: self.modules,
        }
        self._facades = facades.Facades(self.modules, self.find_module)
        self._made: dict[int, tuple[ClassKey, type, classes.Shape]] = {}
        self.brought: list[Patch] = []

    # --- the vocabulary of streams

    def space(self, name: str | None, facts: Mapping[str, Any], shown: str) -> types.ModuleType:
        """The namespace of recorded functions: a module by its name, or one that has none (exec, notebooks)."""
        if name is not None and name in self.modules:
            return self.modules[name]
        module = RecordedModule(shown)
        module.__dict__.clear()  # a namespace of exec may have no name, and its code may ask
        module.__dict__.update(facts)
        module.__dict__["__builtins__"] = self._builtins
        if name is not None:
            self.modules[name] = module
        return module

    def module(self, name: str) -> types.ModuleType:
        """An installed module."""
        return self._facades.get(name) or imported(name)

    @staticmethod
    def code(marshalled: bytes) -> types.CodeType:
        code: types.CodeType = marshal.loads(marshalled)  # noqa: S302 - as a pickle: its digest was checked before
        return code

    @staticmethod
    def cell() -> types.CellType:
        return types.CellType()

    @staticmethod
    def set_cell(cell: types.CellType, contents: object) -> None:
        cell.cell_contents = contents

    @staticmethod
    def same(value: object) -> object:
        return value

    @staticmethod
    def function(
        code: types.CodeType, space: types.ModuleType, name: str, cells: tuple[types.CellType, ...] | None
    ) -> types.FunctionType:
        return types.FunctionType(code, vars(space), name, None, cells)

    @staticmethod
    def set_function(fn: types.FunctionType, state: Mapping[str, Any]) -> None:
        Image.set_spaces(None, state["spaces"])
        for cell, contents in state["cells"]:
            cell.cell_contents = contents
        for name, value in state["attributes"].items():
            setattr(fn, name, value)
        fn.__dict__.update(state["dict"])

    @staticmethod
    def set_spaces(_: object, spaces: Sequence[tuple[types.ModuleType, Mapping[str, Any]]]) -> None:
        """Put recorded globals into their modules."""
        for space, attributes in spaces:
            vars(space).update(attributes)

    def skeleton(self, named: Sequence[Any], shape: Sequence[Any], members: Mapping[str, Any] | None) -> type:
        """The class itself if it lives here with the recorded code, or what another stream made; or an empty one."""
        *parts, code = named
        name = Name(*parts)
        found = find_class(name, code, self.session)
        if found is None:
            whole = classes.Shape(*shape)
            found = classes.skeleton(whole) if members is None else classes.enum_skeleton(whole, members)
            self._made[id(found)] = key_of(name, code), found, whole
        return found

    def set_class(self, cls: type, state: Sequence[Any]) -> None:
        contents, registered, home, spaces = state
        Image.set_spaces(None, spaces)
        if id(cls) in self._made:
            classes.fill(cls, self._made[id(cls)][2], contents, registered, None if home is None else vars(home))

    @staticmethod
    def lru_cache(fn: Callable[..., Any], maxsize: int | None, typed: bool) -> object:
        return functools.lru_cache(maxsize, typed)(fn)

    @staticmethod
    def singledispatch(implementations: Mapping[type, Callable[..., Any]]) -> object:
        made = functools.singledispatch(implementations[object])
        for cls, implementation in implementations.items():
            made.register(cls, implementation)
        return made

    @staticmethod
    def set_attributes(thing: object, state: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        own, special = state
        vars(thing).update(own)
        for name, value in special.items():
            setattr(thing, name, value)

    @staticmethod
    def fresh(kind: str) -> object:
        """A new one of what has no content worth keeping."""
        return _FRESH[kind]()

    def patch(
        self,
        package: str,
        path: tuple[str, ...],
        holder: str,
        name: str,
        is_item: bool,
        value: object,
        shown: str,
        is_extension: bool,
    ) -> Patch:
        """What a module of the user's had put into a package."""
        kind = Extension if is_extension else Patch
        made = kind(package, path, holder, name, is_item=is_item, value=value, shown=shown)
        self.brought.append(made)
        return made

    @staticmethod
    def absent(what: str) -> object:
        raise CapsuleError(what)

    # --- what recorded code calls

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names that __import__ has
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """`__import__` in the recorded program: recorded modules first."""
        absolute = absolute_name(name, globals or {}, level)
        top = absolute.partition(".")[0]
        if absolute in self.modules:
            if type(fromlist) is list and not fromlist:
                # As C code calls it (PyImport_Import): pickle does, and takes what it then finds in sys.modules.
                from cas_engine.capsules import presence

                presence.offer(absolute)
            module = self.modules[absolute]
            for child in fromlist or ():
                if child not in vars(module) and f"{absolute}.{child}" in self.modules:
                    setattr(module, child, self.modules[f"{absolute}.{child}"])
            return module if fromlist else self.modules[top]
        facade = self._facades.get(top)
        if facade is not None:
            found = importlib.import_module(absolute)
            return found if fromlist and absolute != top else facade
        if not fromlist and absolute != top and top in self.modules:
            # `import package.other` where only another part of the package was recorded: this part is the live one.
            self._hang(absolute, importlib.import_module(absolute))
            return self.modules[top]
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def find_module(self, name: str, package: str | None = None) -> types.ModuleType:
        """`importlib.import_module` in the recorded program."""
        level = len(name) - len(name.lstrip("."))
        absolute = absolute_name(name.lstrip("."), {"__package__": package}, level)
        if absolute in self.modules:
            return self.modules[absolute]
        return self.module(absolute)

    def complete(self) -> bool:
        """Once all is loaded: `import a.b` needs `a`, and `b` in it; and the classes made here become known.

        False if another thread has made one of these classes meanwhile: then this image is to be thrown away.
        """
        for name in list(self.modules):
            self._hang(name, self.modules[name])
        RECORDED.update(self.modules)
        agreed = agree_on([(key, cls) for key, cls, _ in self._made.values()])
        self._made.clear()
        return agreed

    def _hang(self, name: str, module: types.ModuleType) -> None:
        parent, _, child = name.rpartition(".")
        if not parent:
            return
        if parent not in self.modules:
            self.space(parent, {"__package__": parent, "__path__": []}, parent)
            self._hang(parent, self.modules[parent])
        vars(self.modules[parent]).setdefault(child, module)


_FRESH: dict[str, Callable[[], object]] = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "local": threading.local,
}


class ImageUnpickler(Unpickler):
    """Loads a stream of recorded code into an Image of its own."""

    def __init__(self, stream: io.BytesIO, image: Image) -> None:
        super().__init__(stream)
        self._image = image

    def find_class(self, module: str, name: str, /) -> Any:
        if name.startswith("Image.") and moved.now(module) == __name__:
            return getattr(self._image, name.removeprefix("Image."))
        if name in facades.OWN.get(module, ()):
            return getattr(self._image.module(module), name)
        return super().find_class(module, name)


def load_code(content: bytes | memoryview, session: Session) -> tuple[Any, list[Patch]]:
    """The root of a stream of code by value, and what other modules had brought to it."""
    for _ in range(16):
        image = Image(session)
        unpickler = ImageUnpickler(io.BytesIO(content), image)
        root = None
        for _ in range(unpickler.load()):
            root = unpickler.load()
        if image.complete():
            return root, image.brought
    raise CapsuleError("recorded classes keep being loaded by other threads\n  -> try again")
