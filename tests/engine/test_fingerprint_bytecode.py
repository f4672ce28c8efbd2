"""The canonical form of a code object depends on what the code does, and on nothing else."""

from __future__ import annotations

import ast
import dis
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from cas_engine.fingerprint.bytecode import Canonical, canonical


def form(source: str) -> Canonical:
    return canonical(code_of(source))


def code_of(source: str) -> CodeType:
    module = compile(textwrap.dedent(source), "<test>", "exec", dont_inherit=True)
    return next(const for const in module.co_consts if isinstance(const, CodeType))


def whole(found: Canonical) -> tuple[object, ...]:
    return found.digest, found.parameters, found.refs


SAME = {
    "comments and blank lines": ("def f(x):\n    return x + 1", "def f(x):\n\n    # one\n    return x + 1  # two"),
    "a docstring": ("def f(x):\n    return x", 'def f(x):\n    """Doc."""\n    return x'),
    "another docstring": ('def f(x):\n    "a"\n    return x', 'def f(x):\n    "bb"\n    return x'),
    "line breaks": ("def f(a, b, c): return (a and b) or c", "def f(a, b, c):\n    return (a\n        and b) or c"),
    "a swap on two lines": (
        "def f(a, b):\n    a, b = b, a\n    return a",
        "def f(a, b):\n    (a,\n     b) = b, a\n    return a",
    ),
    "dropped values": ("def f(x):\n    _, _, y = x\n    return y", "def f(x):\n    (_,\n     _, y) = x\n    return y"),
    "how a number is written": ("def f(): return 1000 + 16", "def f(): return 1_000 + 0x10"),
    "quotes": ("def f(): return 'a' \"b\"", "def f(): return 'ab'"),
    "the order of a set of constants": ("def f(x): return x in {1, 'a', 'b'}", "def f(x): return x in {'b', 'a', 1}"),
    "the function's name": ("def f(x): return x", "def g(x): return x"),
    "names of local variables": ("def f(x):\n    a = x\n    return a", "def f(x):\n    b = x\n    return b"),
    "names of shared variables, whose order changes": (
        "def f():\n    a = 1; z = 2\n    return lambda: a - z",
        "def f():\n    z = 1; a = 2\n    return lambda: z - a",
    ),
    "the name of a lambda's parameter": (
        "def f(x): return map(lambda a: a, x)",
        "def f(x): return map(lambda b: b, x)",
    ),
    "names of things that are read": ("def f(x): return g(x) + m.h(x)", "def f(x): return k(x) + n.j(x)"),
    "annotations": ("def f(x): return x", "def f(x: int) -> str: return x"),
    "annotations of a local variable": (
        "def f(x):\n    y = x\n    return y",
        "def f(x):\n    y: int = x\n    return y",
    ),
    "annotations of an inner function": (
        "def f():\n    def g(x, y=1): return x\n    return g",
        "def f():\n    def g(x: list[int], y: a.b = 1) -> 'str': return x\n    return g",
    ),
    "the docstring of an inner class": (
        "def f():\n    class A:\n        x = 1\n    return A",
        'def f():\n    class A:\n        """Doc."""\n\n        x = 1\n    return A',
    ),
    "whether the compiler sees the import of a module": (
        "import h\ndef f(x): return h.g(x) + h.a.g(x, y=1) + h.g",
        "def f(x): return h.g(x) + h.a.g(x, y=1) + h.g",
    ),
    "a constant that is only there": ("def f(x):\n    return x", "def f(x):\n    3\n    return x"),
    "pass": ("def f(x):\n    if x: y = 1", "def f(x):\n    if x:\n        pass\n        y = 1"),
    "elif or else with an if": (
        "def f(x):\n    if x == 1: return 1\n    elif x == 2: return 2\n    return 3",
        "def f(x):\n    if x == 1:\n        return 1\n    else:\n        if x == 2: return 2\n    return 3",
    ),
}

