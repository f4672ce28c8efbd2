"""What the user's modules put into packages: `lib.config.mode = "exact"`, `lib.core.rate = mine`, `setattr(lib, ...)`.

The package reads it where no analysis looks. Which names are set is told by the module's code, what they are set to by
the running program: it counts for whatever reaches the package from that module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.instructions import Instructions, decode
from cas_engine.fingerprint.origin import (
    Kind,
    Owner,
    modules_loaded,
    namespaces_of_users,
    owner_of_class,
    owner_of_namespace,
)
from cas_engine.fingerprint.reach import Reach, says
from cas_engine.fingerprint.resolve import MISSING, folder_of, is_users_code, shown_module

_STORE_SUBSCR = O.number("STORE_SUBSCR")
_STORES = frozenset({O.STORE_ATTR, _STORE_SUBSCR})


class Target(NamedTuple):
    """What a statement sets: `lib.config.mode` is Target("lib", ("config",), "mode", False)."""

    root: str
    attrs: tuple[str, ...]
    name: str
    is_item: bool
    source: tuple[str, str] | None = None  # (module, name) that the root was imported from


class Patch:
    """What lies now where the user's code has put something.

    `path` leads there from a module of a package: ("pandas", "options", "display"); empty if nothing does.
    """

    __slots__ = ("holder", "is_item", "name", "package", "path", "shown", "value")

    def __init__(
        self, package: str, path: tuple[str, ...], holder: str, name: str, *, is_item: bool, value: object, shown: str
    ) -> None:
        self.package = package
        self.path = path
        self.holder = holder
        self.name = name
        self.is_item = is_item
        self.value = value
        self.shown = shown


class Extension(Patch):
    """What a class of a package has from the user's code, and shows by itself."""

    __slots__ = ()


# What is put back while recorded code runs: no module that is loaded here says that it has put it there.
put_back: list[Patch] = []


def describe_patch(node: Node, reach: Reach) -> None:
    """By what it is, and where it was put."""
    patch: Patch = node.obj
    child = reach.node(patch.value, ("patch", id(patch)), patch.shown)
    child.base = child.base or node.base
    node.children = [child]
    says(node, "patch", patch.holder, patch.name)


# Classes of packages that users extend, by a decorator or by setting: `frame.geo.area()` calls what was registered.
# By name: to look through all classes of all packages, each time, would take longer than all the rest.
EXTENDED = {
    "pandas": ("DataFrame", "Series", "Index"),
    "polars": ("DataFrame", "LazyFrame", "Series", "Expr"),
    "xarray": ("Dataset", "DataArray"),
}


def extensions(packages: Iterable[str], asked: Iterable[str]) -> Iterator[tuple[object, Patch]]:
    """The user's code that such a class has under a name that is asked for, of whatever; and what has it there."""
    names = list(asked)
    for package in sorted(set(packages) & EXTENDED.keys()):
        for holder in EXTENDED[package]:
            own = vars(getattr(sys.modules.get(package), holder, object))
            for name in sorted(own.keys() & names):
                inside = getattr(own[name], "__dict__", {}).values()  # of a descriptor that keeps what was registered
                for code in filter(is_users_code, [own[name], *inside]):
                    shown = f"{package}.{holder}.{name}"
                    path = (package, holder)
                    there = Extension(package, path, holder, name, is_item=False, value=own[name], shown=shown)
                    yield code, there


class Patches:
    """Those of one session."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._known: dict[int, tuple[dict[str, object], list[tuple[str, Node]]]] = {}
        self._all: tuple[tuple[int, str], list[tuple[str, Node]]] | None = None  # when they were looked for, and found

    def of(self, namespaces: Iterable[dict[str, object]], packages: frozenset[str] | set[str]) -> Iterator[Node]:
        """What modules with these globals, and all other modules of the user's here, have put into those packages."""
        every = [*self._by_all(), *chain.from_iterable(map(self._from, namespaces))]
        found = {id(node): node for package, node in every if package in packages}
        yield from found.values()
        if put_back:
            here = {(node.obj.holder, node.obj.name) for node in found.values()}
            for patch in put_back:
                if patch.package in packages and (patch.holder, patch.name) not in here:
                    yield self._reach.settled(self._reach.node(patch))

    def _from(self, namespace: dict[str, object]) -> list[tuple[str, Node]]:
        known = self._known.get(id(namespace))
        if known is None:
            known = self._known[id(namespace)] = namespace, list(self._made_in(namespace))
        return known[1]

    def _by_all(self) -> list[tuple[str, Node]]:
        look = modules_loaded()
        if self._all is None or self._all[0] != look:
            found = [each for namespace in namespaces_of_users() for each in self._from(namespace)]
            self._all = look, found
        return self._all[1]

    def _made_in(self, namespace: dict[str, object]) -> Iterator[tuple[str, Node]]:
        for target in _targets_of(namespace):
            found = _found(namespace, target)
            if found is not None:
                node = self._reach.node(found)
                node.base = folder_of(namespace)
                yield found.package, self._reach.settled(node)


def _found(namespace: dict[str, object], target: Target) -> Patch | None:
    base: Any = namespace.get(target.root, MISSING)
    path = _path_to(base) or _path_by_import(base, target)
    if path is None:
        return None  # a frame, a figure: an object of a package's class that the user has made
    try:
        for attr in target.attrs:
            base = getattr(base, attr)
            path = _path_to(base) if isinstance(base, (ModuleType, type)) else path and (*path, attr)
        owner, holder = _owner_of(base, path or ())
        if owner.kind is not Kind.PACKAGE:
            return None  # the user's own is seen where it is read; Python's own is set for the process, as a rule
        if target.is_item:
            value: object = base[target.name]
        else:
            value = vars(base)[target.name] if isinstance(base, (ModuleType, type)) else getattr(base, target.name)
    except Exception:  # noqa: BLE001 - not there any more, or the package's own code raises what it likes
        return None
    shown = ".".join((shown_module(namespace), target.root, *target.attrs, target.name))
    return Patch(owner.package, path or (), holder, target.name, is_item=target.is_item, value=value, shown=shown)


