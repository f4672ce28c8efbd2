"""What code reaches: each object that is met becomes one node, described by what it is and by what it reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from marshal import dumps
from types import FunctionType, ModuleType

from cas_engine.fingerprint.constants import FORMAT
from cas_engine.fingerprint.graph import DigestOf, Node, settle
from cas_engine.fingerprint.opaque import name_of_class
from cas_engine.fingerprint.origin import Kind, Owner
from cas_engine.fingerprint.references import Ref
from cas_engine.fingerprint.resolve import Foreign, Home, Resolution, home_of, resolve
from cas_engine.fingerprint.tables import KnownTables
from cas_engine.values import Digester, files_as_code
from cas_engine.values.instances import give_module
from cas_store.digest import digest_of, digest_of_one

Describer = Callable[[Node, "Reach"], None]
_PACKAGE, _PYTHON = Kind.PACKAGE, Kind.PYTHON  # by names of their own: members of an enumeration are slow to come by
_UNKNOWN = digest_of(b"code")  # what stands for code inside a value while the value alone is looked at


class Reach:
    """The graph of all that was looked at in one session. Not for several threads at once."""

    def __init__(
        self,
        by_type: dict[type, Describer],
        code_types: dict[type, bool],
        describe_class: Describer,
        others: Describer,
        tables: KnownTables | None = None,
    ) -> None:
        """`code_types`: whether things of a type count as code, where that is known beforehand."""
        self._tables = tables
        self._by_type = by_type
        self._code_types = code_types.copy()
        self._describe_class = describe_class
        self._describe_other = others
        self._nodes: dict[object, Node] = {}
        self._held: list[object] = []
        self._homes: dict[int, Home] = {}
        self._foreign: dict[tuple[int, tuple[str, ...]], tuple[int, Foreign]] = {}
        self._names_of_classes: dict[int, tuple[type, Foreign | None]] = {}
        self._digest_of: DigestOf | None = None
        self._met: list[Node] = []
        self._met_in: dict[int, list[Node]] = {}  # by the id of a value: the code in it, as it is met
        self._coming: Iterator[Node] = iter(())
        self._values = Digester(self._code_in_value, ordered_dicts=True)

    def learn(self, kind: type, describer: Describer) -> None:
        """How to describe objects of a type that hardly ever comes up."""
        self._by_type[kind] = describer

    def settled(self, node: Node) -> Node:
        """The node, with its digest."""
        settle(node, self._describe)
        return node

    def node(self, obj: object, place: object = None, name: str = "") -> Node:
        """The node of an object. Code is the same node wherever it is met; a value belongs to its place."""
        if place is None or self._code_types.get(type(obj)) or self.is_code(obj):
            key: object = id(obj)
        else:
            key = place
        known = self._nodes.get(key)
        if known is None or known.obj is not obj:
            known = self._nodes[key] = Node(obj, name)
            self._held.append(obj)  # a temporary object's id must not be given to another
        return known

    def child(self, parent: Node, obj: object, place: object, name: str, base: str) -> None:
        """Add the node of an object to the children of another; it is told from the folder `base`, if from none yet."""
        child = self.node(obj, place, name)
        if not child.base:
            child.base = base
        parent.children.append(child)

    def home(self, namespace: dict[str, object]) -> Home:
        """Where code with these globals is from; asked for each function of a module, and looked up once."""
        known = self._homes.get(id(namespace))
        if known is None:
            known = self._homes[id(namespace)] = home_of(namespace)
            self._held.append(namespace)
        return known

    def resolved(self, ref: Ref, fn: FunctionType, module: ModuleType | None) -> Resolution:
        """What `ref` in the body of `fn` stands for; where it begins with a module, that is given.

        What is found in a module of others is looked up once: `np.exp` is read by many functions. It is forgotten when
        something is imported, which is when the user's code puts things into packages.
        """
        if module is None:
            return resolve(ref, fn)
        key = id(module), ref.attrs
        known = self._foreign.get(key)
        if known is not None and known[0] == len(sys.modules):
            return known[1]
        found = resolve(ref, fn)
        if isinstance(found, Foreign):
            self._foreign[key] = len(sys.modules), found
            self._held.append(module)
        return found

    def name_of_class(self, cls: type) -> Foreign | None:
        """By what name a class of others counts; None if by more than that. Looked up once."""
        known = self._names_of_classes.get(id(cls))
        if known is None:
            try:
                found = name_of_class(cls)
            except AttributeError:
                if not give_module(cls):
                    raise
                found = name_of_class(cls)
            known = self._names_of_classes[id(cls)] = cls, found
        return known[1]

    def is_code(self, obj: object) -> bool:
        """Whether it counts as code: by what it does, not by its state."""
        # By its type, never by isinstance: what a proxy says of its class may be anything, or an error.
        kind = type(obj)
        known = self._code_types.get(kind)
        if known is None:
            marked = any("__cas_code__" in vars(cls) for cls in kind.__mro__)
            known = self._code_types[kind] = marked or issubclass(kind, (type, ModuleType))
        return known

    def read_value(self, value: object) -> tuple[bytes, list[Node]]:
        """(digest of the value alone, the code in it). Raises Undigestible."""
        content = None if self._tables is None else self._tables.content_of(value)
        known = None if self._tables is None or content is None else self._tables.known(content)
        if known is not None:
            return known, []
        before, self._digest_of, self._met = (self._digest_of, self._met), None, []
        try:
            with files_as_code():
                digest, inside = self._values.digest(value), list({id(node): node for node in self._met}.values())
            if inside:
                self._met_in[id(value)] = self._met
        finally:
            self._digest_of, self._met = before
        if self._tables is not None and content is not None and not inside:
            self._tables.remember(value, content, digest)
        return digest, inside

    def mix_value(self, value: object, digest_of_node: DigestOf) -> bytes:
        """The digest of the value with that of the code in it."""
        before = self._digest_of, self._coming
        self._digest_of, self._coming = digest_of_node, iter(self._met_in.get(id(value), ()))
        try:
            with files_as_code():
                return self._values.digest(value)
        finally:
            self._digest_of, self._coming = before

    def _code_in_value(self, thing: object, where: str) -> bytes:
        if self._digest_of is not None:
            # What a value makes anew whenever it is asked is known by its turn: a closure in __getstate__.
            turn = next(self._coming, None)
            known = self._nodes.get(id(thing))
            return self._digest_of(known if known is not None and known.obj is thing else turn or self.node(thing))
        node = self.node(thing, None, where)
        self._met.append(node)
        return _UNKNOWN

    def _describe(self, node: Node) -> None:
        kind = type(node.obj)
        describer = self._by_type.get(kind)
        if describer is None and issubclass(kind, type):
            describer = self._describe_class
        elif describer is None:
            describer = self._by_type[ModuleType] if issubclass(kind, ModuleType) else self._describe_other
        try:
            describer(node, self)
        except Exception as error:  # noqa: BLE001 - it ran code of the user's: a property, a __getattr__, a __repr__
            node.children.clear()
            node.recipe = None
            if _is_mended(node.obj if issubclass(kind, type) else kind):
                self._describe(node)
                return
            lose(node, error)


class Lost:
    """Stands for what raised when it was looked for."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def describe_lost(node: Node, _reach: Reach) -> None:
    """It is told, and never the same."""
    lose(node, node.obj.error)


def lose(node: Node, error: Exception) -> None:
    """Note that looking at a thing raised. Whether it is as it was cannot be told: so it never is."""
    node.unresolved += (f"{node.name}: looking at it raised {type(error).__name__}: {error}",)
    node.kind, node.detail = "value", f"<{type(node.obj).__qualname__}>"
    says(node, "lost", os.urandom(16))


def _is_mended(kind: type) -> bool:
    """Whether it was given the module that it had not."""
    try:
        return give_module(kind)
    except Exception:  # noqa: BLE001 - its metaclass may raise anything
        return False


def says(node: Node, *what: object) -> None:
    """Fix what a node says of itself. Only plain types: text, numbers, bytes, None and tuples of them."""
    node.local = digest_of_one(dumps(what, FORMAT))  # type: ignore[arg-type]


def belongs(node: Node, owner: Owner) -> None:
    """Note the package that a piece comes with; what comes from the user's own compiled extension, by its content."""
    if (owner.kind is _PACKAGE or owner.kind is _PYTHON) and owner.package not in node.packages:
        node.packages |= {owner.package}
