"""The canonical form of a code object: what it does, whatever its formatting, names, line numbers. Pure.

The instructions are walked as a graph from the entry, jumps being edges and not instructions, and written down in
the order of first visit. So padding, the layout of blocks and the threading of jumps, which CPython lets depend on
line numbers, leave no trace. Inner functions are written in place.
"""

from __future__ import annotations

from types import CodeType
from typing import Any, NamedTuple

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.constants import SIMPLE, dumped, plain
from cas_engine.fingerprint.idioms import (
    absolute,
    asked_for,
    attributes_of_call,
    called_with,
    is_counted,
    is_given_several,
    is_of_class,
    is_own_name,
    is_way_out,
    landing,
    stores_name,
    ways,
)
from cas_engine.fingerprint.instructions import CO_OPTIMIZED, Instructions, decode
from cas_engine.fingerprint.lookups import (
    queried,
    queries_of,
    read_from_variable,
    read_of,
    reads_locals,
    texts_of_annotations,
)

# By names of their own where they are asked for at every instruction: that is measurably quicker.
from cas_engine.fingerprint.opcodes import (
    ATTR,
    BRANCH,
    CONST,
    END,
    FAST,
    FORK,
    JUMP,
    LOAD_CONST,
    LOAD_GLOBAL,
    LOADS_OF_VARIABLES,
    OR_POP,
    PLAIN,
    STORE_FAST,
    V312,
)
from cas_engine.fingerprint.readings import (
    IMPORTERS,
    LABELLING,
    LOADERS,
    MODULE_READERS,
    OF_CLASSES,
    REFLECTIVE,
)
from cas_engine.fingerprint.references import (
    COUNTER,
    FREE,
    GLOBAL,
    IMPORT,
    LITERAL,
    NO_IMPORTS,
    OPTIONAL,
    Imports,
    Ref,
    imports_of,
)
from cas_engine.fingerprint.rewrites import leave_out_imports, rewrite
from cas_store.digest import digest_of

__all__ = ["MODULE_READERS", "Canonical", "Parameter", "canonical"]

# *args, **kwargs, generator, coroutine, iterable coroutine, asynchronous generator
_FLAGS = 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200
_VARARGS, _VARKEYWORDS = 0x4, 0x8
_NOTHING: frozenset[str] = frozenset()
_MERE = SIMPLE - {str}  # constants that say nothing but themselves, where nothing is imported
_NOTHING_SAYS: frozenset[type] = frozenset()
_ASKING = frozenset({"getattr", "hasattr", "vars"})


class Parameter(NamedTuple):
    kind: str  # "p" positional only, "a" by position or name, "k" by name only, "*", "**"
    name: str
    slot: int  # the number of its variable, -1 when nothing reads it


class Canonical(NamedTuple):
    """The pure part of a function's identity."""

    digest: bytes  # of the body
    parameters: tuple[Parameter, ...]
    refs: tuple[Ref, ...]  # in the order of first reading
    writes: tuple[str, ...]  # "global COUNT": what it writes outside itself
    reflects: frozenset[str]  # values of REFLECTIVE
    names: frozenset[str]  # all names that it mentions
    asked: frozenset[str]  # attributes that it reads of what isn't a name
    counted: frozenset[str]  # attributes that are only counted up
    computed_imports: bool  # imports what only running it would tell
    literals: tuple[str, ...]  # string constants, kept only where a computed import may use them
    keywords: frozenset[str]  # names by which it may pass arguments
    hidden: tuple[str, ...]  # parameters of its lambdas: they count where something passes arguments by these names
    reads_locals: bool  # it may look at its own variables by name
    queries: bool  # it asks a package to look up what a text names that is made elsewhere
    calls: dict[object, Any]  # ways to call it, by which parameters have defaults; filled as they are met


_memo: dict[int, tuple[CodeType, Canonical]] = {}


def canonical(code: CodeType) -> Canonical:
    """The canonical form, computed once for a code object and process."""
    known = _memo.get(id(code))
    if known is None:
        known = _memo[id(code)] = (code, _Writer().write(code))
    return known[1]