def _path_to(thing: object) -> tuple[str, ...] | None:
    """How to come by a module, a class, or an object that the module of its class has under a name; else None.

    Empty where it is the user's, and not to be had elsewhere.
    """
    if isinstance(thing, ModuleType):
        return () if owner_of_namespace(vars(thing)).is_user else (thing.__name__,)
    if isinstance(thing, type):
        return () if owner_of_class(thing).is_user else (thing.__module__, *thing.__qualname__.split("."))
    home = sys.modules.get(str(type(thing).__module__))
    names = () if home is None else [name for name, each in list(vars(home).items()) if each is thing]
    return (str(home.__name__), names[0]) if home is not None and names else None


def _path_by_import(thing: object, target: Target) -> tuple[str, ...] | None:
    """The same for what was imported by its name from a module that still has it: a dict of settings."""
    home = sys.modules.get(target.source[0]) if target.source is not None else None
    if home is None or target.source is None or vars(home).get(target.source[1], MISSING) is not thing:
        return None
    return () if owner_of_namespace(vars(home)).is_user else target.source


def _owner_of(holder: object, path: tuple[str, ...]) -> tuple[Owner, str]:
    if isinstance(holder, ModuleType):
        return owner_of_namespace(vars(holder)), holder.__name__
    kind = holder if isinstance(holder, type) else type(holder)
    owner = owner_of_class(kind)
    if owner.kind is Kind.PYTHON and holder is not kind and path:  # a dict: whose it is tells the way to it
        return owner_of_namespace(vars(sys.modules[path[0]])), ".".join(path)
    return owner, f"{kind.__module__}.{kind.__qualname__}"


_known: dict[int, tuple[ModuleType, tuple[Target, ...]]] = {}


def _targets_of(namespace: dict[str, object]) -> tuple[Target, ...]:
    module = sys.modules.get(str(namespace.get("__name__")))
    if module is None or vars(module) is not namespace:
        return ()
    known = _known.get(id(module))
    if known is None or known[0] is not module:
        code = _code_of(module)
        known = _known[id(module)] = module, () if code is None else _targets_with_sources(code)
    return known[1]


def _targets_with_sources(code: CodeType) -> tuple[Target, ...]:
    found = tuple(dict.fromkeys(_targets_in(code)))
    sources = dict(_sources_in(decode(code))) if found else {}
    return tuple([target._replace(source=sources.get(target.root)) for target in found])


def _sources_in(found: Instructions) -> Iterator[tuple[str, tuple[str, str]]]:
    """The variables that `from module import name` binds, each with (module, name)."""
    module = ""
    for at, kind in enumerate(found.kinds):
        if kind == O.IMPORT:
            module = str(found.args[at]) if found.args[at - 2] == 0 else ""  # the level, else it is relative
        elif module and found.ops[at] == O.IMPORT_FROM:
            yield str(found.args[at + 1]), (module, str(found.args[at]))


def _code_of(module: ModuleType) -> CodeType | None:
    """The code that made a module, where it is to be had."""
    spec = getattr(module, "__spec__", None)
    loader: Any = getattr(module, "__loader__", None) if spec is None else spec.loader
    try:
        if hasattr(loader, "get_code"):
            found = loader.get_code(module.__name__ if spec is None else spec.name)
        else:
            file = Path(str(module.__file__))
            found = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except Exception:  # noqa: BLE001 - gone, edited into something else, or a loader of the user's
        return None
    return found if isinstance(found, CodeType) else None


def _targets_in(code: CodeType) -> Iterator[Target]:
    row = [code]
    for each in row:
        row += [const for const in each.co_consts if isinstance(const, CodeType)]
        ops = each.co_code[::2]
        if O.STORE_ATTR in ops or _STORE_SUBSCR in ops or "setattr" in each.co_names:
            yield from _targets_of_code(decode(each))


def _targets_of_code(found: Instructions) -> Iterator[Target]:
    for at, op in enumerate(found.ops):
        if op & 255 in _STORES and at:
            is_item = op == _STORE_SUBSCR
            last = at - 2 if is_item else at - 1
            name = found.args[at - 1] if is_item else found.args[at]
            attrs, root = _chain_before(found, last)
            if root and isinstance(name, str) and (not is_item or found.kinds[at - 1] == O.CONST):
                yield Target(root, attrs, name, is_item)
        elif found.kinds[at] == O.GLOBAL and found.args[at] == "setattr":
            end = at + 2
            while end < len(found.kinds) and found.kinds[end] == O.ATTR:
                end += 1
            attrs, root = _chain_before(found, end - 1)
            name = found.args[end] if end < len(found.kinds) and found.kinds[end] == O.CONST else None
            if root and isinstance(name, str):
                yield Target(root, attrs, name, is_item=False)


def _chain_before(found: Instructions, last: int) -> tuple[tuple[str, ...], str]:
    """(attributes, the name that they are read from) of what is loaded up to `last`; no name where it is none."""
    first = last
    while first > 0 and found.kinds[first] == O.ATTR:
        first -= 1
    root = found.args[first] if first >= 0 and found.kinds[first] == O.GLOBAL else ""
    return tuple(map(str, found.args[first + 1 : last + 1])), str(root)
