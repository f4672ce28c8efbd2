"""What code reaches only by looking it up while it runs: found by what it reads, and the texts and names it holds."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

from cas_engine.fingerprint.annotations import Annotated
from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.functions import CompiledFile, read_as_if_in
from cas_engine.fingerprint.graph import Node
from cas_engine.fingerprint.named import modules_named, texts_in
from cas_engine.fingerprint.opaque import all_subclasses
from cas_engine.fingerprint.origin import owner_of_namespace
from cas_engine.fingerprint.reach import Reach, says
from cas_engine.fingerprint.resolve import folder_of, module_of
from cas_engine.fingerprint.variables import Variable, variables_named, variables_of_shells

if TYPE_CHECKING:
    from cas_engine.fingerprint.entries import Entries
    from cas_engine.fingerprint.pickled import Pickled

_LONGEST = 20_000  # characters of a text that may be code


class Evaluated:
    """A text that a function may evaluate, compiled: it reads what it names, as if it stood in that function."""

    __slots__ = ("code", "fn")

    def __init__(self, fn: FunctionType, code: CodeType) -> None:
        self.fn = fn
        self.code = code


def describe_evaluated(node: Node, reach: Reach) -> None:
    form = canonical(node.obj.code)
    node.computes, node.keywords = form.computed_imports, form.keywords
    says(node, "evaluated", form.digest, read_as_if_in(node, node.obj.fn, form, reach))


class Widening:
    """Asked again and again for what the nodes found so far lead to besides, until it is nothing more."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._derived: list[Node] = []  # classes that others have derived from those that are reached
        self._unpickled: list[Node] = []
        self.pickled: list[Pickled] = []  # what pickles name
        self.lost: list[str] = []  # what is told of those that it cannot follow
        # What is made here, by what it is made for: made once, so that it comes to an end.
        self._evaluated: dict[tuple[int, str | CodeType], Evaluated] = {}
        self._modules: dict[int, ModuleType] = {}
        self._annotated: dict[int, Annotated] = {}
        self._variables: dict[str, Variable] = {}
        self._files: dict[str, CompiledFile] = {}
        self._entries: dict[str, Entries] = {}

    def beyond(self, nodes: list[Node]) -> Iterator[Node]:
        """Nodes that these lead to; those that are among them already, too."""
        reads: frozenset[str] = frozenset().union(*(node.reflects for node in nodes))
        functions = [node for node in nodes if node.kind == "code" and type(node.obj) is FunctionType]
        if looks_up_by_texts(nodes, reads):
            texts = texts_of(nodes)
            yield from self.named(nodes, texts, texts)
        if "pickles" in reads:
            yield from self._pickled(nodes, functions)
        if "wrapped" in reads:
            yield from self._wrapped(nodes)
        if "signatures" in reads:
            yield from self._defaults(functions)
        if "namespaces" in reads:
            yield from map(self._module, functions)
        if "subclasses" in reads:
            classes = [node.obj for node in nodes if node.kind == "class"]
            self._derived = [self._reach.node(each) for cls in classes for each in all_subclasses(cls)]
            yield from self._derived
        asked = {name for node in nodes for name in node.asked}
        if "annotations" in reads or ("signatures" in reads and "annotation" in asked):
            yield from (self._annotations(node) for node in nodes if node.kind in {"code", "class"})
        whole = [node for node in nodes if node.kind == "module"]
        if whole:
            yield from self._inside(whole, asked.union(texts_of(nodes)))
        evaluating = [node.obj for node in functions if node.evaluates]
        if evaluating:
            yield from self._named_in(evaluating, [node.obj for node in nodes if type(node.obj) is CodeType])

    def named(self, nodes: list[Node], texts: set[str], known: set[str]) -> Iterator[Node]:
        """What texts lead to for the functions among these nodes, which know those and others of their own."""
        reads: frozenset[str] = frozenset().union(*(node.reflects for node in nodes))
        functions = [node for node in nodes if node.kind == "code" and type(node.obj) is FunctionType]
        spaces = {
            id(space): space for space in (getattr(node.obj, "__globals__", {}) for node in nodes if node.computes)
        }
        for space in spaces.values():  # recorded code imports what was recorded with it
            yield from map(self._reach.node, modules_named(texts, space))
        if "programs" in reads:
            yield from self._programs(nodes, texts | known)
        if "variables" in reads:
            yield from map(self._variable, variables_named(texts))
        elif "programs" in reads:
            yield from map(self._variable, variables_of_shells(texts))
        if "entry points" in reads:
            yield from self._entry_points(functions, texts)
        evaluating = [node.obj for node in functions if node.evaluates]
        if evaluating:
            yield from self._named_in(evaluating, sorted(texts))

    def _variable(self, name: str) -> Node:
        return self._reach.node(self._variables.setdefault(name, Variable(name)), ("variable", name), name)

    @property
    def brought(self) -> Iterator[Node]:
        """What is there because others brought it, settled."""
        yield from self._derived
        yield from self._unpickled

    def _pickled(self, nodes: list[Node], functions: list[Node]) -> list[Node]:
        """What pickles name that the code holds."""
        from cas_engine.fingerprint.pickled import named_by, pickled_in  # late: hardly any code does

        readers = [node for node in nodes if "pickles" in node.reflects]
        spaces = [node.obj.__globals__ for node in functions]
        here_first = any("pickles elsewhere" in node.reflects for node in readers)
        self.pickled = named_by(pickled_in(nodes), spaces, here_first=here_first)
        self._unpickled = [self._reach.node(each.thing, ("pickled", *each[:2]), each.shown) for each in self.pickled]
        if not self.pickled:
            self.lost = [f"{node.name}: brings back objects whose classes only a pickle names" for node in readers]
        return self._unpickled

    def _entry_points(self, functions: list[Node], texts: set[str]) -> Iterator[Node]:
        """The groups of entry points that texts name."""
        from cas_engine.fingerprint.entries import Entries, describe_entries, groups_named

        self._reach.learn(Entries, describe_entries)
        askers = [node.obj.__globals__ for node in functions if "entry points" in node.reflects]
        for group in groups_named(texts):
            yield self._reach.node(self._entries.setdefault(group, Entries(group, askers[0])))

    def _programs(self, nodes: list[Node], texts: set[str]) -> Iterator[Node]:
        """The scripts that command lines name: run as processes of their own, they are code, too."""
        from cas_engine.fingerprint.programs import programs_named

        runners = [node for node in nodes if "programs" in node.reflects]
        for folder in sorted({node.base or folder_of(getattr(node.obj, "__globals__", {})) for node in runners}):
            for file in programs_named(texts, folder):
                yield self._reach.node(self._files.setdefault(file, CompiledFile(file)), ("file", file), file)

    def _wrapped(self, nodes: list[Node]) -> Iterator[Node]:
        """`fn.__wrapped__` leads past a decorator, which otherwise tells itself what it calls."""
        for node in nodes:
            wrapped = node.obj.__dict__.get("__wrapped__") if type(node.obj) is FunctionType else None
            if wrapped is not None:
                yield self._reach.node(wrapped, None, f"{node.name}.__wrapped__")

    def _defaults(self, functions: list[Node]) -> Iterator[Node]:
        """All defaults, of parameters too that the function itself doesn't use."""
        for node in functions:
            fn: FunctionType = node.obj
            named = [*enumerate(fn.__defaults__ or ()), *sorted((fn.__kwdefaults__ or {}).items())]
            for name, value in named:
                yield self._reach.node(value, ("any default", id(fn), name), f"{node.name} default {name}")

    def _inside(self, modules: list[Node], asked: set[str]) -> Iterator[Node]:
        """The modules that a module counting as a whole has imported, where something asks for their names."""
        for node in modules:
            for name, value in list(vars(node.obj).items()):
                if isinstance(value, ModuleType) and name in asked and owner_of_namespace(vars(value)).is_user:
                    yield self._reach.node(value)

    def _named_in(self, functions: list[FunctionType], texts: Sequence[str | CodeType]) -> Iterator[Node]:
        for fn in functions:
            for text in texts:
                known = self._evaluated.get((id(fn), text))
                if known is None:
                    code = _compiled(text) if isinstance(text, str) else text
                    if code is None:
                        continue
                    known = self._evaluated[id(fn), text] = Evaluated(fn, code)
                yield self._reach.node(known)

    def _module(self, function: Node) -> Node:
        """All of the module that a function was defined in."""
        space: dict[str, object] = function.obj.__globals__
        known = self._modules.get(id(space))
        if known is None:
            known = self._modules[id(space)] = module_of(function.obj)
        return self._reach.node(known)

    def _annotations(self, node: Node) -> Node:
        return self._reach.node(self._annotated.setdefault(id(node.obj), Annotated(node.obj)))


_BY_TEXTS = frozenset({"programs", "variables", "entry points"})


def looks_up_by_texts(nodes: Iterable[Node], reads: frozenset[str]) -> bool:
    """Whether something among these nodes looks up what texts name, of which it may be given more."""
    return not reads.isdisjoint(_BY_TEXTS) or any(node.computes or node.evaluates for node in nodes)


def texts_of(nodes: Iterable[Node]) -> set[str]:
    """The texts that these nodes know."""
    return {text for node in nodes for text in (*node.keywords, *texts_in(node.obj))}


def _compiled(text: str) -> CodeType | None:
    """The text as code, if it is code that names something."""
    if len(text) > _LONGEST or "\0" in text or text == "__builtins__":  # a key of the names given to `eval`
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for source in (text, textwrap.dedent(text), text.replace("@", "")):  # the last of a query: "x > @limit"
            try:
                code = compile(source.strip("\n"), sys.intern("<text>"), "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            return code if code.co_names else None
    return None
