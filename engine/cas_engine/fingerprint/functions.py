"""Functions: the canonical body, and what its names, cells, defaults and attributes stand for."""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from types import FunctionType, ModuleType
from typing import Any

from cas_engine.fingerprint.annotations import annotated
from cas_engine.fingerprint.bytecode import Canonical, canonical
from cas_engine.fingerprint.environment import FILE
from cas_engine.fingerprint.graph import DigestOf, Node
from cas_engine.fingerprint.named import files_named, modules_named, texts_in
from cas_engine.fingerprint.opaque import all_subclasses
from cas_engine.fingerprint.origin import (
    Kind,
    is_builtin,
    is_importable,
    owner_of_function,
    owner_of_namespace,
    told_module,
)
from cas_engine.fingerprint.reach import Lost, Reach, belongs, says
from cas_engine.fingerprint.readings import (
    IMPORTERS,
    LEADING_ON,
    MARKS,
    MODULE_READERS,
    OF_CALLERS,
    OF_ENTRY_POINTS,
    REFLECTIVE,
    led_to,
)
from cas_engine.fingerprint.references import COUNTER, FREE, GLOBAL, OPTIONAL, Ref
from cas_engine.fingerprint.resolve import (
    MISSING,
    Foreign,
    Found,
    Missing,
    is_a,
    look_up,
    module_of,
    registered_with,
)
from cas_engine.fingerprint.scopes import call_of
from cas_engine.fingerprint.versions import installed_version
from cas_store.digest import digest_of

_BUILTIN = type(len)
_FOUND = ("found",)
_VALUES = frozenset({int, float, complex, bool, str, bytes, type(None), list, tuple, dict, set, frozenset})
_METADATA = frozenset({"importlib.metadata", "importlib_metadata", "pkg_resources"})
_TELLING = _METADATA | {module for module, _ in OF_CALLERS}
_OF_PLACE = frozenset({"__name__", "__file__"})
_EVALUATING = frozenset({"eval", "exec"})
_REFLECTING = frozenset(REFLECTIVE)
_UNPICKLING = frozenset({pickle.loads, pickle.load})


def describe_function(node: Node, reach: Reach) -> None:
    """A function of the user's by its body and all that it reads; another's by name and by what it was made with."""
    fn: FunctionType = node.obj
    home = reach.home(fn.__globals__)
    if not home.owner.is_user:
        _describe_foreign(node, reach)
        return
    node.kind, node.name, node.modules = "code", f"{home.shown}.{fn.__qualname__}", home.modules
    form = canonical(fn.__code__)
    reader = _Reader(node, fn, form, reach)
    for ref in form.refs:
        try:
            reader.read(ref)
        except Exception as error:  # noqa: BLE001 - looking at it ran code of the user's
            reader.lose(ref, error)
    _read_defaults(node, fn, form, reader)
    if fn.__dict__:
        _read_attributes(node, fn, form, reader)
    if form.keywords:
        node.keywords = form.keywords
    if form.asked:
        node.asked |= form.asked
    if form.is_telling or reader.imports_by_name or reader.hidden:
        _note_form(node, form, reader)
    says(node, "function", form.digest, tuple(reader.said))


def _note_form(node: Node, form: Canonical, reader: _Reader) -> None:
    """What a body tells besides what it does and reads."""
    if not LEADING_ON.isdisjoint(form.names) or form.computed_imports or reader.imports_by_name:
        _lead_on(node, form, reader)
    if form.queries:
        node.evaluates = True
    node.reflects |= form.reflects
    node.hidden = (*form.hidden, *reader.hidden)
    node.warnings += tuple(f"{node.name} writes the {what}" for what in form.writes)


def _lead_on(node: Node, form: Canonical, reader: _Reader) -> None:
    """Follow what is only found by running it, as far as it can be told."""
    read = {ref.name for ref in form.refs if ref.source == GLOBAL}
    if not MODULE_READERS.isdisjoint(read):
        reader.whole_module()
    if form.computed_imports or reader.imports_by_name:
        reader.computed_imports(sure=not form.names.isdisjoint(IMPORTERS))
        if "__module__" in form.names:
            node.reflects = node.reflects | {"namespaces"}
    if "__subclasses__" in form.names:
        reader.subclasses()
    node.evaluates = not _EVALUATING.isdisjoint(read)


