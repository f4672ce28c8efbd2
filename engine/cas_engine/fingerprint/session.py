"""Fingerprints for one dispatch: each object is looked at once."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from cas_engine.fingerprint.callables import BY_TYPE, describe_if_named, describe_marked, describe_ufunc
from cas_engine.fingerprint.classes import describe_class
from cas_engine.fingerprint.depends import Dependency
from cas_engine.fingerprint.environment import FILE, VARIABLE, effective, version_of
from cas_engine.fingerprint.facets import facets_of
from cas_engine.fingerprint.functions import describe_function
from cas_engine.fingerprint.graph import Node, reachable
from cas_engine.fingerprint.held import NUMBERS, PLAIN_TYPES, describe_number, describe_value
from cas_engine.fingerprint.model import Brought, Component, Fingerprint
from cas_engine.fingerprint.modules import describe_module
from cas_engine.fingerprint.named import texts_in
from cas_engine.fingerprint.origin import owner_of_module
from cas_engine.fingerprint.patches import EXTENDED, Patch, Patches, describe_patch, extensions
from cas_engine.fingerprint.reach import Describer, Lost, Reach, describe_lost
from cas_engine.fingerprint.readings import WIDENING
from cas_engine.fingerprint.sources import sources_of
from cas_engine.fingerprint.tables import KnownTables
from cas_engine.fingerprint.variables import Variable, describe_variable
from cas_engine.fingerprint.widening import (
    Evaluated,
    Widening,
    describe_evaluated,
    looks_up_by_texts,
    texts_of,
)
from cas_engine.values import Digester, meet
from cas_store.digest import digest_of

if TYPE_CHECKING:
    from cas_engine.fingerprint.pickled import Pickled

_OF_CODE: dict[type, Describer] = {
    **BY_TYPE,
    types.FunctionType: describe_function,
    types.ModuleType: describe_module,
    Evaluated: describe_evaluated,
    Patch: describe_patch,
    Variable: describe_variable,
    Lost: describe_lost,
}
_DESCRIBERS: dict[type, Describer] = {
    **dict.fromkeys(PLAIN_TYPES, describe_value),
    **dict.fromkeys(NUMBERS, describe_number),
    **_OF_CODE,
}
_CODE_TYPES: dict[type, bool] = {**dict.fromkeys(_DESCRIBERS, False), **dict.fromkeys(_OF_CODE, True)}


_new = tuple.__new__  # of a named tuple, in a third of the time: there is one for each thing that is reached
_MOST_ROUNDS = 5  # of looking at code again


def _has_users(names: list[str]) -> bool:
    """Whether one of these modules, just imported, is the user's."""
    return any(owner_of_module(name).is_user for name in names)


