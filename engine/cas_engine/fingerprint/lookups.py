"""What code reads of a thing beside its attributes: what it looks up under a literal name. Pure."""

from __future__ import annotations

import re
from types import CodeType

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.instructions import CO_OPTIMIZED, Instructions
from cas_engine.fingerprint.readings import (
    BARE_QUERIES,
    FRAMES,
    IMPORTERS,
    LABELLING,
    LOCALS_READERS,
    QUERIES,
    WITHOUT_ARGUMENT,
)
from cas_engine.fingerprint.references import GLOBAL, LITERAL, OPTIONAL, Ref
from cas_engine.fingerprint.rewrites import annotations_at

_READ_LOCALS = LOCALS_READERS | FRAMES
_QUERIED = QUERIES | BARE_QUERIES
# Names without which a code object does none of what `reads_locals` and `queries_of` look for; and without which what
# it reads by a chain of names is what the chain says.
LOOKING = _READ_LOCALS | _QUERIED
TELLING = IMPORTERS | LABELLING | {"getattr", "hasattr", "vars", "globals", "getLogger", "__dict__", "modules"}
_VARIABLE, _WORD = re.compile(r"@([^\W\d]\w*)"), re.compile(r"[^\W\d]\w*")
_STORES = O.STORES_OF_VARIABLES | {O.STORE_GLOBAL, O.STORE_NAME}


def reads_locals(code: CodeType, found: Instructions) -> bool:
    """Whether it may look at its own variables by name: by `locals()`, `vars()`; not by `vars(x)`, `model.eval()`."""
    if _READ_LOCALS.isdisjoint(code.co_names):
        return False
    for at, (kind, arg) in enumerate(zip(found.kinds, found.args)):  # noqa: B905 - of one length
        if arg in FRAMES and kind in {O.GLOBAL, O.ATTR, O.NAME}:
            return True
        if arg in LOCALS_READERS and kind == O.GLOBAL:
            if arg not in WITHOUT_ARGUMENT or _calls_with(found, at + 1, 0) or found.ops[at + 1] in _STORES:
                return True
        elif arg in LOCALS_READERS and kind == O.ATTR and "builtins" in code.co_names:
            return True
    return False


def queries_of(code: CodeType, found: Instructions) -> set[str]:
    """By what it may ask a package to look up what a text names, "" if that is no literal: not by `model.eval()`."""
    asked: set[str] = set()
    if _QUERIED.isdisjoint(code.co_names):
        return asked
    for at, (kind, arg) in enumerate(zip(found.kinds, found.args)):  # noqa: B905 - of one length
        if arg in _QUERIED and kind in {O.ATTR, O.GLOBAL} and not _calls_with(found, at + 1, 0):
            asked.add(str(arg))
            if not (_is_literal(found, at + 1) or arg == "evaluate"):  # which models and much else have, too
                asked.add("")
    return asked


def _is_literal(found: Instructions, at: int) -> bool:
    """Whether at `at` a text is loaded that is an argument as it is."""
    if at + 1 >= len(found.kinds) or found.kinds[at] != O.CONST or type(found.args[at]) is not str:
        return False
    return found.kinds[at + 1] == O.CONST or found.ops[at + 1] in O.CALLS


def queried(queries: set[str], texts: list[str]) -> tuple[set[str], set[str]]:
    """(variables that the texts name as those, words that may be names of variables)."""
    marked = {name for text in texts for name in _VARIABLE.findall(text)} if queries else set()
    bare = not queries.isdisjoint(BARE_QUERIES)
    return marked, {word for text in texts for word in _WORD.findall(text)} if bare else set()