def read_as_if_in(node: Node, fn: FunctionType, form: Canonical, reach: Reach) -> tuple[object, ...]:
    """Follow what a text names when `fn` evaluates it; names that it doesn't find there may be given to it."""
    reader = _Reader(node, fn, canonical(fn.__code__), reach)
    for ref in form.refs:
        reader.read(Ref(OPTIONAL, ref.name, ref.attrs) if ref.source == GLOBAL else ref)
    node.reflects, node.asked = node.reflects | form.reflects, node.asked | form.asked
    return tuple(reader.said)


class _Reader:
    """Follows what one function reads, and notes what it found in the function's node."""

    __slots__ = ("base", "fn", "form", "hidden", "imports_by_name", "node", "reach", "said", "shown")

    def __init__(self, node: Node, fn: FunctionType, form: Canonical, reach: Reach) -> None:
        self.node = node
        self.fn = fn
        self.reach = reach
        self.form = form
        self.said: list[object] = []
        self.imports_by_name = False
        self.hidden: list[str] = []
        home = reach.home(fn.__globals__)
        self.base, self.shown = home.folder, home.shown

    def lose(self, ref: Ref, error: Exception) -> None:
        """What raises when it is looked at is lost, and nothing else of the function."""
        self.said.append("lost")
        self.child(Lost(error), None, ".".join((ref.name, *ref.attrs)))

    def read(self, ref: Ref) -> None:
        source, name, attrs, _, _ = ref
        module: Any = None
        if source == GLOBAL:
            space = self.fn.__globals__
            base = space.get(name, MISSING)
            if base is MISSING:
                base = look_up(space, name)
            kind = type(base)
            if kind is _BUILTIN and is_builtin(name, base):
                self.said.append(("builtin", name, attrs))  # the most frequent case, without a node of its own
                return
            if not attrs and (kind in _VALUES or (kind is FunctionType and _is_plain(base))) and name not in _OF_PLACE:
                self.said.append(_FOUND)  # as below, without a detour
                self.reach.child(self.node, base, (id(space), name), f"{self.shown}.{name}", self.base)
                return
            module = base if kind is ModuleType else None
        elif source == COUNTER:
            self.said.append("counter")
            return
        resolution = self.reach.resolved(ref, self.fn, module)
        if isinstance(resolution, Found):
            by_name = self._by_name(resolution)
            if by_name is None:
                self._found(ref, resolution)
            else:
                self._foreign(by_name)
        elif isinstance(resolution, Foreign):
            self._foreign(resolution)
        else:
            self._missing(ref, resolution)

    def child(self, obj: object, place: object, name: str) -> None:
        self.reach.child(self.node, obj, place, name, self.base)

    def _missing(self, ref: Ref, missing: Missing) -> None:
        if ref.source == OPTIONAL:
            self.said.append("absent")
            return
        self.said.append(("missing", ref.source, ref.name, ref.attrs))
        self.node.unresolved += (f"{missing.name}: {missing.why}",)

    def _foreign(self, foreign: Foreign) -> None:
        belongs(self.node, foreign.owner)
        if foreign.module in _METADATA:
            self._packages_asked_for(foreign.rest[:1])
        if foreign.rest and (foreign.module, foreign.rest[0]) in OF_CALLERS:
            self.node.reflects |= {"names"}
        if foreign.maker is not None:
            belongs(self.node, foreign.maker)
        if foreign.owner.compiled:
            self.child(CompiledFile(foreign.owner.compiled), ("file", foreign.owner.compiled), foreign.module)
            self.said.append(("compiled", foreign.rest))
        else:
            self.said.append((foreign.owner.kind.value, foreign.module, foreign.rest))
            if foreign.setting is not None:
                name = ".".join((foreign.module, *foreign.rest))
                self.child(foreign.setting, ("setting", name), name)
        self.node.children += [self.reach.node(each) for each in foreign.held]
        self._reflect(foreign.rest)
        leads = led_to(foreign.module, foreign.rest)
        if leads:
            self.node.reflects |= leads
        if foreign.module == "sys" and foreign.rest[:1] == ("modules",):
            self.imports_by_name = True
            if "__name__" in self.form.names:
                self.whole_module()

    def _by_name(self, found: Found) -> Foreign | None:
        """A class of a package, with nothing of the user's in it, by its name: as where it isn't loaded yet."""
        if not issubclass(type(found.obj), type) or "__subclasses__" in self.form.names:
            return None
        name = self.reach.name_of_class(found.obj)  # type: ignore[arg-type]
        if name is None or found.as_written is not None:
            return name and found.as_written
        return name._replace(rest=(*name.rest, *found.rest))

    def _reflect(self, names: tuple[str, ...]) -> None:
        if not _REFLECTING.isdisjoint(names):
            self.node.reflects |= {REFLECTIVE[name] for name in names if name in REFLECTIVE}

    def _found(self, ref: Ref, found: Found) -> None:
        obj, rest = found.obj, found.rest
        if found.through:
            self.node.modules |= {*found.through}
        if type(obj) is _BUILTIN and ref.source == GLOBAL and is_builtin(ref.name, obj):
            self.said.append(("builtin", ref.name, rest))  # what stands in for it in recorded code
            return
        if found.place[1] in _OF_PLACE and isinstance(obj, str) and not rest:
            self._of_place(obj, found)
            return
        if obj is pickle.Unpickler or (type(obj) is _BUILTIN and obj in _UNPICKLING):
            self.node.reflects |= {"pickles"}
        if obj is importlib.import_module and ref.name not in IMPORTERS:
            self.imports_by_name = True  # under another name: its argument isn't known
        if is_a(obj, FunctionType) and not owner_of_function(obj).is_user:
            self._reflect((obj.__name__,))
            if (obj.__module__, obj.__name__) in OF_CALLERS:
                self.node.reflects |= {"names"}
            if obj.__module__ in _METADATA:
                self._packages_asked_for((obj.__name__,))
        if rest:
            self.said.append(("found", *self._told(obj, rest)))
            self._attribute_of_function(obj, rest[0], found.name)
            self.node.asked = self.node.asked.union(rest)
        else:
            self.said.append(_FOUND)
        self.child(obj, found.place, found.name)

    def _attribute_of_function(self, obj: object, name: str, shown: str) -> None:
        """What was set on a function and is read here: the function's own code may only count it up."""
        if (
            type(obj) is FunctionType
            and name in obj.__dict__
            and name != "__wrapped__"
            and name not in self.form.counted
        ):
            self.child(obj.__dict__[name], ("attribute", id(obj), name), f"{shown}.{name}")

    def _packages_asked_for(self, by: tuple[str, ...]) -> None:
        """The distributions that the code names, where it asks for what is known of them: `version("numpy")`."""
        if not OF_ENTRY_POINTS.isdisjoint(by):
            self.node.reflects |= {"entry points"}
        self.node.packages |= {text for text in self.form.keywords if text.isascii() and installed_version(text)}

    def _told(self, obj: object, rest: tuple[str, ...]) -> tuple[object, ...]:
        """The attributes that are read from it; what usually doesn't count is told where it is read."""
        self._reflect(rest[1:])
        if is_a(obj, logging.Logger) and rest == ("name",):
            return (*rest, obj.name)  # which otherwise changes no result
        what = REFLECTIVE.get(rest[0]) if rest else None
        if what is None or (what == "subclasses" and is_a(obj, type)):  # whose subclasses are followed
            return rest
        named = what in {"names", "qualnames", "modules", "docs"} and rest[0].startswith("__")
        if named and (is_a(obj, FunctionType) or is_a(obj, type)):
            return (*rest, str(getattr(obj, rest[0], "")))
        self._reflect(rest[:1])
        return rest

    def _of_place(self, value: str, found: Found) -> None:
        """`__name__` and `__file__` of a module: where the file lies doesn't count."""
        self.said.append("its file" if found.place[1] == "__file__" else ("its name", value))

    def whole_module(self) -> None:
        """The body reads names that only running it would tell."""
        module = module_of(self.fn)
        self.child(module, None, module.__name__)
        self.said.append("whole module")

    def computed_imports(self, *, sure: bool = True) -> None:
        """An import by a computed name: all texts at hand that name modules of the user's are taken for it."""
        from cas_engine.fingerprint.programs import with_imported

        self.node.computes = True
        texts = {*self.form.keywords, *(text for child in self.node.children for text in texts_in(child.obj))}
        package = self.fn.__globals__.get("__package__")
        if "__name__" in self.form.names and isinstance(package, str) and package:
            texts.add(package)  # a name that is made of the module's own
        modules = modules_named(texts, self.fn.__globals__)
        for module in modules:
            self.child(module, None, module.__name__)
        for file in with_imported(files_named(texts, self.base), self.base):
            self.node.packages |= {FILE + file}
        self.said.append("computed import")
        if sure and not modules:
            self.node.unresolved += (f"{self.node.name}: imports a module by a computed name",)

    def subclasses(self) -> None:
        """`Base.__subclasses__()` reaches every class below it that exists now."""
        for child in list(self.node.children):
            if issubclass(type(child.obj), type):
                for cls in all_subclasses(child.obj):
                    self.child(cls, None, cls.__qualname__)
                    self.node.derived = (*self.node.derived, self.node.children[-1])


