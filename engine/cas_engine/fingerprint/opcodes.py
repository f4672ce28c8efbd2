"""What each opcode of the running Python means to a fingerprint: where versions of CPython differ. Pure."""

from __future__ import annotations

import opcode
import sys

# How an instruction is read. The order is nothing; the groups are.
SKIP = 0  # says nothing about what is computed: padding, prefixes of arguments, caches, cells that others imply
PLAIN = 2  # the raw argument counts (or there is none)
CONST = 3  # the argument is a constant
RETURN_CONST = 4  # a constant, then a return
FAST = 5  # a local variable
FAST_PAIR = 6  # two local variables in one instruction, made where both stand on one line
DEREF = 7  # a variable shared with an inner or an outer function
GLOBAL = 8  # reads a name of the module or the builtins
ATTR = 9  # an attribute of what lies on the stack
NAME = 10  # another instruction with a name
IMPORT = 11  # imports a module
JUMP = 12  # goes elsewhere, whatever the values
BRANCH = 13  # takes a value and goes one of two ways
OR_POP = 14  # goes one of two ways, and one of them keeps the value (up to 3.11)
FORK = 15  # any other instruction with a second way on: a loop's end, the start of a handler
END = 16  # nothing follows
MAKE = 17  # makes a function
SUPER = 18  # an attribute of super()
JUMPING = frozenset({JUMP, BRANCH, OR_POP, FORK})
NAMED = frozenset({GLOBAL, ATTR, NAME, SUPER, IMPORT})

V311 = sys.version_info >= (3, 11)
V312 = sys.version_info >= (3, 12)
V313 = sys.version_info >= (3, 13)

# PUSH_NULL: CPython has several ways to call one thing, and takes another where it sees the import of a module.
_SKIPPED = frozenset(
    {"PUSH_NULL", "NOP", "CACHE", "RESUME", "PRECALL", "MAKE_CELL", "COPY_FREE_VARS", "GEN_START", "NOT_TAKEN"}
    | {"EXTENDED_ARG"}
)
_JUMPS = frozenset(
    {"JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_NO_INTERRUPT"}
)
_ENDS = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE"})
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_PAIRS = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}
# Several opcodes with one meaning: which of them is taken depends on the layout of the code.
_SAME = {"CALL_METHOD": "CALL_FUNCTION", "LOAD_FAST_CHECK": "LOAD_FAST", "LOAD_FAST_BORROW": "LOAD_FAST"}

_JUMPING = frozenset(opcode.hasjrel) | frozenset(opcode.hasjabs) | frozenset(getattr(opcode, "hasjump", ()))


def number(name: str) -> int:
    """The opcode of that name, or -1 where this Python has none."""
    return opcode.opmap.get(name, -1)


def _kind(op: int, name: str) -> int:
    named = (
        (name in _SKIPPED, SKIP),
        (name == "RETURN_CONST", RETURN_CONST),
        (name in _PAIRS, FAST_PAIR),
        (name in _JUMPS, JUMP),
        (name in _ENDS, END),
        (name.endswith("_OR_POP"), OR_POP),
        (name.startswith("POP_JUMP_"), BRANCH),
        (op in _JUMPING, FORK),
        (name in _READS, GLOBAL),
        (name in {"LOAD_ATTR", "LOAD_METHOD"}, ATTR),
        (name == "LOAD_SUPER_ATTR", SUPER),
        (name == "IMPORT_NAME", IMPORT),
        (name == "MAKE_FUNCTION", MAKE),
        (op in opcode.hasconst, CONST),
        (op in opcode.hasname, NAME),
        (op in opcode.haslocal, FAST),
        (op in opcode.hasfree, DEREF),
    )
    return next((kind for holds, kind in named if holds), PLAIN)


KIND = bytes(_kind(op, name) for op, name in enumerate(opcode.opname[:256]))  # bytes, to translate code with
SKIPPED = bytes(op for op, kind in enumerate(KIND) if kind == SKIP)
SAME = bytes(opcode.opmap.get(_SAME.get(name, name), op) for op, name in enumerate(opcode.opname[:256]))
PAIR = {number(name): (number(a), number(b)) for name, (a, b) in _PAIRS.items() if number(name) >= 0}


