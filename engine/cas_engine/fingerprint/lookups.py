"""What code reads of a thing beside its attributes: what it looks up under a literal name. Pure."""

from __future__ import annotations

from types import CodeType

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.instructions import Instructions
from cas_engine.fingerprint.readings import LOCALS_READERS
from cas_engine.fingerprint.references import GLOBAL, LITERAL, OPTIONAL, Ref


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
    if not LOCALS_READERS.isdisjoint(code.co_names):
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