class Fingerprinter:
    """A session: objects are taken as they are when first met, and looked at once. Any thread may ask."""

    def __init__(self, tables: KnownTables | None = None) -> None:
        """`tables`: what other sessions with the same one found out need not be found out again."""
        self._tables = tables
        self._known: dict[int, tuple[object, Fingerprint]] = {}
        self._modules: dict[int, tuple[object, list[types.ModuleType]]] = {}
        self._by_texts: dict[int, list[Node]] = {}  # by the id of what was asked for: all that it reaches
        self._named: dict[tuple[int, frozenset[str]], bytes] = {}
        self._pickled: dict[int, tuple[object, list[Pickled]]] = {}
        self._lock = threading.RLock()

    @cached_property
    def _reach(self) -> Reach:
        # Not before code is met: each call has sessions, most meet none, and this is cycles for Python to collect.
        return Reach(_DESCRIBERS, _CODE_TYPES, describe_class, _describe_other, self._tables)

    @cached_property
    def _patches(self) -> Patches:
        return Patches(self._reach)

    def of(self, fn: object, depends_on: Sequence[object] = ()) -> Fingerprint:
        """The fingerprint of a function, class, module, electron, or any other callable."""
        with self._lock:
            known = self._known.get(id(fn))
            if known is None or known[0] is not fn:
                known = self._known[id(fn)] = (fn, self._looked_at(fn))
            if not depends_on:
                return known[1]
            declared = [self._reach.settled(self._dependency(each)) for each in depends_on]
            return self._fingerprint(self._settled(fn), declared)

    def digest_value(self, value: object, where: str = "") -> bytes:
        """The digest of an electron's argument; code in it counts with its packages. Raises Undigestible."""
        return Digester(self._code_in_argument).digest(value, where)

    def named_by(self, fn: object, given: object) -> bytes:
        """What the texts in an argument lead to, for a function that looks up what texts name; empty if to nothing.

        With packages as they are here, as for code in an argument.
        """
        texts = frozenset(texts_in(given))
        nodes = self._by_texts.get(id(fn)) if texts else None
        if nodes is None:
            return b""
        with self._lock:
            known = self._named.get((id(fn), texts))
            if known is None:
                known = self._named[id(fn), texts] = self._digest_of_named(nodes, set(texts))
        return known

    def _digest_of_named(self, nodes: list[Node], texts: set[str]) -> bytes:
        own = {id(node) for node in nodes}
        askers = [node for node in nodes if looks_up_by_texts([node], node.reflects)]
        found = {id(node): node for node in Widening(self._reach).named(askers, texts, texts_of(nodes))}
        digests = []
        for node in (self._reach.settled(node) for at, node in found.items() if at not in own):
            fingerprint = self._fingerprint(node, [])
            digests.append(effective(fingerprint.code, fingerprint.packages))
        return digest_of(b"".join(sorted(digests))) if digests else b""

    def sources(self, fp: Fingerprint, fn: object, depends_on: Sequence[object] = ()) -> dict[str, str]:
        """The source text of each piece of code in `fp`, by name, where the text is at hand and is that of the code."""
        with self._lock:
            starts = [self._settled(fn), *(self._reach.settled(self._dependency(each)) for each in depends_on)]
            nodes = [node for start in starts for node, _ in reachable(start)]
        return sources_of(nodes, frozenset(component.name for component in fp.components))

    def reached(self, fn: object) -> list[Node]:
        """All that a function reaches by following what it reads."""
        with self._lock:
            return [node for node, _ in reachable(self._settled(fn))]

    def _looked_at(self, fn: object) -> Fingerprint:
        """Looked at again when that imported modules of the user's: they may have changed what was seen before.

        A plugin that a body imports puts itself into a registry, and the registry was empty a moment ago.
        """
        for _ in range(_MOST_ROUNDS):
            loaded = len(sys.modules)
            found = self._fingerprint(self._settled(fn), [])
            if len(sys.modules) == loaded or not _has_users(list(islice(sys.modules, loaded, None))):
                break
            self.__dict__.pop("_reach", None)
            self.__dict__.pop("_patches", None)
            self._known.clear()
        return found

    def modules_of(self, fn: object) -> Sequence[types.ModuleType]:
        """The user's modules that count as a whole for a function, also those that it meets by texts only."""
        self.of(fn)
        with self._lock:
            known = self._modules.get(id(fn))
        return known[1] if known is not None and known[0] is fn else ()

    def pickled_of(self, fn: object) -> Sequence[Pickled]:
        """What of the user's the pickles name that a function brings back."""
        self.of(fn)
        with self._lock:
            known = self._pickled.get(id(fn))
        return known[1] if known is not None and known[0] is fn else ()

    def _settled(self, fn: object) -> Node:
        return self._reach.settled(self._reach.node(fn, ("root", id(fn))))

    def _dependency(self, thing: object) -> Node:
        return self._reach.node(Dependency(thing), ("dependency", id(thing)))

    def _code_in_argument(self, thing: object, _where: str) -> bytes:
        fingerprint = self.of(thing)
        for package in fingerprint.packages:
            if package.startswith(FILE):
                meet(package[len(FILE) :])
        return effective(fingerprint.code, fingerprint.packages)

    def _fingerprint(self, root: Node, declared: list[Node]) -> Fingerprint:
        found = _Findings()
        for start in (root, *declared):
            found.gather(start)
        if found.widens:
            declared = [*declared, *self._looked_up(found)]
            self._modules[id(root.obj)] = root.obj, [node.obj for node in found.nodes if node.kind == "module"]
            if looks_up_by_texts(found.nodes, frozenset().union(*(node.reflects for node in found.nodes))):
                self._by_texts[id(root.obj)] = found.nodes
        if found.reaches_packages:
            for patch in list(self._patches.of(found.namespaces.values(), found.packages)):
                declared = [*declared, patch]
                found.gather(patch)
                found.note_brought([(patch.children[0].name, patch, patch.obj)])
            if not found.packages.isdisjoint(EXTENDED):
                for extension, there in extensions(found.packages, found.asked):
                    node = self._reach.settled(self._reach.node(extension))
                    declared = [*declared, node]
                    found.gather(node)
                    found.note_brought([(node.name, node, there)])
        code = root.digest
        facets = facets_of(found.nodes) if found.reflects else []
        if facets or declared:
            # The order of what is declared doesn't count, nor that of unordered things that are reached.
            parts = [*sorted(node.digest for node in declared), b"facets", *sorted(facets)]
            code = digest_of(code + b"".join(parts))
        packages = sorted(found.packages | {"python"})
        return Fingerprint(
            code=code,
            packages=tuple(packages),
            components=(*found.components, *map(found.package, packages), *found.lost),
            electrons=tuple(dict.fromkeys(found.electrons)) if found.electrons else (),
            unresolved=tuple(dict.fromkeys(found.unresolved)) if found.unresolved else (),
            warnings=tuple(dict.fromkeys(found.warnings)) if found.warnings else (),
            modules=tuple(sorted(found.modules - {""})),
            by_texts=id(root.obj) in self._by_texts,
            brought=tuple(found.brought[each] for each in sorted(found.brought)) if found.brought else (),
        )

    def _looked_up(self, found: _Findings) -> list[Node]:
        """What is reached besides, by looking it up: it counts like what is declared."""
        extra: list[Node] = []
        widening = Widening(self._reach)
        while True:
            known = {id(node) for node in found.nodes}
            beyond = {id(node): node for node in widening.beyond(found.nodes) if id(node) not in known}
            if not beyond:
                found.note_brought((node.name, node, node.obj) for node in widening.brought)
                found.unresolved += widening.lost
                found.lost += [
                    Component("unresolved", lost, digest_of(lost.encode()), "", "") for lost in widening.lost
                ]
                self._pickled[id(found.nodes[0].obj)] = found.nodes[0].obj, widening.pickled
                return extra
            for node in map(self._reach.settled, beyond.values()):
                extra.append(node)
                found.gather(node)


