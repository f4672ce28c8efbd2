"""A code object written down: its instructions in the order of their first visit, and what they read and name. Pure.

They are walked as a graph from the entry, jumps being edges and not instructions. So padding, the layout of blocks and
the threading of jumps, which CPython lets depend on line numbers, leave no trace. Inner functions are written in place.
"""

from __future__ import annotations

from types import CodeType

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.constants import SIMPLE, plain
from cas_engine.fingerprint.idioms import (
    MARK,
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
    marked,
    stores_name,
    ways,
)
from cas_engine.fingerprint.instructions import CO_OPTIMIZED, Instructions, decode
from cas_engine.fingerprint.lookups import (
    LOOKING,
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
    DEREF,
    END,
    FAST,
    FORK,
    GLOBAL,
    JUMP,
    LOAD_CONST,
    LOAD_GLOBAL,
    LOADS_OF_VARIABLES,
    OR_POP,
    PLAIN,
    STORE_FAST,
    V312,
)
from cas_engine.fingerprint.readings import IMPORTERS, LABELLING, OF_CLASSES, REFLECTIVE
from cas_engine.fingerprint.references import (
    COUNTER,
    FREE,
    IMPORT,
    LITERAL,
    NO_IMPORTS,
    OPTIONAL,
    Ref,
    imports_of,
)
from cas_engine.fingerprint.references import GLOBAL as OF_MODULE
from cas_engine.fingerprint.rewrites import leave_out_imports, rewrite
from cas_engine.fingerprint.scopes import Parameter, Scope

# *args, **kwargs, generator, coroutine, iterable coroutine, asynchronous generator
_FLAGS = 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200
_MERE = SIMPLE - {str}  # constants that say nothing but themselves, where nothing is imported
_NOTHING_SAYS: frozenset[type] = frozenset()
_new = tuple.__new__  # of a named tuple, in a third of the time
_ASKING = frozenset({"getattr", "hasattr", "vars"})