def _is_plain(fn: Any) -> bool:
    """Whether a function stands for nothing else, and leads to nothing by its name."""
    if fn.__dict__ or fn.__name__ in _REFLECTING or fn is importlib.import_module:
        return False
    return fn.__module__ not in _TELLING


class CompiledFile:
    """A compiled extension of the user's own: counts by the content of its file."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


def _read_defaults(node: Node, fn: FunctionType, form: Canonical, reader: _Reader) -> None:
    said, hidden, defaults = call_of(fn, form)
    reader.said += said
    if hidden:
        reader.hidden += hidden
    for at, name, where in defaults:
        value = fn.__kwdefaults__[where] if isinstance(where, str) else fn.__defaults__[where]  # type: ignore[index]
        reader.reach.child(node, value, ("default", id(fn), at), f"{node.name}({name}=)", reader.base)


def _read_attributes(node: Node, fn: FunctionType, form: Canonical, reader: _Reader) -> None:
    """What was set on the function: state that its own code may read. What it wraps is told by its cells."""
    for name, value in sorted(fn.__dict__.items()) if fn.__dict__ else ():
        if name != "__wrapped__" and name not in form.counted and name not in MARKS:
            reader.said.append(("attribute", name))
            reader.child(value, ("attribute", id(fn), name), f"{node.name}.{name}")


def _describe_foreign(node: Node, reach: Reach) -> None:
    fn: FunctionType = node.obj
    owner = owner_of_function(fn)
    belongs(node, owner)
    told = sys.modules.get(fn.__module__) if isinstance(fn.__module__, str) else None
    if told is not None and not owner_of_namespace(vars(told)).is_user and is_importable(fn, told, fn.__qualname__):
        belongs(node, owner_of_namespace(vars(told)))
        node.name = f"{fn.__module__}.{fn.__qualname__}"
        node.children = [reach.node(each) for each in registered_with(fn)]
        node.reflects |= led_to(fn.__module__, (fn.__name__,))
        says(node, owner.kind.value, told_module(owner, fn.__module__), fn.__qualname__)
        return
    module = str(fn.__globals__.get("__name__"))
    qualname = getattr(fn.__code__, "co_qualname", fn.__code__.co_name)
    node.name = f"{module}.{qualname}"
    if owner.kind is Kind.OURS:
        says(node, owner.kind.value, told_module(owner, module), qualname)
        return
    # Made while running, perhaps around a function of the user's: a decorator's wrapper.
    if "registry" in fn.__dict__ and "dispatch" in fn.__dict__:
        _describe_dispatch(node, reach)
        return
    reader = _Reader(node, fn, canonical(fn.__code__), reach)
    for free in fn.__code__.co_freevars:
        reader.read(Ref(FREE, free))
    for at, value in enumerate((*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values())):
        reader.child(value, ("default", id(fn), at), f"{node.name} default")
    for name, value in sorted(fn.__dict__.items()):
        reader.said.append(name)
        reader.child(value, ("attribute", id(fn), name), f"{node.name}.{name}")
    if owner.kind is Kind.PACKAGE:
        node.children += [reach.node(each, ("annotated", id(each.fn))) for each in annotated(node.children)]
    says(node, owner.kind.value, module, qualname, tuple(reader.said))


def _describe_dispatch(node: Node, reach: Reach) -> None:
    """functools.singledispatch: what is registered, in whatever order it was."""
    pairs = [(reach.node(cls), reach.node(fn)) for cls, fn in node.obj.registry.items()]
    node.children = [each for pair in pairs for each in pair]
    says(node, "singledispatch")

    def recipe(digest_of_node: DigestOf) -> bytes:
        return digest_of(node.local, *sorted(digest_of_node(cls) + digest_of_node(fn) for cls, fn in pairs))

    node.recipe = recipe