class _Findings:
    """What a walk over all that is reached comes upon."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.seen: set[int] = set()
        self.components: list[Component] = []
        self.lost: list[Component] = []
        self.packages: set[str] = set()
        self.via: dict[str, str] = {}
        self.electrons: list[tuple[str, bytes, bool]] = []
        self.unresolved: list[str] = []
        self.warnings: list[str] = []
        self.modules: set[str] = set()
        self.brought: dict[tuple[str, bytes], Brought] = {}
        self.namespaces: dict[int, dict[str, object]] = {}  # of the user's functions
        self.widens = False  # whether something looks up more than is seen by following it
        self.reflects = False  # whether something reads what usually doesn't count, or may

    @property
    def reaches_packages(self) -> bool:
        return len(self.packages) > ("python" in self.packages)

    @property
    def asked(self) -> set[str]:
        """Attributes that are read of what isn't known."""
        return {name for node in self.nodes for name in node.asked}

    def gather(self, start: Node) -> None:
        """All that is reached from here, the nearest first."""
        seen = self.seen
        if id(start) in seen:
            return  # and with it all that it reaches
        seen.add(id(start))
        row = [(start, self.components[0].name if self.components else "")]
        for node, above in row:
            kind, name = node.kind, above  # under which it is known, or the nearest one above it that is told
            if kind is not None or not self.nodes:
                name = node.name
                told = kind or "code", name, node.local, node.detail, above
                self.components.append(_new(Component, told))
            self.nodes.append(node)
            if kind != "value" or node.reflects:
                self._note_code(node)
            if node.packages:
                for package in node.packages:
                    self.via.setdefault(package, name)
                self.packages |= node.packages
            if node.reflects or node.hidden:
                self.reflects = True
            for lost in node.unresolved:
                self.unresolved.append(lost)
                self.lost.append(Component("unresolved", lost, digest_of(lost.encode()), "", name))
            for child in node.children:
                if id(child) not in seen:
                    seen.add(id(child))
                    row.append((child, name))

    def _note_code(self, node: Node) -> None:
        """What only code has."""
        if node.kind == "code" and type(node.obj) is types.FunctionType:
            self.namespaces[id(node.obj.__globals__)] = node.obj.__globals__
        if node.computes or node.evaluates or node.kind == "module" or not node.reflects.isdisjoint(WIDENING):
            self.widens = True
        if node.modules:
            self.modules |= node.modules
        if node.derived:
            self.note_brought((below.name, below, below.obj) for below in node.derived)
        self.warnings += node.warnings
        if node.electron:
            self.electrons.append((node.electron, node.digest, node.draws))

    def note_brought(self, found: Iterable[tuple[str, Node, object]]) -> None:
        """Names, settled nodes, and what is there."""
        for name, node, thing in found:
            self.brought[name, node.digest] = Brought(name, node.digest, thing)

    def package(self, name: str) -> Component:
        version, via = version_of(name), self.via.get(name, "")
        if name.startswith(FILE):
            path = name[len(FILE) :]
            return Component("file", path, digest_of(version.encode("utf-8", "surrogatepass")), version, via)
        if name.startswith(VARIABLE):
            variable = name[len(VARIABLE) :]
            return Component("variable", variable, digest_of(version.encode("utf-8", "surrogatepass")), "", via)
        return Component("package", name, _digest_of_version(name, version), version, via)


@lru_cache(maxsize=1024)
def _digest_of_version(name: str, version: str) -> bytes:
    return digest_of(f"{name}\0{version}".encode("utf-8", "surrogatepass"))


def _describe_other(node: Node, reach: Reach) -> None:
    if reach.is_code(node.obj):  # and of no type that is known: an electron, a lattice
        describe_marked(node, reach)
    elif type(node.obj).__name__ == "ufunc":
        describe_ufunc(node, reach)
    elif not describe_if_named(node, reach):
        describe_value(node, reach)
