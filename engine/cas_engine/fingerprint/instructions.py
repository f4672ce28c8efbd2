"""A code object as instructions with their arguments resolved, without all that only tracing and caching see. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import compress
from types import CodeType

from cas_engine.fingerprint import opcodes as O  # noqa: N812 - a table, read like an enum

# By names of their own where they are asked for at every instruction: that is measurably quicker.
from cas_engine.fingerprint.opcodes import (
    CONST,
    DEREF,
    END,
    FAST,
    JUMPING,
    JUMPS,
    KIND,
    MAKE,
    NAME_SHIFT,
    NAMED,
    PLAIN,
    SAME,
    SKIPPED,
    STORE_FAST,
)

CO_OPTIMIZED = 0x1  # a function; class bodies and modules have no fast locals

# What a class body stores about where it was written, and not about what it is.
_PLACES = frozenset({"__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__"})

_DOUBLE = frozenset({O.FAST_PAIR, O.RETURN_CONST})
_DROPPED = frozenset({O.POP_TOP, O.STORE_FAST})
_LOADS_OF_PLACES = frozenset({O.LOAD_CONST, O.LOAD_NAME})

_Spans = list[tuple[int, int]]
Handler = tuple[int, int]  # the instruction that handles; depth of the stack and more, as packed by CPython


class Instructions:
    """Parallel lists, one entry for each instruction: columns are several times faster here than objects."""

    __slots__ = (
        "args",
        "frees",
        "handlers",
        "has_import",
        "keeps",
        "kinds",
        "landings",
        "locals",
        "makes",
        "ops",
        "passed",
        "swaps",
        "targets",
        "unused",
    )

    def __init__(self, code: CodeType, kinds: list[int], ops: list[int], args: list[object]) -> None:
        self.locals, self.frees = code.co_varnames, code.co_freevars  # which CPython makes anew each time, up to 3.11
        self.kinds = kinds
        self.ops = ops  # with the flags of the argument above the eighth bit
        self.args = args  # a name, a constant, a number
        self.targets: dict[int, int] = {}  # instruction that jumps -> instruction it jumps to
        self.landings: set[int] = set()  # what is jumped to
        self.passed: tuple[int, ...] = ()  # what follows on instructions that were removed
        self.handlers: Sequence[Handler | None] = ()  # empty when nothing is handled
        self.makes: Sequence[int] = ()  # the instructions that make functions with annotations or defaults
        self.has_import = False
        self.keeps = False  # whether a jump may keep a value
        self.swaps = False
        self.unused: dict[int, int] = {}  # how many last parameters of the code loaded there are read by nothing


def decode(code: CodeType) -> Instructions:
    """The instructions of `code`; a jump to a skipped one lands on the next that counts."""
    raw = code.co_code
    units = raw[::2]
    arguments: Sequence[int] = raw[1::2]
    if O.EXTENDED_ARG in units:
        arguments = _extended(units, arguments)
    if not O.V311:  # where an instruction may be what became of one with an argument, and keep that
        arguments = [arg if op >= O.HAVE_ARGUMENT else 0 for op, arg in zip(units, arguments)]  # noqa: B905
    kinds = units.translate(KIND)
    # The columns are cut out by what works on all bytes at once.
    found = Instructions(
        code,
        list(units.translate(KIND, SKIPPED)),
        list(units.translate(SAME, SKIPPED)),
        list(compress(arguments, kinds)),
    )
    starts = list(compress(range(len(kinds)), kinds))  # the unit of two bytes at which each begins
    if O.V312:
        _split(found, starts)
    jumps, unused = _name(found, code, starts)
    for first, end in reversed(unused):  # from the back: what lies before stays where it is
        del found.kinds[first:end], found.ops[first:end], found.args[first:end], starts[first:end]
    if jumps:
        found.targets = targets = {bisect_left(starts, unit): bisect_left(starts, target) for unit, target in jumps}
        found.landings = set(targets.values())
    if MAKE in kinds:
        found.makes = _makes(found)
    found.has_import = O.IMPORT in kinds
    found.keeps = O.OR_POP in kinds
    found.swaps = O.V311 and O.SWAP in units
    if O.V311 and code.co_exceptiontable:
        _read_handlers(found, code.co_exceptiontable, starts)
    return found


def _makes(found: Instructions) -> list[int]:
    """What makes functions with annotations or defaults, or may. All that makes any becomes a plain instruction."""
    kinds, args = found.kinds, found.args
    makes: list[int] = []
    at = -1
    for _ in range(kinds.count(MAKE)):
        at = kinds.index(MAKE, at + 1)
        kinds[at] = PLAIN
        flags: int = args[at]  # type: ignore[assignment]
        if O.V313 or flags & (O.DEFAULTS | O.ANNOTATIONS):
            makes.append(at)
    return makes


def _extended(units: bytes, arguments: Sequence[int]) -> list[int]:
    """The arguments with what prefixes add to them."""
    whole = list(arguments)
    for unit, op in enumerate(units):
        if op == O.EXTENDED_ARG:
            whole[unit + 1] |= whole[unit] << 8
    return whole


def _split(found: Instructions, starts: list[int]) -> None:
    """Make two of each instruction that CPython made of two."""
    kinds, ops, args = found.kinds, found.ops, found.args
    for at in [at for at, kind in enumerate(kinds) if kind in _DOUBLE][::-1]:
        arg: int = args[at]  # type: ignore[assignment]
        starts.insert(at, starts[at])
        if kinds[at] == O.RETURN_CONST:
            kinds[at : at + 1], ops[at : at + 1], args[at : at + 1] = (
                (CONST, END),
                (O.LOAD_CONST, O.RETURN_VALUE),
                (arg, 0),
            )
        else:
            kinds[at : at + 1], ops[at : at + 1], args[at : at + 1] = (
                (FAST, FAST),
                O.PAIR[ops[at]],
                (arg >> 4, arg & 15),
            )


def _name(found: Instructions, code: CodeType, starts: list[int]) -> tuple[_Spans, _Spans]:
    """Put names and constants in the place of their numbers.

    Gives (from which unit to which one jumps lead, first and end of the instructions that say only where and how code
    was written).
    """
    kinds, ops, args = found.kinds, found.ops, found.args
    consts, names = code.co_consts, code.co_names
    fasts = found.locals  # by the argument of instructions for local variables
    if O.V311:
        if code.co_cellvars:
            fasts += tuple(name for name in code.co_cellvars if name not in found.locals)
        free_from = len(fasts)
        fasts += found.frees
        cells = fasts
    else:
        free_from = len(fasts)
        cells = code.co_cellvars + found.frees
    jumps: _Spans = []
    unused: _Spans = []
    arg: int
    for at, kind in enumerate(kinds):
        if kind == PLAIN:
            continue
        arg = args[at]  # type: ignore[assignment]
        if kind == FAST:
            args[at] = fasts[arg]
            if ops[at] == STORE_FAST and at and ops[at - 1] in _DROPPED:
                _drop_dead_store(found, at)
            if arg >= free_from:
                kinds[at] = DEREF
        elif kind == CONST:
            value = args[at] = consts[arg]
            if type(value) is CodeType and value.co_freevars:
                unused += _order_of_closure(found, at, len(value.co_freevars))
        elif kind in JUMPING:
            unit = starts[at]
            steps, behind = JUMPS[ops[at]]
            jumps.append((unit, arg * steps + (unit + behind if behind else 0)))
        elif kind in NAMED:
            op = ops[at]
            shift = NAME_SHIFT.get(op)
            if shift is None:
                args[at] = names[arg]
                if op == O.STORE_NAME and not code.co_flags & CO_OPTIMIZED:
                    unused += _place(found, at)
            else:
                ops[at] = op | (arg & ((1 << shift) - 1)) << 8
                args[at] = names[arg >> shift]
        elif kind == DEREF:
            args[at] = cells[arg]
        elif kind == MAKE and not O.V311:
            unused.append((at - 1, at))  # the qualified name of the function, a constant up to 3.10
    return jumps, unused


def _drop_dead_store(found: Instructions, at: int) -> None:
    # Stored and at once stored over, as in `for _, _, x in ...`: CPython drops the value where both are on one line.
    name = found.args[at]
    at -= 1
    while at >= 0 and (found.ops[at] == O.POP_TOP or found.ops[at] == O.STORE_FAST):
        if found.args[at] == name:
            found.kinds[at], found.ops[at], found.args[at] = PLAIN, O.POP_TOP, 0
        at -= 1


def _place(found: Instructions, at: int) -> _Spans:
    """`STORE_NAME __doc__` and the like, with the constant that it stores."""
    is_one = at and found.args[at] in _PLACES and found.ops[at - 1] in _LOADS_OF_PLACES
    return [(at - 1, at + 1)] if is_one else []


def _order_of_closure(found: Instructions, at: int, count: int) -> _Spans:
    """The loads that make an inner function's closure: CPython sorts them by name, and names don't count.

    Which variables they are is told by the inner function's own instructions.
    """
    start = at - 1 - count
    is_one = start >= 0 and found.ops[at - 1] == O.BUILD_TUPLE and found.args[at - 1] == count
    return [(start, at - 1)] if is_one else []


def _read_handlers(found: Instructions, table: bytes, starts: list[int]) -> None:
    handlers: list[Handler | None] = [None] * len(found.ops)
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
