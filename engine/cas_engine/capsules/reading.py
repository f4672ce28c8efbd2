"""Whether code only reads a table that it knows by a name, and hands it to nobody. Pure; when in doubt, it does not."""

from __future__ import annotations

import builtins
import dis
import functools
import types

from cas_engine.fingerprint.bytecode import canonical
from cas_engine.fingerprint.references import FREE, GLOBAL
from cas_engine.fingerprint.resolve import Found, resolve

_TABLES = frozenset({list, dict, set})
_SIMPLE = frozenset({int, float, str, bool, bytes, complex, type(None)})
# What these do with a table of simple values leaves it alone, and does not keep it.
_FUNCTIONS = frozenset(
    ("len", "sum", "min", "max", "sorted", "any", "all", "list", "tuple", "set", "frozenset", "dict")
)
_METHODS = frozenset({"get", "items", "keys", "values", "index", "count", "copy"})

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_NAME"})
_CALLS = frozenset({"CALL", "CALL_FUNCTION"})
_SKIPPED = frozenset({"NOP", "CACHE", "EXTENDED_ARG", "PRECALL"})
_TESTS = frozenset(name for name in dis.opmap if name.startswith("POP_JUMP") and name.endswith(("_TRUE", "_FALSE")))
_TESTS |= {"UNARY_NOT", "TO_BOOL", "GET_LEN"}
# How many values an instruction takes from the stack. Those that are not here are not followed.
_TAKES = {
    **dict.fromkeys(("LOAD_CONST", "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_LOAD_FAST", *_LOADS, "PUSH_NULL"), 0),
    **dict.fromkeys(("UNARY_NEGATIVE", "UNARY_INVERT", "LOAD_ATTR", "LOAD_METHOD", "GET_ITER", *_TESTS), 1),
    **dict.fromkeys(("BINARY_SUBSCR", "CONTAINS_OP", "COMPARE_OP", "BINARY_OP"), 2),
    **dict.fromkeys(("BINARY_ADD", "BINARY_SUBTRACT", "BINARY_MULTIPLY", "BINARY_MODULO", "BINARY_FLOOR_DIVIDE"), 2),
    "BINARY_SLICE": 3,
}


def is_simple_table(value: object) -> bool:
    """Whether it is a list, dict or set of nothing but numbers, texts and the like, so that no part can change."""
    if type(value) not in _TABLES:
        return False
    kinds = set(map(type, value))  # type: ignore[call-overload]
    if isinstance(value, dict):
        kinds |= set(map(type, value.values()))
    return kinds <= _SIMPLE


def only_reads(fn: types.FunctionType, value: object) -> bool:
    """Whether all that the function does with this simple table is to look into it."""
    names: set[str] = set()
    for ref in canonical(fn.__code__).refs:
        found = resolve(ref, fn)
        if isinstance(found, Found) and found.obj is value:
            if ref.source not in (GLOBAL, FREE) or found.rest != ref.attrs:
                return False  # through a module, or an import
            names.add(ref.name)
    hidden = frozenset(name for name in _FUNCTIONS if name in fn.__globals__ or not hasattr(builtins, name))
    return bool(names) and all(_only_reads(fn.__code__, name, hidden) for name in names)


@functools.lru_cache(4096)
def _only_reads(code: types.CodeType, name: str, hidden: frozenset[str]) -> bool:
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SKIPPED]
    for at, step in enumerate(steps):
        if step.argval != name or step.opname not in _LOADS:
            if step.argval == name and step.opname.startswith(("STORE_", "DELETE_")):
                return False
            continue
        if not _is_looked_into(steps, at, hidden):
            return False
    return all(_only_reads(inner, name, hidden) for inner in code.co_consts if isinstance(inner, types.CodeType))


def _is_looked_into(steps: list[dis.Instruction], at: int, hidden: frozenset[str]) -> bool:
    """Whether what the instruction at this place puts on the stack is taken from it by one that looks into it."""
    depth = 1  # of the table, from the top
    if dis.stack_effect(steps[at].opcode, steps[at].arg) != 1:
        return False  # it is called
    for step in steps[at + 1 :]:
        takes = _taken_by(step)
        if takes < 0 or step.is_jump_target:
            return False
        if takes >= depth:
            is_argument = step.opname in _CALLS and depth == step.arg
            return (is_argument and _is_known(steps, at, hidden)) or _looks(step, depth)
        if step.opname.startswith("POP_JUMP"):
            return False  # it may be taken in several places
        depth += dis.stack_effect(step.opcode, step.arg)
    return False


def _taken_by(step: dis.Instruction) -> int:
    if step.opname in _CALLS:
        return (step.arg or 0) + 1
    if step.opname == "BUILD_SLICE":
        return step.arg or 0
    return _TAKES.get(step.opname, -1)


def _looks(step: dis.Instruction, depth: int) -> bool:
    name = step.opname
    if name in {"BINARY_SUBSCR", "BINARY_SLICE"}:
        return depth == _TAKES[name]
    if name in {"LOAD_ATTR", "LOAD_METHOD"}:
        return step.argval in _METHODS
    return name in {"CONTAINS_OP", "GET_ITER", *_TESTS} and depth == 1


def _is_known(steps: list[dis.Instruction], at: int, hidden: frozenset[str]) -> bool:
    """Whether the function that the table is the first argument of is one of Python's that only look into it."""
    before = at - 1
    while before >= 0 and steps[before].opname == "PUSH_NULL":
        before -= 1
    callee = steps[before] if before >= 0 else None
    return callee is not None and callee.opname == "LOAD_GLOBAL" and callee.argval in _FUNCTIONS - hidden