class Writer:
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
        self.scopes: list[Scope] = []

    def write(self, code: CodeType) -> list[Parameter]:
        """Write it all; its parameters."""
        scope = self._body(code, None)
        if self.reads_locals:
            self.out.append(scope.told())
        elif self.queries:
            self._query()
        return [_new(Parameter, each) for each in scope.parameters()]

    def _body(self, code: CodeType, outer: Scope | None) -> Scope:
        found = decode(code)
        if found.swaps or found.makes:
            rewrite(code, found)
        imports = imports_of(code, found) if found.has_import else NO_IMPORTS
        if imports.told and code.co_flags & CO_OPTIMIZED:
            leave_out_imports(found, imports.told)
        scope = Scope(code, found, outer, imports)
        self.scopes.append(scope)
        self.names.update(code.co_names)
        if not LOOKING.isdisjoint(code.co_names):
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
        inner = Writer()
        inner.write(code)
        for ref in inner.slots:
            self.out.append(self._slot(ref._replace(source=OPTIONAL)))

    def _walk(
        self,
        found: Instructions,
        start: int,
        scope: Scope,
        seen: dict[int, int],
        handled: dict[tuple[int, int], int],
    ) -> None:
        """`seen`: the number of each instruction that may be come to in several ways, and was written already."""
        ops, args, handlers = found.ops, found.args, found.handlers
        kinds = marked(found)
        longer = self._longer
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
                if kind > MARK:
                    kind -= MARK
                    if at in seen and not copying:
                        # CPython copies a short way out, or doesn't, depending on lines: here it is always copied.
                        copying = kind != FORK and is_way_out(found, at)
                        if not copying:
                            out += ("goto", seen[at])
                            break
                    seen[at] = written
                    if handlers and (kind != FAST or not V312):  # from 3.12 on a local variable is known to be bound
                        handler = handlers[at]
                        out.append(-1 if handler is None else handled.setdefault(handler, len(handled)))
                if kind == PLAIN or (kind == CONST and type(args[at]) in mere):
                    out.append(ops[at])
                    out.append(args[at])
                    at += 1
                elif kind == FAST and not (aliases and args[at] in aliases and ops[at] in LOADS_OF_VARIABLES):
                    name: str = args[at]  # type: ignore[assignment]
                    number = numbers.get(name)
                    if number is None:
                        number = numbers[name] = self.variables
                        self.variables += 1
                    out.append(ops[at])
                    out.append(number)
                    at += 1
                elif kind == JUMP:
                    at = found.targets[at]
                    if kinds[at] == JUMP:
                        at = landing(found, at)
                        if kinds[at] == JUMP:
                            out.append("for ever")
                            break
                    continue
                elif kind == END:
                    out += (ops[at], args[at])
                    written += 1
                    break
                elif kind == FORK:
                    out.append(ops[at])
                    pending.append(found.targets[at])
                    at += 1
                elif kind == BRANCH or kind == OR_POP:  # noqa: PLR1714, SIM109 - by far the quickest
                    question, at, otherwise, keeps = ways(found, at, ops[at])
                    out += (question, keeps)
                    pending.append(otherwise)
                elif kind == ATTR:
                    self._attribute(found, at)
                    out += (ops[at], args[at])
                    at += 1
                else:
                    self.written = written + 1
                    at = longer.get(kind, Writer._rarer)(self, found, at, ops[at], scope, seen)
                    written = self.written
                    continue
                written += 1
        self.written = written

    # --- what may be written as one with instructions that follow: each gives the one that is next

    def _rarer(self, found: Instructions, at: int, op: int, scope: Scope, seen: dict[int, int]) -> int:
        kind, arg = found.kinds[at], found.args[at]
        if kind == FAST:
            return self._chain(found, at, op, scope.imports.aliases[str(arg)], scope, seen)
        if kind == O.IMPORT:
            bare = scope.imports.bare.get(at, ())
            self.out += (op, *(self._slot(ref) for ref in bare))
        elif op == O.IMPORT_FROM:
            self.out.append(op)  # what it names is told by the import's reference
        else:
            self.out += (op, arg)
            if op == O.STORE_GLOBAL or op == O.DELETE_GLOBAL:  # noqa: PLR1714 - as above
                self.writes[f"global {arg}"] = None
        return at + 1

    def _global(self, found: Instructions, at: int, op: int, scope: Scope, seen: dict[int, int]) -> int:
        name: str = found.args[at]  # type: ignore[assignment]
        if scope.code.co_flags & CO_OPTIMIZED or not stores_name(found, name):
            if found.ops[at + 1] == LOAD_CONST and is_counted(found, at, O.STORE_GLOBAL):
                self.out += (op, self._slot(Ref(COUNTER, name)))
                return at + 1
            return self._chain(found, at, op, _new(Ref, (OF_MODULE, name, (), 0, False)), scope, seen)
        # A class body reads its own names first, and may fall through to the module's.
        self.out += (op, name, self._slot(Ref(OPTIONAL, name)))
        return at + 1

    def _deref(self, found: Instructions, at: int, op: int, scope: Scope, seen: dict[int, int]) -> int:
        name: str = found.args[at]  # type: ignore[assignment]
        owner: Scope | None = scope
        while owner is not None and name in owner.frees:
            owner = owner.outer
        if op in LOADS_OF_VARIABLES:
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
            return at + 1
        number = owner.numbers.get(name)
        if number is None:
            number = owner.numbers[name] = self.variables
            self.variables += 1
        self.out += (op, number)
        return at + 1

    def _chain(self, found: Instructions, at: int, op: int, base: Ref, scope: Scope, seen: dict[int, int]) -> int:
        """A name and the attributes read from it at once: one reference, followed when the objects are at hand."""
        end = at + 1
        kinds = found.kinds
        while kinds[end] == ATTR and end not in found.landings:  # what reads a name is never the last instruction
            self._counts(found, end)
            end += 1
        ref = base
        if end > at + 1:
            attrs = (*base.attrs, *found.args[at + 1 : end])
            ref = _new(Ref, (base.source, base.name, attrs, base.level, base.top))
        if scope.tells:
            return self._telling_chain(found, at, end, ref, scope, seen)
        if found.ops[end] == STORE_FAST:
            self.out += (op & 255, *map(self._slot, read_of(scope.code, found, at, end, ref)))
        else:
            self.out += (op & 255, self.slots.setdefault(ref, len(self.slots)))
        return end

    def _telling_chain(
        self, found: Instructions, at: int, end: int, ref: Ref, scope: Scope, seen: dict[int, int]
    ) -> int:
        """The same where the names, or what comes before or after, may tell of more that is read."""
        kinds, args = found.kinds, found.args
        if args[end - 1] in LABELLING and is_given_several(found, end - 1):
            self.reflects.add("labels")
        read = LOAD_GLOBAL if ref.source == IMPORT else found.ops[at] & 255  # wherever it was imported
        before = args[at - 1] if at and kinds[at - 1] == GLOBAL else None
        asked = asked_for(found, at, end) if before in _ASKING else None
        if asked is not None:
            ref = ref._replace(attrs=(*ref.attrs, asked))
            self._text(asked)
            end += 1
        # `f` or `helpers.f`: what the attributes lead to is told
        if asked is None and (
            before == "vars" or ref.name == "globals" or kinds[end] == CONST or found.ops[end] == STORE_FAST
        ):
            self.out += (read, *map(self._slot, read_of(scope.code, found, at, end, ref)))
        else:
            self.out += (read, self._slot(ref))
        last = ref.attrs[-1] if ref.attrs else ref.name
        if last in IMPORTERS:
            return self._literal_import(found, end, last, scope, seen)
        if last == "getLogger" and is_own_name(found, end):
            seen[end] = self.written  # which logger it is changes no result
            self.written += 1
            return end + 1
        return end

    def _literal_import(self, found: Instructions, at: int, by: str, scope: Scope, seen: dict[int, int]) -> int:
        name = called_with(found, at)
        if name is None:
            self.computed_imports = True
            return at
        package = found.args[at + 1] if found.kinds[at + 1] == CONST else None
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

    # --- constants

    def _constant(self, found: Instructions, at: int, op: int, scope: Scope, seen: dict[int, int]) -> int:
        value = found.args[at]
        if type(value) is CodeType:
            self.out += (op, "code")
            inner = self._body(value, scope)
            parameters = inner.parameters()
            if at in found.unused:
                end = value.co_argcount
                del parameters[end - found.unused[at] : end]
            if value.co_name == "<lambda>":
                self.hidden += [name for _, name, _ in parameters]
                parameters = [(kind, "", slot) for kind, _, slot in parameters]
            self.out.append("end")
            self.out += parameters
            if self.reads_locals:
                self.out.append(inner.told())
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

    _longer = {GLOBAL: _global, DEREF: _deref, CONST: _constant}  # noqa: RUF012 - not to be changed

    def _query(self) -> None:
        """Note which variables and globals the texts name for a package that looks them up where it is called."""
        marked, words = queried(self.queries, self.strings)
        named = marked | words
        for name in sorted(named):
            self.out.append(self._slot(Ref(OPTIONAL, name)))
        for scope in self.scopes:  # a text that is made elsewhere may name any
            self.out += [pair for pair in scope.told() if "" in self.queries or pair[0] in named]

    def _text(self, text: str) -> None:
        self.strings.append(text)
        self.keywords.add(text)
        what = REFLECTIVE.get(text)
        if what is not None:
            self.reflects.add(what)

    def _slot(self, ref: Ref) -> int:
        return self.slots.setdefault(ref, len(self.slots))