def _cache_units(op: int) -> int:
    # 3.12 and later count a jump from behind the caches of the jump itself.
    entries = getattr(opcode, "_inline_cache_entries", None)
    if isinstance(entries, dict):
        return int(entries.get(opcode.opname[op], 0))
    return int(entries[op]) if entries and op < len(entries) else 0


def _jump(op: int, name: str) -> tuple[int, int]:
    if op in opcode.hasjabs:
        return 1, 0
    backward = "JUMP_BACKWARD" in name or name.startswith("POP_JUMP_BACKWARD")
    return -1 if backward else 1, 1 + _cache_units(op)


# How far a jump leads for each unit of its argument, and from how far behind the jump; 0 where it says from the start.
JUMPS = [_jump(op, name) for op, name in enumerate(opcode.opname[:256])]

HAVE_ARGUMENT = opcode.HAVE_ARGUMENT

# A branch in one form: what is asked of the value, and whether the jump is taken when the answer is yes.
IS_TRUE, IS_NONE = "?", "?None"


def _branch(name: str) -> tuple[str, bool]:
    if name.endswith("_NONE"):
        return IS_NONE, not name.endswith("_NOT_NONE")
    return IS_TRUE, name.endswith("_TRUE")


BRANCHES = {op: _branch(name) for op, name in enumerate(opcode.opname[:256]) if KIND[op] == BRANCH}
OR_POP_IF_TRUE = {op: "TRUE" in name for op, name in enumerate(opcode.opname[:256]) if KIND[op] == OR_POP}

# Arguments that carry flags in their low bits: the name is what is left of them.
NAME_SHIFT = {number("LOAD_SUPER_ATTR"): 2}
if V311:
    NAME_SHIFT[number("LOAD_GLOBAL")] = 1
if V312:
    NAME_SHIFT[number("LOAD_ATTR")] = 1

EXTENDED_ARG = number("EXTENDED_ARG")
LOAD_CONST = number("LOAD_CONST")
LOAD_GLOBAL = number("LOAD_GLOBAL")
RETURN_VALUE = number("RETURN_VALUE")
BUILD_TUPLE = number("BUILD_TUPLE")
STORE_NAME = number("STORE_NAME")
LOAD_NAME = number("LOAD_NAME")
STORE_GLOBAL = number("STORE_GLOBAL")
DELETE_GLOBAL = number("DELETE_GLOBAL")
STORE_ATTR = number("STORE_ATTR")
IMPORT_FROM = number("IMPORT_FROM")
SWAP = number("SWAP")
MAKE_FUNCTION = number("MAKE_FUNCTION")
POP_TOP = number("POP_TOP")
STORE_FAST = number("STORE_FAST")
STORE_DEREF = number("STORE_DEREF")
LOADS_OF_VARIABLES = frozenset(
    number(name) for name in ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
) - {-1}
LOADS = LOADS_OF_VARIABLES | {LOAD_CONST}
STORES_OF_VARIABLES = frozenset(
    number(name) for name in ("STORE_FAST", "STORE_DEREF", "DELETE_FAST", "DELETE_DEREF")
) - {-1}
STORES_OF_CELLS = frozenset(number(name) for name in ("STORE_DEREF", "DELETE_DEREF")) - {-1}
INPLACE = frozenset(op for op, name in enumerate(opcode.opname[:256]) if name.startswith("INPLACE_"))
BINARY_OP = number("BINARY_OP")
BINARY_SUBSCR = number("BINARY_SUBSCR")
BINARY_OR = number("BINARY_OR")
OR = 7  # the argument of BINARY_OP for |
BUILD_LIST = number("BUILD_LIST")
BUILDS = frozenset(map(number, ("BUILD_LIST", "BUILD_MAP", "BUILD_CONST_KEY_MAP", "LIST_EXTEND"))) - {-1}
DEFAULTS, ANNOTATIONS, CLOSURE = 1, 4, 8  # flags of MAKE_FUNCTION
LOAD_METHOD = number("LOAD_METHOD")
SET_FUNCTION_ATTRIBUTE = number("SET_FUNCTION_ATTRIBUTE")
CALLS = frozenset(op for op, name in enumerate(opcode.opname[:256]) if name.startswith("CALL"))