class _Scope:
    """The variables of one code object while it is written."""

    __slots__ = ("code", "frees", "imports", "numbers", "outer")

    def __init__(self, code: CodeType, outer: _Scope | None, imports: Imports) -> None:
        self.code = code
        self.outer = outer
        self.imports = imports
        self.frees = frozenset(code.co_freevars)
        self.numbers: dict[str, int] = {}


class _Writer:
    """Writes one code object and those inside it into one flat list."""

    __slots__ = (
        "asked",
        "computed_imports",
        "counted",
        "hidden",
        "keywords",
        "names",
        "out",
        "queries",
        "reads_locals",
        "reflects",
        "scopes",
        "slots",
        "strings",
        "uncounted",
        "variables",
        "writes",
        "written",
    )

    def __init__(self) -> None:
        self.out: list[object] = []
        self.slots: dict[Ref, int] = {}
        self.variables = 0
        self.written = 0  # instructions
        self.writes: dict[str, None] = {}
        self.reflects: set[str] = set()
        self.names: set[str] = set()
        self.asked: set[str] = set()
        self.counted: set[str] = set()
        self.uncounted: set[str] = set()
        self.strings: list[str] = []
        self.keywords: set[str] = set()
        self.hidden: list[str] = []
        self.computed_imports = False
        self.reads_locals = False
        self.queries: set[str] = set()
        self.scopes: list[_Scope] = []

    def write(self, code: CodeType) -> Canonical:
        scope = self._body(code, None)
        if self.reads_locals:
            self.out.append(_told(scope))
        elif self.queries:
            self._query()
        return Canonical(
            digest=digest_of(dumped(self.out)),
            parameters=tuple(_parameters(code, scope.numbers)),
            refs=tuple(self.slots),
            writes=tuple(self.writes),
            reflects=frozenset(self.reflects) if self.reflects else _NOTHING,
            names=frozenset(self.names),
            asked=frozenset(self.asked) if self.asked else _NOTHING,
            counted=frozenset(self.counted - self.uncounted) if self.counted else _NOTHING,
            computed_imports=self.computed_imports or not self.names.isdisjoint(LOADERS),
            literals=tuple(self.strings) if self.computed_imports or "modules" in self.names else (),
            keywords=frozenset(self.keywords) if self.keywords else _NOTHING,
            hidden=tuple(self.hidden),
            reads_locals=self.reads_locals,
            queries="" in self.queries,
            calls={},
        )

    def _body(self, code: CodeType, outer: _Scope | None) -> _Scope:
        found = decode(code)
        rewrite(code, found)
        imports = imports_of(code, found) if found.has_import else NO_IMPORTS
        if imports.told and code.co_flags & CO_OPTIMIZED:
            leave_out_imports(found, imports.told)
        scope = _Scope(code, outer, imports)
        self.scopes.append(scope)
        self.names.update(code.co_names)
        self.reads_locals = self.reads_locals or reads_locals(code, found)
        self.queries |= queries_of(code, found)
        self.out.append(code.co_flags & _FLAGS)
        if found.makes or "__annotations__" in code.co_names:
            for text in texts_of_annotations(code, found):
                self._annotation(text)
        handled: dict[tuple[int, int], int] = {}
        seen: dict[int, int] = {}
        self._walk(found, 0, scope, seen, handled)
        done = 0
        while handled and done < len(handled):  # a handler may itself be handled by another
            where, packed = list(handled)[done]
            self.out += ("handler", done, packed)
            self._walk(found, where, scope, seen, handled)
            done += 1
        return scope

    def _annotation(self, text: str) -> None:
        """What the text of an annotation names may be asked for: by `dataclass`, by pydantic, by `get_type_hints`."""
        try:
            code = compile(text, "<annotation>", "eval", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for ref in _Writer().write(code).refs:
            self.out.append(self._slot(ref._replace(source=OPTIONAL)))

    def _walk(
        self,
        found: Instructions,
        start: int,
        scope: _Scope,
        seen: dict[int, int],
        handled: dict[tuple[int, int], int],
    ) -> None:
        kinds, ops, args, targets, handlers = found.kinds, found.ops, found.args, found.targets, found.handlers
        out = self.out
        numbers = scope.numbers
        aliases = scope.imports.aliases
        mere = _NOTHING_SAYS if found.has_import else _MERE
        written = self.written
        pending = [start]
        while pending:
            at = pending.pop()
            copying = False
            while True:
                kind = kinds[at]
                if kind == JUMP:
                    at = landing(found, at)
                    kind = kinds[at]
                    if kind == JUMP:
                        out.append("for ever")
                        break
                if at in seen and not copying:
                    # CPython copies a short way out, or doesn't, depending on lines: here it is always copied.
                    copying = is_way_out(found, at)
                    if not copying:
                        out += ("goto", seen[at])
                        break
                seen[at] = written
                written += 1
                op = ops[at]
                if handlers and (kind != FAST or not V312):  # from 3.12 on a local variable is known to be bound
                    handler = handlers[at]
                    out.append(-1 if handler is None else handled.setdefault(handler, len(handled)))
                if kind == FAST and not (aliases and args[at] in aliases and op in LOADS_OF_VARIABLES):
                    name: str = args[at]  # type: ignore[assignment]
                    number = numbers.get(name)
                    if number is None:
                        number = numbers[name] = self.variables
                        self.variables += 1
                    out.append(op)
                    out.append(number)
                    at += 1
                elif kind == PLAIN or (kind == CONST and type(args[at]) in mere):
                    out.append(op)
                    out.append(args[at])
                    at += 1
                elif kind == BRANCH or kind == OR_POP:  # noqa: PLR1714, SIM109 - by far the quickest
                    at = self._branch(found, at, op, pending)
                elif kind == END:
                    out += (op, args[at])
                    break
                elif kind == FORK:
                    out.append(op)
                    pending.append(targets[at])
                    at += 1
                elif kind == ATTR:
                    self._attribute(found, at)
                    out += (op, args[at])
                    at += 1
                else:
                    self.written = written
                    at = self._longer(found, at, op, scope, seen)
                    written = self.written
        self.written = written

    def _longer(self, found: Instructions, at: int, op: int, scope: _Scope, seen: dict[int, int]) -> int:
        """What may be written as one with instructions that follow; the one that is next."""
        kind, arg = found.kinds[at], found.args[at]
        if kind == O.GLOBAL:
            return self._global(found, at, op, scope, seen)
        if kind == CONST:
            return self._constant(found, at, op, scope, seen)
        if kind == FAST:
            return self._chain(found, at, op, scope.imports.aliases[str(arg)], scope, seen)
        if kind == O.DEREF:
            return self._deref(found, at, op, scope, seen)
        if kind == O.IMPORT:
            bare = scope.imports.bare.get(at, ())
            self.out += (op, *(self._slot(ref) for ref in bare))
        elif op == O.IMPORT_FROM:
            self.out.append(op)  # what it names is told by the import's reference
        elif kind == O.NAME:
            self.out += (op, arg)
            if op in {O.STORE_GLOBAL, O.DELETE_GLOBAL}:
                self.writes[f"global {arg}"] = None
        else:
            self.out += (op, arg)
        return at + 1

    # --- what is read

    def _global(self, found: Instructions, at: int, op: int, scope: _Scope, seen: dict[int, int]) -> int:
        name = str(found.args[at])
        if scope.code.co_flags & CO_OPTIMIZED or not stores_name(found, name):
            if found.ops[at + 1] == LOAD_CONST and is_counted(found, at, O.STORE_GLOBAL):
                self.out += (op, self._slot(Ref(COUNTER, name)))
                return at + 1
            return self._chain(found, at, op, Ref(GLOBAL, name), scope, seen)
        # A class body reads its own names first, and may fall through to the module's.
        self.out += (op, name, self._slot(Ref(OPTIONAL, name)))
        return at + 1

    def _deref(self, found: Instructions, at: int, op: int, scope: _Scope, seen: dict[int, int]) -> int:
        name = str(found.args[at])
        owner: _Scope | None = scope
        while owner is not None and name in owner.frees:
            owner = owner.outer
        if op in O.LOADS_OF_VARIABLES:
            alias = owner.imports.aliases.get(name) if owner is not None else None
            if alias is not None:
                return self._chain(found, at, op, alias, scope, seen)
            if owner is None:
                if is_counted(found, at, O.STORE_DEREF):
                    self.out += (op, self._slot(Ref(COUNTER, name)))
                    return at + 1
                return self._chain(found, at, op, Ref(FREE, name), scope, seen)
        if owner is None:
            self.writes[f"variable {name} of the enclosing function"] = None
            self.out += (op, name)
        else:
            self.out += (op, self._number(owner, name))
        return at + 1

    def _chain(self, found: Instructions, at: int, op: int, base: Ref, scope: _Scope, seen: dict[int, int]) -> int:
        """A name and the attributes read from it at once: one reference, followed when the objects are at hand."""
        end = at + 1
        kinds, args = found.kinds, found.args
        while kinds[end] == ATTR and end not in found.landings:  # what reads a name is never the last instruction
            seen[end] = self.written
            self._counts(found, end)
            end += 1
        if args[end - 1] in LABELLING and is_given_several(found, end - 1):
            self.reflects.add("labels")
        asked = None
        before = args[at - 1] if at and kinds[at - 1] == O.GLOBAL else None
        if before in _ASKING:
            asked = asked_for(found, at, end)
        attrs = base.attrs
        if end > at + 1:
            attrs += tuple(map(str, args[at + 1 : end]))
        if asked is not None:
            attrs += (asked,)
            self._text(asked)
            seen[end] = self.written
            end += 1
        ref = base if attrs is base.attrs else Ref(base.source, base.name, attrs, base.level, base.top)
        read = LOAD_GLOBAL if base.source == IMPORT else op & 255  # wherever it was imported
        # `f` or `helpers.f`: what the attributes lead to is told
        if asked is None and (
            before == "vars" or base.name == "globals" or kinds[end] == CONST or found.ops[end] == STORE_FAST
        ):
            self.out += (read, *map(self._slot, read_of(scope.code, found, at, end, ref)))
        else:
            self.out += (read, self.slots.setdefault(ref, len(self.slots)))
        last = attrs[-1] if attrs else base.name
        if last in IMPORTERS:
            return self._literal_import(found, end, last, scope, seen)
        if last == "getLogger" and is_own_name(found, end):
            seen[end] = self.written  # which logger it is changes no result
            self.written += 1
            return end + 1
        return end

    def _literal_import(self, found: Instructions, at: int, by: str, scope: _Scope, seen: dict[int, int]) -> int:
        name = called_with(found, at)
        if name is None:
            self.computed_imports = True
            return at
        package = found.args[at + 1] if found.kinds[at + 1] == O.CONST else None
        if name.startswith(".") and isinstance(package, str):
            name = absolute(name, package)
        if by == "__import__" and "." in name:  # which gives the first of the names
            self.out += (self._slot(Ref(LITERAL, name)), self._slot(Ref(LITERAL, name.partition(".")[0])))
            return at
        attrs, end = attributes_of_call(found, at + 1)
        paths = [attrs]
        if not attrs and end == at + 2:
            paths = read_from_variable(scope.code, found, end) or paths
        self.out += (*(self._slot(Ref(LITERAL, name, path)) for path in paths), *found.ops[at + 2 : end])
        for passed in range(at, end):
            seen[passed] = self.written
            self.written += 1
        return end

    def _attribute(self, found: Instructions, at: int) -> None:
        name: str = found.args[at]  # type: ignore[assignment]
        self.asked.add(name)
        if name in REFLECTIVE:
            what = OF_CLASSES.get(name) if is_of_class(found, at) else REFLECTIVE[name]
            if what is not None:
                self.reflects.add(what)
        elif name in LABELLING and is_given_several(found, at):
            self.reflects.add("labels")
        self._counts(found, at)

    def _counts(self, found: Instructions, at: int) -> None:
        name: str = found.args[at]  # type: ignore[assignment]
        if found.ops[at + 1] == LOAD_CONST and is_counted(found, at, O.STORE_ATTR):
            self.counted.add(name)
        else:
            self.uncounted.add(name)

    # --- constants, branches, variables

    def _constant(self, found: Instructions, at: int, op: int, scope: _Scope, seen: dict[int, int]) -> int:
        value = found.args[at]
        if type(value) is CodeType:
            self.out += (op, "code")
            inner = self._body(value, scope)
            parameters = _parameters(value, inner.numbers)
            if at in found.unused:
                end = value.co_argcount
                del parameters[end - found.unused[at] : end]
            if value.co_name == "<lambda>":
                self.hidden += [p.name for p in parameters]
                parameters = [Parameter(p.kind, "", p.slot) for p in parameters]
            self.out.append("end")
            self.out += [tuple(p) for p in parameters]
            if self.reads_locals:
                self.out.append(_told(inner))
            return at + 1
        if found.has_import and at + 2 < len(found.kinds) and found.kinds[at + 2] == O.IMPORT:
            seen[at + 1] = self.written  # the level and the names of an import: told by its references
            self.written += 1
            return at + 2
        if type(value) is str:
            self._text(value)
        elif type(value) is tuple:
            self.keywords.update(each for each in value if type(each) is str)
        self.out += (op, value if type(value) in SIMPLE else plain(value))
        return at + 1

    def _query(self) -> None:
        """Note which variables and globals the texts name for a package that looks them up where it is called."""
        marked, words = queried(self.queries, self.strings)
        named = marked | words
        for name in sorted(named):
            self.out.append(self._slot(Ref(OPTIONAL, name)))
        for scope in self.scopes:  # a text that is made elsewhere may name any
            self.out += [pair for pair in _told(scope) if "" in self.queries or pair[0] in named]

    def _text(self, text: str) -> None:
        self.strings.append(text)
        self.keywords.add(text)
        what = REFLECTIVE.get(text)
        if what is not None:
            self.reflects.add(what)

    def _branch(self, found: Instructions, at: int, op: int, pending: list[int]) -> int:
        question, if_true, if_false, keeps = ways(found, at, op)
        self.out += (question, keeps)
        pending.append(if_false)
        return if_true

    def _number(self, scope: _Scope, name: str) -> int:
        number = scope.numbers.get(name)
        if number is None:
            number = scope.numbers[name] = self.variables
            self.variables += 1
        return number

    def _slot(self, ref: Ref) -> int:
        return self.slots.setdefault(ref, len(self.slots))


def _told(scope: _Scope) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(scope.numbers.items(), key=lambda item: item[1]))


def _parameters(code: CodeType, numbers: dict[str, int]) -> list[Parameter]:
    count, names = code.co_argcount, code.co_varnames
    if not (code.co_posonlyargcount or code.co_kwonlyargcount or code.co_flags & (_VARARGS | _VARKEYWORDS)):
        return [Parameter("a", name, numbers.get(name, -1)) for name in names[:count]]
    kinds = ["p"] * code.co_posonlyargcount + ["a"] * (count - code.co_posonlyargcount)
    kinds += ["k"] * code.co_kwonlyargcount
    kinds += ["*"] * bool(code.co_flags & _VARARGS) + ["**"] * bool(code.co_flags & _VARKEYWORDS)
    called = {"a", "k"}  # the only names that a caller can see
    return [
        Parameter(kind, name if kind in called else "", numbers.get(name, -1))
        for kind, name in zip(kinds, names)  # noqa: B905 - names goes on with the local variables
    ]
