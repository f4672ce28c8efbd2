"""A code object as instructions with their arguments resolved, without all that only tracing and caching see. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import compress, count
from types import CodeType

from cas_engine.fingerprint import opcodes as O  # noqa: N812 - a table, read like an enum

# By names of their own where they are asked for at every instruction: that is measurably quicker.
from cas_engine.fingerprint.opcodes import (
    CONST,
    DEREF,
    END,
    EXTEND,
    FAST,
    FAST_PAIR,
    MAKE,
    NAME_SHIFT,
    PLAIN,
    PLAIN_ARG,
    RETURN_CONST,
    SAME,
    STORE_FAST,
)

CO_OPTIMIZED = 0x1  # a function; class bodies and modules have no fast locals

# What a class body stores about where it was written, and not about what it is.
_PLACES = frozenset({"__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__"})

_NAMED = frozenset({O.GLOBAL, O.ATTR, O.NAME, O.SUPER, O.IMPORT})
_COUNTED = frozenset({O.MAKE, O.END})  # their argument is a number
_EXTEND, _SKIP = bytes([EXTEND]), bytes([O.SKIP])
_DROPPED = frozenset({O.POP_TOP, O.STORE_FAST})

Handler = tuple[int, int]  # the instruction that handles; depth of the stack and more, as packed by CPython


class Instructions:
    """Parallel lists, one entry for each instruction: columns are several times faster here than objects."""

    __slots__ = ("args", "handlers", "has_import", "kinds", "landings", "makes", "ops", "starts", "targets", "unused")

    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.ops: list[int] = []  # with the flags of the argument above the eighth bit
        self.args: list[object] = []  # a name, a constant, a number
        self.starts: list[int] = []  # the unit of two bytes at which it begins; only right while decoding
        self.targets: dict[int, int] = {}  # instruction that jumps -> instruction it jumps to
        self.landings: set[int] = set()  # what is jumped to
        self.handlers: list[Handler | None] = []  # empty when nothing is handled
        self.has_import = False
        self.makes: list[int] = []  # the instructions that make functions
        self.unused: dict[int, int] = {}  # how many last parameters of the code loaded there are read by nothing


def variables(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """(names by the argument of fast instructions, by that of cell instructions, first fast index of a free one)."""
    if not O.V311:
        return code.co_varnames, code.co_cellvars + code.co_freevars, len(code.co_varnames)
    local = code.co_varnames
    own = local
    if code.co_cellvars:
        own += tuple(name for name in code.co_cellvars if name not in local)
    slots = own + code.co_freevars
    return slots, slots, len(own)


def decode(code: CodeType) -> Instructions:
    """The instructions of `code`; a jump to a skipped one lands on the next that counts."""
    found = Instructions()
    kinds, ops, args = found.kinds, found.ops, found.args
    consts, names = code.co_consts, code.co_names
    fasts, cells, free_from = variables(code)
    in_class = not code.co_flags & CO_OPTIMIZED
    raw = code.co_code
    raw_kinds = raw[::2].translate(O.KIND)
    starts = found.starts
    jumps: list[tuple[int, int]] = []
    arguments: Sequence[int] = raw[1::2]
    if EXTEND in raw_kinds:
        arguments = _extended(raw_kinds, arguments)
        raw_kinds = raw_kinds.replace(_EXTEND, _SKIP)
    # Only what is not skipped, whose kind is 0: half of the units are caches.
    units = zip(count(), raw_kinds, raw[::2].translate(SAME), arguments)
    for unit, kind, op, arg in compress(units, raw_kinds):
        starts.append(unit)
        if kind == PLAIN:
            kinds.append(kind)
            ops.append(op)
            args.append(arg if PLAIN_ARG[op] else 0)
        elif kind == FAST:
            if op == STORE_FAST and ops and ops[-1] in _DROPPED:
                _drop_dead_store(found, fasts[arg])
            kinds.append(kind if arg < free_from else DEREF)
            ops.append(op)
            args.append(fasts[arg])
        elif kind == CONST:
            kinds.append(kind)
            ops.append(op)
            args.append(consts[arg])
            if type(consts[arg]) is CodeType:
                _forget_closure_order(found, len(consts[arg].co_freevars))
        elif kind in _NAMED:
            shift = NAME_SHIFT.get(op, 0)
            kinds.append(kind)
            ops.append(op | (arg & ((1 << shift) - 1)) << 8)
            args.append(names[arg >> shift])
            if in_class and op == O.STORE_NAME and args[-1] in _PLACES:
                _forget_place(found)
        elif kind == DEREF:
            kinds.append(kind)
            ops.append(op)
            args.append(cells[arg])
        elif kind == FAST_PAIR:
            starts.append(unit)
            for each, slot in zip(O.PAIR[op], (arg >> 4, arg & 15)):  # noqa: B905
                if each == STORE_FAST:
                    _drop_dead_store(found, fasts[slot])
                kinds.append(FAST)
                ops.append(each)
                args.append(fasts[slot])
        elif kind == RETURN_CONST:
            starts.append(unit)
            kinds += (CONST, END)
            ops += (O.LOAD_CONST, O.RETURN_VALUE)
            args += (consts[arg], 0)
        else:
            if kind == MAKE:
                if not O.V311:
                    _forget_last(found)  # the qualified name of the function, a constant up to 3.10
                    starts[-1] = unit
                found.makes.append(len(ops))
            elif kind not in _COUNTED:
                jumps.append((len(ops), _target(op, arg, unit + 1)))
            kinds.append(kind)
            ops.append(op)
            args.append(arg if PLAIN_ARG[op] and kind in _COUNTED else 0)
    found.targets = {index: bisect_left(starts, unit) for index, unit in jumps}
    found.landings = set(found.targets.values())
    found.has_import = O.IMPORT in raw_kinds
    if O.V311 and code.co_exceptiontable:
        _read_handlers(found, code.co_exceptiontable)
    return found


def _extended(kinds: bytes, arguments: Sequence[int]) -> list[int]:
    """The arguments with what prefixes add to them."""
    whole = list(arguments)
    for unit, kind in enumerate(kinds):
        if kind == EXTEND:
            whole[unit + 1] |= whole[unit] << 8
    return whole


def _target(op: int, arg: int, next_unit: int) -> int:
    if O.ABSOLUTE[op]:
        return arg
    return next_unit + O.CACHES[op] + (-arg if O.BACKWARD[op] else arg)


def _forget_last(found: Instructions) -> None:
    found.kinds.pop()
    found.ops.pop()
    found.args.pop()
    found.starts.pop()


def _drop_dead_store(found: Instructions, name: str) -> None:
    # Stored and at once stored over, as in `for _, _, x in ...`: CPython drops the value where both are on one line.
    at = len(found.ops) - 1
    while at >= 0 and (found.ops[at] == O.POP_TOP or found.ops[at] == O.STORE_FAST):
        if found.args[at] == name:
            found.kinds[at], found.ops[at], found.args[at] = O.PLAIN, O.POP_TOP, 0
        at -= 1


def _forget_place(found: Instructions) -> None:
    """Drop `STORE_NAME __doc__` and the like, with the constant that it stores."""
    if len(found.ops) > 1 and found.ops[-2] in {O.LOAD_CONST, O.LOAD_NAME}:
        _forget_last(found)
        _forget_last(found)


def _forget_closure_order(found: Instructions, count: int) -> None:
    """Drop the loads that make an inner function's closure: CPython sorts them by name, and names don't count.

    Which variables they are is told by the inner function's own instructions.
    """
    start = len(found.ops) - 2 - count
    if count and start >= 0 and found.ops[-2] == O.BUILD_TUPLE and found.args[-2] == count:
        del found.kinds[start:-2]
        del found.ops[start:-2]
        del found.args[start:-2]
        del found.starts[start:-2]


def _read_handlers(found: Instructions, table: bytes) -> None:
    handlers: list[Handler | None] = [None] * len(found.ops)
    starts = found.starts
    for start, length, target, packed in _entries(table):
        where = bisect_left(starts, target)
        found.landings.add(where)
        for index in range(bisect_left(starts, start), bisect_left(starts, start + length)):
            handlers[index] = (where, packed)
    found.handlers = handlers


def _entries(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The rows of an exception table, in units (see Objects/exception_handling_notes.txt in CPython)."""
    row: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            row.append(value)
            value = 0
        if len(row) == 4:
            yield row[0], row[1], row[2], row[3]
            row = []