DIFFERENT = {
    "a constant": ("def f(): return 1", "def f(): return 2"),
    "1 and True": ("def f(): return 1", "def f(): return True"),
    "1 and 1.0": ("def f(): return 1", "def f(): return 1.0"),
    "0.0 and -0.0": ("def f(): return 0.0", "def f(): return -0.0"),
    "the sign of an imaginary zero": ("def f(): return 0j", "def f(): return -0j"),
    "types deep in a tuple": ("def f(): return (1, (2, 3))", "def f(): return (1, (2, 3.0))"),
    "types in a set of constants": ("def f(x): return x in {1, 2}", "def f(x): return x in {1.0, 2}"),
    "text and bytes": ("def f(): return 'a'", "def f(): return b'a'"),
    "an empty tuple and None": ("def f(): return ()", "def f(): return None"),
    "the cut between two texts": ("def f(): return 'ab', 'c'", "def f(): return 'a', 'bc'"),
    "an operator": ("def f(x): return x + 1", "def f(x): return x - 1"),
    "a comparison": ("def f(x): return x < 1", "def f(x): return x <= 1"),
    "and turned into or": ("def f(x, y): return x and y", "def f(x, y): return x or y"),
    "is turned into is not": ("def f(x): return x is None", "def f(x): return x is not None"),
    "a condition turned round": (
        "def f(x):\n    if x: return 1\n    return 2",
        "def f(x):\n    if not x: return 1\n    return 2",
    ),
    "operands": ("def f(x, y): return x - y", "def f(x, y): return y - x"),
    "an attribute of an argument": ("def f(x): return x.a", "def f(x): return x.b"),
    "which of two globals": ("def f(x): return a(x) - b(x)", "def f(x): return a(x) - a(x)"),
    "the name of a keyword": ("def f(x): return x(a=1)", "def f(x): return x(b=1)"),
    "a star": ("def f(x): return g(*x)", "def f(x): return g(x)"),
    "the name of a parameter": ("def f(x): return x", "def f(y): return y"),
    "the order of parameters": ("def f(x, y): return x - y", "def f(y, x): return x - y"),
    "positional only": ("def f(x, /): return x", "def f(x): return x"),
    "keyword only": ("def f(x, *, y): return y", "def f(x, y): return y"),
    "*args": ("def f(*x): return x", "def f(x): return x"),
    "**kwargs": ("def f(**x): return x", "def f(*x): return x"),
    "a generator": ("def f(x): return [x]", "def f(x): yield [x]"),
    "async": ("def f(x): return x", "async def f(x): return x"),
    "where a handler begins": (
        "def f(x):\n    try:\n        a(x); b(x)\n    except E: pass",
        "def f(x):\n    a(x)\n    try:\n        b(x)\n    except E: pass",
    ),
    "a handler's order": (
        "def f(x):\n    try: x()\n    except A: return 1\n    except B: return 2",
        "def f(x):\n    try: x()\n    except A: return 2\n    except B: return 1",
    ),
    "finally": (
        "def f(x):\n    try: return x()\n    finally: g()",
        "def f(x):\n    try: return x()\n    except BaseException: g()",
    ),
    "break and continue": (
        "def f(x):\n    for i in x:\n        if i: break\n        g(i)",
        "def f(x):\n    for i in x:\n        if i: continue\n        g(i)",
    ),
    "the else of a loop": (
        "def f(x):\n    for i in x:\n        if i: break\n    else: g()",
        "def f(x):\n    for i in x:\n        if i: break\n    g()",
    ),
    "a line in a loop": (
        "def f(x):\n    for i in x:\n        g(i)\n        h(i)",
        "def f(x):\n    for i in x:\n        g(i)\n    h(i)",
    ),
    "which of two variables": (
        "def f():\n    a = 1; b = 2\n    return lambda: a",
        "def f():\n    a = 1; b = 2\n    return lambda: b",
    ),
    "an inner function": ("def f(): return lambda x: x + 1", "def f(): return lambda x: x + 2"),
    "a default of an inner function": ("def f(): return lambda x=1: x", "def f(): return lambda x=2: x"),
    "a comprehension": ("def f(x): return [i for i in x]", "def f(x): return [i for i in x if i]"),
    "a list and a generator": ("def f(x): return [i for i in x]", "def f(x): return (i for i in x)"),
    "names of local variables that are read": (
        "def f(x):\n    a = x\n    return locals()",
        "def f(x):\n    b = x\n    return locals()",
    ),
    "a member of an inner class": (
        "def f():\n    class A:\n        x = 1\n    return A",
        "def f():\n    class A:\n        x = 2\n    return A",
    ),
    "annotations of an inner function that a decorator sees": (
        "def f():\n    @d\n    def g(x): return x",
        "def f():\n    @d\n    def g(x: int): return x",
    ),
    "an assertion": ("def f(x):\n    assert x\n    return x", "def f(x):\n    return x"),
    "a swap": ("def f(a, b):\n    a, b = b, a\n    return a, b", "def f(a, b):\n    a, b = a, b\n    return a, b"),
    "a pattern": (
        "def f(x):\n    match x:\n        case [1, y]: return y",
        "def f(x):\n    match x:\n        case [2, y]: return y",
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_count(what: str) -> None:
    one, two = SAME[what]
    forms = form(one), form(two)
    assert forms[0].digest == forms[1].digest
    if "name" not in what:
        assert whole(forms[0]) == whole(forms[1])


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_counts(what: str) -> None:
    one, two = DIFFERENT[what]
    assert whole(form(one)) != whole(form(two))


# --- no formatting leaves a trace


def functions_in(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from functions_in(const)


def reformatted(source: str, chance: random.Random) -> ast.Module:
    """The same text with its line breaks elsewhere, as far as the compiler sees them: in the positions of nodes."""
    tree = ast.parse(source)
    nodes: list[Any] = [node for node in ast.walk(tree) if hasattr(node, "lineno")]
    starts = {(node.lineno, node.col_offset) for node in nodes}
    ends = {(node.end_lineno, node.end_col_offset) for node in nodes}
    steps = chance.choice([(0,), (1,), (0, 0, 0, 1, 2)])
    moved, line, column = {}, 1, 0
    for place in sorted(starts | ends):
        step = chance.choice(steps)
        line, column = line + step, 0 if step else column + 1
        moved[place] = line, column
    for node in nodes:
        node.lineno, node.col_offset = moved[node.lineno, node.col_offset]
        node.end_lineno, node.end_col_offset = moved[node.end_lineno, node.end_col_offset]
    return tree


STANDARD = ["argparse", "ast", "textwrap", "dataclasses", "tarfile", "typing", "asyncio/base_events", "email/message"]


@pytest.mark.parametrize("module", STANDARD)
def test_no_formatting_changes_any_function_of_the_standard_library(module: str) -> None:
    path = Path(ast.__file__).parent / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    before = list(functions_in(compile(source, str(path), "exec", dont_inherit=True)))
    for seed in range(2):
        tree = reformatted(source, random.Random(seed))
        after = list(functions_in(compile(tree, str(path), "exec", dont_inherit=True)))
        if len(before) != len(after):
            continue  # two functions with one text on one line are one constant
        for one, two in zip(before, after, strict=True):
            assert whole(canonical(one)) == whole(canonical(two)), (module, one.co_name, one.co_firstlineno)


# --- and every change does


class Mutation(ast.NodeTransformer):
    """Changes the n-th thing that can be changed in a tree."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.done = False

    def _now(self) -> bool:
        self.left -= 1
        self.done = self.done or self.left == 0
        return self.left == 0

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        return ast.copy_location(ast.Constant(node.value + 1), node) if self._now() else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if self._now():
            node.op = ast.Sub() if not isinstance(node.op, ast.Sub) else ast.Add()
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if self._now():
            node.ops = [ast.Lt() if not isinstance(node.ops[0], ast.Lt) else ast.Gt(), *node.ops[1:]]
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._now():
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if node.args and self._now():
            node.args = node.args[1:]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "self" and self._now():
            node.attr += "_"
        return node


def listing(code: CodeType) -> list[object]:
    """As `dis` prints it: all that can differ, without positions."""
    told = [(each.opname, repr(each.argval)) for each in dis.get_instructions(code) if not is_code(each.argval)]
    return [told, code.co_varnames, [listing(const) for const in code.co_consts if isinstance(const, CodeType)]]


def is_code(value: object) -> bool:
    return isinstance(value, CodeType)


def test_every_small_change_of_a_real_function_counts() -> None:
    source = Path(textwrap.__file__).read_text(encoding="utf-8")

    def functions(tree: ast.Module) -> list[CodeType]:
        ast.fix_missing_locations(tree)
        return list(functions_in(compile(tree, "<m>", "exec", dont_inherit=True)))

    before = functions(ast.parse(source))
    forms, listings = [whole(canonical(code)) for code in before], [listing(code) for code in before]
    changes = 0
    for number in range(1, 1000, 2):
        mutation = Mutation(number)
        tree = mutation.visit(ast.parse(source))
        if not mutation.done:
            break
        try:
            after = functions(tree)
        except SyntaxError:
            continue
        if [listing(code) for code in after] != listings:  # else it stood outside of functions, or was never reached
            changes += 1
            assert [whole(canonical(code)) for code in after] != forms, number
    assert changes > 50


# --- nothing that watches or has watched leaves a trace


def busy(n: int) -> int:
    total = 0
    for i in range(n):
        try:
            total += i if i % 2 else len(str(i))
        except ValueError:
            total = 0
    return total


def fresh(fn: Callable[..., object]) -> CodeType:
    """The same code as another object, so that nothing is remembered of it."""
    return fn.__code__.replace()


def digest_now(fn: FunctionType) -> bytes:
    # Not `canonical`, which would remember: what counts is what is read from the live code object.
    from cas_engine.fingerprint.bytecode import written

    return written(fn.__code__).digest


def test_code_that_ran_hot_is_the_same() -> None:
    before = canonical(fresh(busy)).digest
    for _ in range(200):
        busy(50)
    assert digest_now(busy) == before  # type: ignore[arg-type]


def test_code_that_is_traced_or_profiled_is_the_same() -> None:
    before = canonical(fresh(busy)).digest
    tracer, profiler = sys.gettrace(), sys.getprofile()
    try:
        sys.settrace(lambda *_: None)
        sys.setprofile(lambda *_: None)
        busy(20)
        assert digest_now(busy) == before  # type: ignore[arg-type]
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_code_that_is_monitored_is_the_same() -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    before = canonical(fresh(busy)).digest
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
    monitoring.use_tool_id(tool, "test")
    try:
        events = monitoring.events
        wanted = events.LINE | events.INSTRUCTION | events.BRANCH | events.CALL | events.PY_RETURN | events.JUMP
        monitoring.register_callback(tool, events.LINE, lambda *_: None)
        monitoring.set_local_events(tool, busy.__code__, wanted)
        busy(20)
        assert digest_now(busy) == before  # type: ignore[arg-type]
    finally:
        monitoring.set_local_events(tool, busy.__code__, 0)
        monitoring.free_tool_id(tool)


# --- what it reads


def test_references_are_told_in_the_order_of_reading() -> None:
    found = form("def f(x):\n    return b(x) + a.c.d(x) + b(x)")
    assert [(ref.name, ref.attrs) for ref in found.refs] == [("b", ()), ("a", ("c", "d"))]


def test_an_import_in_the_body_is_followed_through_its_variable() -> None:
    found = form("def f(x):\n    import h.g as k\n    return [k.a(i) for i in x]")
    assert ("h.g", ("a",)) in [(ref.name, ref.attrs) for ref in found.refs]
    assert ("h.g", ()) not in [(ref.name, ref.attrs) for ref in found.refs]


def test_an_import_whose_variable_is_set_twice_counts_whole() -> None:
    found = form(
        "def f(x):\n    try:\n        import a as k\n    except ImportError:\n        import b as k\n    return k.f(x)"
    )
    assert {(ref.name, ref.attrs) for ref in found.refs if ref.source == "import"} == {("a", ()), ("b", ())}


def test_what_it_writes_is_told() -> None:
    assert form("def f():\n    global A\n    A = 1").writes == ("global A",)


def test_a_name_that_is_only_counted_up_is_no_reading() -> None:
    found = form("def f():\n    global A\n    A += 1\n    return 3")
    assert [ref.source for ref in found.refs] == ["counter"]
    assert [ref.source for ref in form("def f():\n    global A\n    A += 1\n    return A").refs] == [
        "counter",
        "global",
    ]


def test_an_endless_loop_has_an_end() -> None:
    assert form("def f():\n    while True: pass").digest != form("def f():\n    while True: f()").digest


def test_many_constants_and_long_jumps_are_read() -> None:
    lines = "\n".join(f"    if x == {i}: y = {i}.5; z{i} = g{i}(y)" for i in range(400))
    one, two = form(f"def f(x):\n{lines}\n    return y"), form(f"def f(x):\n\n\n{lines}\n    return (\ny)")
    assert whole(one) == whole(two)
    assert len(one.refs) == 400
