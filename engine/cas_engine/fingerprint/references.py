"""What a piece of code reads from outside itself: names, attribute chains, imports. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType
from typing import NamedTuple

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.instructions import Instructions

GLOBAL = "global"  # a name of the module, or of the builtins
FREE = "free"  # a variable of the enclosing function
IMPORT = "import"  # a module imported in the body
COUNTER = "counter"  # a name that is only counted up: its value changes nothing else
OPTIONAL = "optional"  # a name that may be read, if there is one
LITERAL = "literal"  # importlib.import_module("literal")


class Ref(NamedTuple):
    """One thing that is read: `helpers.scale` is Ref(GLOBAL, "helpers", ("scale",))."""

    source: str
    name: str
    attrs: tuple[str, ...] = ()
    level: int = 0  # of a relative import
    top: bool = False  # `import a.b` binds a, `import a.b as c` binds a.b


@dataclass(frozen=True, slots=True)
class Imports:
    """The imports of one code object."""

    aliases: dict[str, Ref]  # a variable that is that import and nothing else, wherever it is read
    bare: dict[int, tuple[Ref, ...]]  # by instruction: what was imported and can't be followed through a variable
    told: tuple[tuple[int, int], ...] = ()  # (first, last) instruction of those that bind nothing but such variables


NO_IMPORTS = Imports({}, {})


def imports_of(code: CodeType, found: Instructions) -> Imports:
    """Which variables stand for imports.

    Such a variable is followed like a global name, so that `from helpers import scale` in a body reaches
    `scale` and not all of `helpers`.
    """
    bindings: list[tuple[int, str | None, Ref]] = []
    for index, kind in enumerate(found.kinds):
        if kind == O.IMPORT:
            bindings += _bindings(found, index)
    stores, loads = _uses(found)
    inner_stores, inner_loads = _inner_uses(code)
    arguments = code.co_varnames[: _argument_count(code)]
    aliases: dict[str, Ref] = {}
    bare: dict[int, tuple[Ref, ...]] = {}
    for index, variable, ref in bindings:
        followed = (
            variable is not None
            and stores.get(variable) == 1
            and variable not in inner_stores
            and variable not in arguments
            and (variable in loads or variable in inner_loads)
        )
        if followed and variable is not None:
            aliases[variable] = ref
        else:
            bare[index] = (*bare.get(index, ()), ref)
    ends = {index: _end(found, index) for index, _, _ in bindings if index not in bare}
    return Imports(aliases, bare, tuple((index - 2, end) for index, end in ends.items()))


def _end(found: Instructions, index: int) -> int:
    """The last instruction of the import statement at `index`, all of whose variables are known."""
    at = index + 1
    while found.ops[at] == O.IMPORT_FROM or found.ops[at] in O.STORES_OF_VARIABLES:
        at += 1
    return at if found.args[index - 1] else at - 1  # `from` ends with dropping the module


def _bindings(found: Instructions, index: int) -> list[tuple[int, str | None, Ref]]:
    """(instruction, variable or None, what it is bound to) for the import statement at `index`."""
    ops, args = found.ops, found.args
    name = str(args[index])
    level, names = args[index - 2], args[index - 1]
    level = level if isinstance(level, int) else 0
    at = index + 1
    if names:
        bound: list[tuple[int, str | None, Ref]] = []
        while at + 1 < len(ops) and ops[at] == O.IMPORT_FROM:
            ref = Ref(IMPORT, name, (str(args[at]),), level)
            bound.append((index, _stored(found, at + 1), ref))
            at += 2
        return bound or [(index, None, Ref(IMPORT, name, (), level))]
    whole = at < len(ops) and ops[at] == O.IMPORT_FROM  # `import a.b as c` walks down from a
    while whole and at < len(ops) and (ops[at] == O.IMPORT_FROM or found.kinds[at] == O.PLAIN):
        at += 1
    ref = Ref(IMPORT, name, (), level, top=not whole and "." in name)
    return [(index, _stored(found, at), ref)]


def _stored(found: Instructions, at: int) -> str | None:
    is_variable = at < len(found.ops) and found.ops[at] in {O.STORE_FAST, O.STORE_DEREF}
    return str(found.args[at]) if is_variable else None


def _uses(found: Instructions) -> tuple[dict[str, int], set[str]]:
    stores: dict[str, int] = {}
    loads: set[str] = set()
    for op, arg in zip(found.ops, found.args):  # noqa: B905
        if op in O.STORES_OF_VARIABLES:
            stores[str(arg)] = stores.get(str(arg), 0) + 1
        elif op in O.LOADS_OF_VARIABLES:
            loads.add(str(arg))
    return stores, loads


def _inner_uses(code: CodeType) -> tuple[set[str], set[str]]:
    """(variables that inner functions store, that they read), by name."""
    stores: set[str] = set()
    loads: set[str] = set()
    for const in code.co_consts:
        if isinstance(const, CodeType) and const.co_freevars:
            raw = const.co_code
            loads.update(const.co_freevars)
            if any(op in O.STORES_OF_CELLS for op in raw[::2]):
                stores.update(const.co_freevars)
            deeper, _ = _inner_uses(const)
            stores |= deeper & set(const.co_freevars)
    return stores, loads


def _argument_count(code: CodeType) -> int:
    stars = bool(code.co_flags & 0x4) + bool(code.co_flags & 0x8)
    return code.co_argcount + code.co_kwonlyargcount + stars
