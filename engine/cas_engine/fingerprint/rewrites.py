"""What CPython may write in two ways, brought to one; and what nothing reads, left out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from types import CodeType
from typing import Any

from cas_engine.fingerprint import opcodes as O  # noqa: N812
from cas_engine.fingerprint.instructions import CO_OPTIMIZED, Instructions, decode
from cas_engine.fingerprint.readings import LOCALS_READERS

_STARS = 0x4 | 0x8  # *args, **kwargs
_WAYS = frozenset({O.JUMP, O.BRANCH, O.OR_POP, O.FORK, O.END})
_NAMES = frozenset({O.FAST, O.DEREF, O.GLOBAL})
_STORES = frozenset({O.STORE_FAST, O.STORE_DEREF})


def rewrite(code: CodeType, found: Instructions) -> None:
    """Change the instructions of `code` in place."""
    if found.swaps:
        _apply_swaps(found)
    if found.makes and code.co_flags & CO_OPTIMIZED:
        for at in found.makes:
            _leave_out_annotations(found, at)
            _leave_out_defaults(found, at)


def leave_out_imports(found: Instructions, told: Iterable[tuple[int, int]]) -> None:
    """Those at the top of a body that only bind variables: what is read of them is told, as of an import outside.

    One that may be skipped, or whose failure may be caught, is more than that.
    """
    straight = next((at for at, kind in enumerate(found.kinds) if kind in _WAYS), len(found.kinds))
    straight = min([straight, *found.landings])
    for first, last in told:
        handled = found.handlers and any(found.handlers[first : last + 1])
        if last < straight and not handled and first >= 0:
            for at in range(first, last + 1):
                _remove(found, at)


def _remove(found: Instructions, at: int) -> None:
    # A jump to the next instruction is no instruction: nothing moves, so all targets stay right.
    found.kinds[at], found.ops[at], found.args[at] = O.JUMP, 0, 0
    found.targets[at] = at + 1
    found.passed += (at + 1,)


def _apply_swaps(found: Instructions) -> None:
    """Store in the order of the stack, without swapping first.

    `a, b = b, a` swaps and stores, or stores in the other order: CPython takes the second way when all is on one line.
    """
    ops, args = found.ops, found.args
    at = 0
    while at < len(ops):
        if ops[at] != O.SWAP:
            at += 1
            continue
        first = at
        while at < len(ops) and ops[at] == O.SWAP and (at == first or at not in found.landings):
            at += 1
        stores = at
        while at < len(ops) and ops[at] in {O.STORE_FAST, O.POP_TOP} and at not in found.landings:
            at += 1
        names = [args[i] for i in range(stores, at) if ops[i] == O.STORE_FAST]
        depth = max(int(str(args[i])) for i in range(first, stores))
        if depth > at - stores or len(set(names)) < len(names):
            continue
        stack = list(range(at - stores))  # from the top: what was there before the swaps
        for i in range(first, stores):
            other = int(str(args[i])) - 1
            stack[0], stack[other] = stack[other], stack[0]
        stored = sorted(zip(stack, range(stores, at)))  # noqa: B905 - of one length
        moved = [(found.kinds[i], ops[i], args[i]) for _, i in stored]
        for i in range(first, stores):
            _remove(found, i)
        for i, (kind, op, arg) in zip(range(stores, at), moved):  # noqa: B905
            found.kinds[i], ops[i], args[i] = kind, op, arg


def _leave_out_annotations(found: Instructions, at: int) -> None:
    """Those of an inner function that is only stored: nothing but its name leads to them.

    A decorator may read them, and so may whatever a function is passed to while it is made: those are kept. What
    `functools.wraps` gives does not.
    """
    last = annotations_at(found, at)
    if last is None:
        return
    ops, args = found.ops, found.args
    setters = _setters(found, at)
    after = max([at, *setters]) + 1
    first = _start_of_value(found, last)
    if first is None:
        return
    if after + 1 < len(ops) and ops[after] in O.CALLS and _is_by_wraps(found, first - 1):
        after += 1
    if after >= len(ops) or ops[after] not in _STORES:
        return
    for each in range(first, last + 1):
        _remove(found, each)
    if O.V313:
        _remove(found, next(each for each in setters if args[each] == O.ANNOTATIONS))
    else:
        args[at] = int(str(args[at])) - O.ANNOTATIONS


def _is_by_wraps(found: Instructions, last: int) -> bool:
    """Whether what is left at `last` is `functools.wraps(fn)`, perhaps with defaults above it."""
    kinds, args = found.kinds, found.args
    if last > 0 and kinds[last] == O.CONST and type(args[last]) is tuple:
        last -= 1
    if last < 2 or found.ops[last] not in O.CALLS or args[last] != 1 or kinds[last - 1] not in _NAMES:
        return False
    return args[last - 2] == "wraps" and kinds[last - 2] in {O.ATTR, O.GLOBAL}


def _leave_out_defaults(found: Instructions, at: int) -> None:
    """The last defaults of an inner function, where nothing reads their parameters: as `_kept_parameters` does it."""
    flags, inner = _flags(found, at), found.args[at - 1]
    if flags & ~O.CLOSURE != O.DEFAULTS or type(inner) is not CodeType:
        return
    last = at - 2 - bool(flags & O.CLOSURE)
    while last > 0 and _is_removed(found, last):
        last -= 1
    defaults = found.args[last] if last >= 0 and found.kinds[last] == O.CONST else None
    if type(defaults) is not tuple or inner.co_flags & _STARS or not LOCALS_READERS.isdisjoint(inner.co_names):
        return
    body = decode(inner)
    read = {arg for kind, arg in zip(body.kinds, body.args) if kind in {O.FAST, O.DEREF}}  # noqa: B905 - of one length
    optional = inner.co_varnames[inner.co_argcount - len(defaults) : inner.co_argcount]
    kept = next((end for end in range(len(optional), 0, -1) if optional[end - 1] in read), 0)
    if kept < len(optional):
        found.unused[at - 1] = len(optional) - kept
        found.args[last] = defaults[:kept]
    if not kept:
        _remove(found, last)
        if O.V313:
            _remove(found, next(each for each in _setters(found, at) if found.args[each] == O.DEFAULTS))
        else:
            found.args[at] = flags - O.DEFAULTS


def _is_removed(found: Instructions, at: int) -> bool:
    return found.kinds[at] == O.JUMP and found.targets.get(at) == at + 1


def annotations_at(found: Instructions, at: int) -> int | None:
    """The instruction that leaves the annotations of the function made at `at`; None if it has none."""
    flags = _flags(found, at)
    return at - 2 - bool(flags & O.CLOSURE) if flags & O.ANNOTATIONS else None


def _flags(found: Instructions, at: int) -> int:
    """What else the function made at `at` is given: its defaults, annotations, closure."""
    args: list[Any] = found.args
    flags: int = sum(args[each] for each in _setters(found, at)) if O.V313 else args[at]
    return flags


def _setters(found: Instructions, at: int) -> list[int]:
    setters, after = [], at + 1
    while after < len(found.ops):
        if found.ops[after] == O.SET_FUNCTION_ATTRIBUTE:
            setters.append(after)
        elif not _is_removed(found, after):
            break
        after += 1
    return setters


def _start_of_value(found: Instructions, last: int) -> int | None:
    """The first of the instructions that make the value that `last` leaves; None for what is not simple."""
    needed, at = 1, last
    while True:
        if at < 0 or (needed and at + 1 in found.landings and at != last):
            return None
        taken = _takes(found, at)
        if taken is None:
            return None
        needed += taken - 1
        if needed == 0:
            return at
        at -= 1


def _takes(found: Instructions, at: int) -> int | None:
    """How many values an instruction takes that leaves one; None for all others."""
    kind, op = found.kinds[at], found.ops[at]
    if kind in {O.CONST, O.FAST, O.DEREF} and op & 255 in O.LOADS:
        return 0
    if kind == O.GLOBAL:
        return None if O.V311 and op >> 8 else 0
    if kind == O.ATTR:
        return None if op >> 8 or op == O.LOAD_METHOD else 1
    if op in {O.BUILD_TUPLE, O.BUILD_LIST}:
        return int(str(found.args[at]))
    return 2 if op in {O.BINARY_SUBSCR, O.BINARY_OR} or (op == O.BINARY_OP and found.args[at] == O.OR) else None