def read_of(code: CodeType, found: Instructions, at: int, end: int, ref: Ref) -> list[Ref]:
    """What is read where the chain `ref` is loaded from `at` to `end`: more of it, where a text names the rest."""
    if ref == _GLOBALS and _calls_with(found, end, 0):
        name = subscripts(found, end + 1)
        if name is not None:  # the function that is called is known, and so is what it is asked for
            return [ref._replace(source=OPTIONAL), Ref(GLOBAL, name, attributes_from(found, end + 3))]
    item = subscripts(found, end) if ref.attrs else None
    if item is not None and ref.attrs[-1] == "__dict__":
        return [_more(ref._replace(attrs=ref.attrs[:-1]), item, *attributes_from(found, end + 2))]
    if item is not None and ref == _MODULES:
        return [ref._replace(attrs=()), Ref(LITERAL, item, attributes_from(found, end + 2))]
    if at and found.kinds[at - 1] == O.GLOBAL and found.args[at - 1] == "vars" and _calls_with(found, end, 1):
        name = subscripts(found, end + 1)
        if name is not None:
            return [_more(ref, name, *attributes_from(found, end + 3))]
    paths = read_from_variable(code, found, end)
    return [_more(ref, *path) for path in paths] if paths else [ref]


_GLOBALS, _MODULES = Ref(GLOBAL, "globals"), Ref(GLOBAL, "sys", ("modules",))


def _more(ref: Ref, *attrs: str) -> Ref:
    return ref._replace(attrs=(*ref.attrs, *attrs))


def attributes_from(found: Instructions, at: int) -> tuple[str, ...]:
    """The attributes that are read, one from the other, from `at` on."""
    end = at
    while end < len(found.kinds) and found.kinds[end] == O.ATTR and end not in found.landings:
        end += 1
    return tuple(str(arg) for arg in found.args[at:end])


def subscripts(found: Instructions, at: int) -> str | None:
    """The literal text by which an item is read at `at`: `x["text"]`."""
    if at + 1 >= len(found.kinds) or found.kinds[at] != O.CONST or at in found.landings or at + 1 in found.landings:
        return None
    text = found.args[at]
    return text if isinstance(text, str) and found.ops[at + 1] == O.BINARY_SUBSCR else None


def _calls_with(found: Instructions, at: int, count: int) -> bool:
    """Whether at `at` something is called with that many arguments, by position."""
    return at < len(found.kinds) and at not in found.landings and found.ops[at] in O.CALLS and found.args[at] == count


def read_from_variable(code: CodeType, found: Instructions, at: int) -> list[tuple[str, ...]]:
    """The attributes that are read from the variable that is bound at `at`, if nothing else is done with it.

    Empty where it may be used otherwise: what it stands for counts as a whole then.
    """
    if at >= len(found.ops) or found.ops[at] != O.STORE_FAST or at in found.landings:
        return []
    variable = found.args[at]
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x4) + bool(code.co_flags & 0x8)
    if variable in code.co_varnames[:count] or variable in code.co_cellvars:
        return []
    if reads_locals(code, found):
        return []
    paths: dict[tuple[str, ...], None] = {}
    for index, (kind, arg) in enumerate(zip(found.kinds, found.args)):  # noqa: B905 - of one length
        if arg != variable or kind not in {O.FAST, O.DEREF} or index == at:
            continue
        path = attributes_from(found, index + 1) if found.ops[index] in O.LOADS_OF_VARIABLES else ()
        if not path:
            return []
        paths[path] = None
    return list(paths)


def texts_of_annotations(code: CodeType, found: Instructions) -> list[str]:
    """The texts in the annotations of a class body, and of functions that are made and not only stored.

    What makes the class, decorates the function, or looks at either, may ask what they name.
    """
    texts: list[object] = []
    for at in found.makes:
        annotations = annotations_at(found, at)
        if annotations is not None and type(found.args[annotations]) is tuple:
            texts += found.args[annotations][1::2]  # type: ignore[index]
    if "__annotations__" in code.co_names and not code.co_flags & CO_OPTIMIZED:
        start = 0  # of the annotation
        for at, op in enumerate(found.ops):
            if op in _ENDS_OF_STATEMENTS:
                start = at + 1
            elif op == O.LOAD_NAME and found.args[at] == "__annotations__":
                texts += [found.args[i] for i in range(start, at) if found.kinds[i] == O.CONST]
    return [text for text in texts if isinstance(text, str)]


_ENDS_OF_STATEMENTS = frozenset({O.STORE_NAME, O.number("STORE_SUBSCR"), O.POP_TOP})
