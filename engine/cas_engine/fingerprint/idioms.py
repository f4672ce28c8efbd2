"""Small patterns of instructions, and what they mean together. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.instructions import Instructions

_ASKERS = frozenset({"getattr", "hasattr"})
_LOADS = frozenset({O.CONST, O.FAST, O.DEREF, O.GLOBAL})
_FORKS = frozenset({O.BRANCH, O.OR_POP, O.FORK})
MARK = 64  # on the kind of an instruction
_SHORT = 16  # instructions; CPython copies at most 4, which may have become more here


def landing(found: Instructions, at: int) -> int:
    """Where a jump, or a row of jumps, ends. An empty endless loop ends at itself."""
    passed: set[int] = set()
    while found.kinds[at] == O.JUMP and at not in passed:
        passed.add(at)
        at = found.targets[at]
    return at


def marked(found: Instructions) -> list[int]:
    """The kinds of the instructions, with a mark where more is to be done than to write them down."""
    kinds = found.kinds
    marks: Iterable[int] = range(len(kinds)) if found.handlers else _joins_of(found)
    if marks:
        kinds = kinds.copy()
        for at in marks:
            if kinds[at] != O.JUMP:
                kinds[at] += MARK
    return kinds


def _joins_of(found: Instructions) -> set[int]:
    """All instructions that may be come to in more than one way, and perhaps others."""
    if not (found.passed or found.keeps):
        return found.landings
    joins = found.landings.union(found.passed)
    if found.keeps:  # past a value that is kept only to be asked again: see below
        joins = joins.union(at + 1 for at in found.landings if at + 1 < len(found.kinds))
    return joins


def is_way_out(found: Instructions, at: int) -> bool:
    """Whether a few instructions without a branch lead from here out of the function."""
    for _ in range(_SHORT):
        kind = found.kinds[at]
        if kind == O.END:
            return True
        if kind in _FORKS:
            return False
        at = landing(found, at) if kind == O.JUMP else at + 1
    return False


def ways(found: Instructions, at: int, op: int) -> tuple[str, int, int, int]:
    """(question, way when yes, way when no, what is kept: 0 nothing, 1 a true value, 2 a false one)."""
    target = found.targets[at]
    if found.kinds[target] == O.JUMP:
        target = landing(found, target)
    if found.kinds[at] == O.BRANCH:
        question, jumps_if = O.BRANCHES[op]
        return (question, target, at + 1, 0) if jumps_if else (question, at + 1, target, 0)
    # A value kept for a jump only to be asked again: CPython shortens that when both stand on one line.
    on_true = O.OR_POP_IF_TRUE[op]
    kept = 1 if on_true else 2
    while kept:
        kind, next_op = found.kinds[target], found.ops[target]
        if kind == O.OR_POP:
            if O.OR_POP_IF_TRUE[next_op] == on_true:
                target = landing(found, found.targets[target])
            else:
                target, kept = landing(found, target + 1), 0
        elif kind == O.BRANCH and O.BRANCHES[next_op][0] == O.IS_TRUE:
            taken = O.BRANCHES[next_op][1] == on_true
            target, kept = landing(found, found.targets[target] if taken else target + 1), 0
        else:
            break
    return (O.IS_TRUE, target, at + 1, kept) if on_true else (O.IS_TRUE, at + 1, target, kept)


def is_counted(found: Instructions, at: int, store: int) -> bool:
    """Whether `at` loads a variable only to add a constant to it and store it again."""
    ops, args = found.ops, found.args
    if at + 3 >= len(ops) or ops[at + 1] != O.LOAD_CONST:
        return False
    if ops[at + 2] not in O.INPLACE and not (ops[at + 2] == O.BINARY_OP and int(str(args[at + 2])) >= 13):
        return False
    end = at + 3
    if store == O.STORE_ATTR and found.kinds[end] == O.PLAIN:  # swaps the object and the new value
        end += 1
    return end < len(ops) and ops[end] == store and args[end] == args[at]


def stores_name(found: Instructions, name: str) -> bool:
    return any(op == O.STORE_NAME and arg == name for op, arg in zip(found.ops, found.args))  # noqa: B905


def called_with(found: Instructions, at: int) -> str | None:
    """The text that is the first argument of the call of what was read just before `at`, if it is a constant."""
    kinds = found.kinds
    if at + 1 >= len(kinds) or kinds[at] != O.CONST:
        return None
    text = found.args[at]
    if not isinstance(text, str):
        return None
    # Another argument may only follow a relative name: it says of which package. The start of an f-string is no name.
    return text if found.ops[at + 1] in O.CALLS or text.startswith(".") else None


def asked_for(found: Instructions, at: int, end: int) -> str | None:
    """The name of `getattr(x, "name")`, with a default or without, where x was loaded from `at` to `end`."""
    kinds, args = found.kinds, found.args
    if at < 1 or kinds[at - 1] != O.GLOBAL or args[at - 1] not in _ASKERS or at in found.landings:
        return None
    text = args[end] if end + 2 < len(kinds) and kinds[end] == O.CONST and end not in found.landings else None
    if not isinstance(text, str) or not text.isidentifier():
        return None
    called = found.ops[end + 1] in O.CALLS and args[end + 1] == 2
    with_default = found.ops[end + 2] in O.CALLS and args[end + 2] == 3 and kinds[end + 1] in _LOADS
    return text if called or with_default else None


def is_given_several(found: Instructions, at: int) -> bool:
    """Whether what the attribute at `at` leads to is called with a list or a table written out there."""
    for i in range(at + 1, min(at + 1 + _SHORT, len(found.ops) - 1)):
        if found.ops[i] in O.CALLS:
            return False
        if found.ops[i] in O.BUILDS:
            return found.ops[i + 1] != O.BINARY_SUBSCR
    return False


def attributes_of_call(found: Instructions, at: int) -> tuple[tuple[str, ...], int]:
    """(attributes that are read at once from what the call at `at` gives, where that ends)."""
    if found.ops[at] not in O.CALLS:
        return (), at - 1
    end = at + 1
    while end < len(found.kinds) and found.kinds[end] == O.ATTR and end not in found.landings:
        end += 1
    return tuple(str(name) for name in found.args[at + 1 : end]), end


def is_of_class(found: Instructions, at: int) -> bool:
    """Whether the attribute at `at` is read from `x.__class__` or `type(x)`: from a class, whatever x is."""
    if at < 1:
        return False
    if found.kinds[at - 1] == O.ATTR:
        return found.args[at - 1] == "__class__"
    asks = at > 2 and found.ops[at - 1] in O.CALLS and found.kinds[at - 3] == O.GLOBAL
    return asks and found.args[at - 3] == "type"


def is_own_name(found: Instructions, at: int) -> bool:
    """Whether the module's own `__name__` is loaded at `at`, as the only argument of a call."""
    if at + 1 >= len(found.kinds) or found.kinds[at] != O.GLOBAL or found.args[at] != "__name__":
        return False
    return found.ops[at + 1] in O.CALLS and found.args[at + 1] == 1


def absolute(name: str, package: str) -> str:
    """The full name of a module that is named relative to a package."""
    stem = name.lstrip(".")
    parents = package.split(".")
    base = ".".join(parents[: max(len(parents) - (len(name) - len(stem)) + 1, 0)])
    return f"{base}.{stem}" if stem else base
