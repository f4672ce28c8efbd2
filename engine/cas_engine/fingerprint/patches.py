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


class Patch:
    """What lies now where the user's code has put something."""

    __slots__ = ("holder", "name", "shown", "value")

    def __init__(self, holder: str, name: str, value: object, shown: str) -> None:
        self.holder = holder
        self.name = name
        self.value = value
        self.shown = shown


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


def extensions(packages: Iterable[str], asked: Iterable[str]) -> Iterator[object]:
    """The user's code that such a class has under a name that is asked for, of whatever."""
    names = list(asked)
    for package in sorted(set(packages) & EXTENDED.keys()):
        for holder in EXTENDED[package]:
            own = vars(getattr(sys.modules.get(package), holder, object))
            for name in sorted(own.keys() & names):
                inside = getattr(own[name], "__dict__", {}).values()  # of a descriptor that keeps what was registered
                yield from filter(is_users_code, [own[name], *inside])


class Patches:
    """Those of one session."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._known: dict[int, tuple[dict[str, object], list[tuple[str, Node]]]] = {}
        self._all: tuple[tuple[int, str], list[tuple[str, Node]]] | None = None  # when they were looked for, and found

    def of(self, namespaces: Iterable[dict[str, object]], packages: frozenset[str] | set[str]) -> Iterator[Node]:
        """What modules with these globals, and all other modules of the user's here, have put into those packages."""
        every = [*self._by_all(), *chain.from_iterable(map(self._from, namespaces))]
        yield from {id(node): node for package, node in every if package in packages}.values()

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
                owner, patch = found
                node = self._reach.node(patch)
                node.base = folder_of(namespace)
                yield owner.package, self._reach.settled(node)


def _found(namespace: dict[str, object], target: Target) -> tuple[Owner, Patch] | None:
    base: Any = namespace.get(target.root, MISSING)
    if not _is_kept_by_a_module(base):
        return None  # a frame, a figure: an object of a package's class that the user has made
    try:
        for attr in target.attrs:
            base = getattr(base, attr)
        owner, holder = _owner_of(base)
        if owner.kind is not Kind.PACKAGE:
            return None  # the user's own is seen where it is read; Python's own is set for the process, as a rule
        if target.is_item:
            value: object = base[target.name]
        else:
            value = vars(base)[target.name] if isinstance(base, (ModuleType, type)) else getattr(base, target.name)
    except Exception:  # noqa: BLE001 - not there any more, or the package's own code raises what it likes
        return None
    shown = ".".join((shown_module(namespace), target.root, *target.attrs, target.name))
    return owner, Patch(holder, target.name, value, shown)


def _is_kept_by_a_module(thing: object) -> bool:
    """Whether it is a module, a class, or an object that the module of its class has under a name."""
    if isinstance(thing, (ModuleType, type)):
        return True
    home = sys.modules.get(str(type(thing).__module__))
    return home is not None and any(each is thing for each in list(vars(home).values()))


def _owner_of(holder: object) -> tuple[Owner, str]:
    if isinstance(holder, ModuleType):
        return owner_of_namespace(vars(holder)), holder.__name__
    kind = holder if isinstance(holder, type) else type(holder)
    return owner_of_class(kind), f"{kind.__module__}.{kind.__qualname__}"


_known: dict[int, tuple[ModuleType, tuple[Target, ...]]] = {}


def _targets_of(namespace: dict[str, object]) -> tuple[Target, ...]:
    module = sys.modules.get(str(namespace.get("__name__")))
    if module is None or vars(module) is not namespace:
        return ()
    known = _known.get(id(module))
    if known is None or known[0] is not module:
        code = _code_of(module)
        known = _known[id(module)] = module, tuple(dict.fromkeys(_targets_in(code)) if code is not None else ())
    return known[1]


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
