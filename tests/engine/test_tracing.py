"""Inside a lattice electrons give handles, which go wherever values go; what cannot be is said with its line."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@ct.electron
def one() -> Any:
    return 1


@ct.electron
def give(value: Any) -> Any:
    return value


@ct.electron
def total(values: Any) -> Any:
    return sum(values)


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Any
    y: Any


class Named(NamedTuple):
    x: Any
    y: Any


def run(lattice_function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a lattice made of this function."""
    result = ct.dispatch_sync(ct.lattice(lattice_function))(*args, **kwargs)
    assert result.status == "COMPLETED", result.error
    return result.result


# Where handles go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hold",
    [
        lambda h: [h, 2],
        lambda h: (h, 2),
        lambda h: {"a": h, "b": [h, (h,)]},
        lambda h: {"key": {h: 1}},
        Point,
        lambda h: Point([h], {"z": h}),
        lambda h: Frozen(h, 2),
        lambda h: Named(h, (h, h)),
        lambda h: [[[[h]]]],
    ],
)
def test_handles_are_arguments_anywhere_inside_structures(mark: Mark, hold: Callable[[Any], Any]) -> None:
    def flow() -> Any:
        return give(hold(one()))

    got = run(flow)
    assert got == hold(1)
    assert type(got) is type(hold(1))


def test_the_structure_that_a_lattice_returns_is_kept(mark: Mark) -> None:
    def flow() -> Any:
        h = one()
        return {"point": Point(h, [h]), "named": Named(h, 2), "tuple": (h,), "constant": {3}}

    assert run(flow) == {"point": Point(1, [1]), "named": Named(1, 2), "tuple": (1,), "constant": {3}}


def test_a_dataclass_is_rebuilt_without_running_its_checks_again(mark: Mark, ran: Ran) -> None:
    @dataclasses.dataclass
    class Checked:
        x: Any

        def __post_init__(self) -> None:
            mark("post_init")

    def flow() -> Any:
        return give(Checked(one()))

    assert run(flow).x == 1
    assert ran() == ["post_init"]


def test_named_arguments_stars_and_defaults_get_handles_too(mark: Mark) -> None:
    @ct.electron
    def call(a: Any, /, b: Any, *rest: Any, c: Any = 5, **more: Any) -> Any:
        return [a, b, rest, c, more]

    def flow() -> Any:
        h = one()
        return [call(h, 2, h, 4, c=h, d=h), call(0, b=h), call(h, h, *[h, h], z=h)]

    assert run(flow) == [
        [1, 2, (1, 4), 1, {"d": 1}],
        [0, 1, (), 5, {}],
        [1, 1, (1, 1), 5, {"z": 1}],
    ]


# Parts of results -------------------------------------------------------------------------------------------------


def test_items_keys_slices_and_attributes_of_a_handle(mark: Mark) -> None:
    def flow() -> Any:
        h = give({"x": [10, 20, 30], 1: "one", (1, 2): "pair"})
        point = give(Point(7, Point(8)))
        return [
            h["x"][0],
            h["x"][-1],
            h[1],
            h[1, 2],
            h["x"][1:],
            h["x"][::2],
            h["x"][give(1)],
            point.x,
            point.y.x,
        ]

    assert run(flow) == [10, 30, "one", "pair", [20, 30], [10, 30], 20, 7, 8]


def test_arrays_are_indexed_as_arrays(mark: Mark) -> None:
    import numpy as np

    def flow() -> Any:
        table = give(np.arange(12).reshape(3, 4))
        return [table[1, 2], table[:, 1], table[table > 9], table.T.shape, table[[0, 2], ...].sum()]

    element, column, large, shape, some = run(flow)
    assert (element, list(column), list(large), shape, some) == (6, [1, 5, 9], [10, 11], (4, 3), 44)


def test_methods_of_results_can_be_called(mark: Mark) -> None:
    def flow() -> Any:
        text = give("a,b")
        return [text.upper(), text.split(","), text.replace("a", give("c"))]

    assert run(flow) == ["A,B", ["a", "b"], "c,b"]


def test_a_part_that_is_not_there_fails_the_node_that_wants_it(mark: Mark) -> None:
    @ct.lattice
    def flow() -> Any:
        h = give({"x": 1})
        return [give(h["y"]), give(h["x"])]

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    assert "KeyError: 'y'" in str(result.error)
    assert [n.status for n in result.nodes] == ["ran", "failed", "ran"]


def test_a_returned_part_that_is_not_there_is_a_failure_and_no_crash(mark: Mark) -> None:
    @ct.lattice
    def flow() -> Any:
        return give({"x": 1})["y"]

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    assert "'y'" in str(result.error)
    assert result.result is None


# Unpacking --------------------------------------------------------------------------------------------------------


def test_unpacking_by_the_count_of_outputs(mark: Mark) -> None:
    @ct.electron(outputs=3)
    def three(n: int) -> Any:
        return [n, n + 1, n + 2]

    def flow() -> Any:
        a, b, c = three(1)
        first, *rest = three(10)
        return [c, b, a, first, rest, *three(5)]

    assert run(flow) == [3, 2, 1, 10, [11, 12], 5, 6, 7]


def test_unpacking_by_annotation(mark: Mark) -> None:
    @ct.electron
    def pair() -> tuple[int, str]:
        return 1, "b"

    @ct.electron
    def named() -> Named:
        return Named(3, 4)

    namespace: dict[str, Any] = {}
    exec("def live() -> tuple[int, int, int]:\n    return 5, 6, 7\n", namespace)
    live = ct.electron(namespace["live"])

    def flow() -> Any:
        a, b = pair()
        x, y, z = live()
        return [b, a, z, y, x]

    assert run(flow) == ["b", 1, 7, 6, 5]


def test_unpacking_into_the_wrong_count_is_the_error_that_python_gives(mark: Mark) -> None:
    @ct.electron
    def pair() -> tuple[int, int]:
        return 1, 2

    @ct.lattice
    def flow() -> Any:
        _a, _b, _c = pair()  # type: ignore[misc]
        return _a

    with pytest.raises(ValueError, match=r"not enough values to unpack \(expected 3, got 2\)"):
        ct.dispatch(flow)()


@pytest.mark.parametrize("use", ["a, b = h", "[x for x in h]", "list(h)", "for x in h: pass", "f(*h)"])
def test_iterating_over_an_unknown_count_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    lines = ["@ct.lattice", "def flow():", "    h = one()", f"    {use}", "    return h"]
    message = refusal("\n".join(lines))
    assert "flow.py:4 (flow)" in message
    assert "`one`" in message
    assert "outputs=" in message
    assert "sublattice" in message


@pytest.mark.parametrize(
    "use",
    [
        "if h: pass",
        "x = 1 if h > 0 else 2",
        "x = h and 2",
        "x = not h",
        "while h: pass",
        "assert h == 1",
        "x = 1 < h < 3",
    ],
)
def test_a_condition_on_a_handle_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    lines = ["@ct.lattice", "def flow():", "    h = one()", "", f"    {use}", "    return h"]
    message = refusal("\n".join(lines))
    assert "flow.py:5 (flow)" in message
    assert "condition" in message
    assert "sublattice" in message


@pytest.mark.parametrize("use", ["len(h)", "int(h)", "float(h)", "range(h)", "'a' in h", "[1, 2][h]", "round(h)"])
def test_what_needs_the_value_of_a_handle_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    message = refusal(f"@ct.lattice\ndef flow():\n    h = one()\n    return {use}\n")
    assert "flow.py:4 (flow)" in message
    assert "`one`" in message
    assert "sublattice" in message


@pytest.mark.parametrize("use", ["h.x = 1", "h['x'] = 1", "h += [1]; h[0] = 2", "del h['x']", "del h.x"])
def test_changing_a_result_names_the_line_and_the_way_out(mark: Mark, use: str) -> None:
    message = refusal(f"@ct.lattice\ndef flow():\n    h = one()\n    {use}\n    return h\n")
    assert "flow.py:4 (flow)" in message
    assert "in an electron" in message


def test_a_handle_in_text_is_refused_where_it_would_be_taken_for_its_value(mark: Mark) -> None:
    # f"{h:.2f}" would give a text with a name in it instead of a number.
    message = refusal("@ct.lattice\ndef flow():\n    h = one()\n    return give(f'{h:.2f}')\n")
    assert "flow.py:4 (flow)" in message


def test_a_handle_hidden_in_a_set_or_an_instance_is_refused(mark: Mark) -> None:
    partial = "give(functools.partial(give, h))"
    for use in ("give({h})", "give(frozenset([h]))", "give(Box(h))", "give(lambda: h)", partial):
        box = "class Box:\n    def __init__(self, x): self.x = x\n"
        message = refusal(f"import functools\n{box}@ct.lattice\ndef flow():\n    h = one()\n    return {use}\n")
        assert "`one`" in message or "`give`" in message, message


def test_a_handle_of_one_evaluation_cannot_be_used_in_another(mark: Mark) -> None:
    kept: list[Any] = []

    @ct.lattice
    def first() -> Any:
        kept.append(one())
        return kept[0]

    @ct.lattice
    def second() -> Any:
        return give(kept[0])

    ct.dispatch_sync(first)()
    with pytest.raises(CasRunError, match="another evaluation"):
        ct.dispatch(second)()


def refusal(source: str) -> str:
    """What dispatching the `flow` of this source says. Nothing of it has run."""
    namespace: dict[str, Any] = {"ct": ct, "one": one, "give": give, "f": give}
    exec(compile(source, "/somewhere/flow.py", "exec"), namespace)
    with pytest.raises(CasRunError) as refused:
        ct.dispatch(namespace["flow"])()
    assert ct.list_dispatches() == []
    return str(refused.value)


# Operators --------------------------------------------------------------------------------------------------------


def test_arithmetic_and_comparison(mark: Mark) -> None:
    def flow(n: int) -> Any:
        a, b = give(n), give(2)
        return [
            [a + b, a - b, a * b, a / b, a // b, a % b, a**b, -a, +a, abs(-a), ~a],
            [10 + a, 10 - a, 10 * a, 10 / a, 10 // a, 10 % a, 2**a],
            [a << 1, a >> 1, a & 6, a | 8, a ^ 1, 1 << a, 255 >> a, 6 & a, 8 | a, 1 ^ a],
            [a < b, a <= b, a > b, a >= b, a == b, a != b, a > 3, a == 5],
            [divmod(a, b), divmod(17, a), pow(a, 2), a @ b if False else None],
        ]

    assert run(flow, 5) == [
        [7, 3, 10, 2.5, 2, 1, 25, -5, 5, 5, -6],
        [15, 5, 50, 2.0, 2, 0, 32],
        [10, 2, 4, 13, 4, 32, 7, 4, 13, 4],
        [False, False, True, True, False, True, True, True],
        [(2, 1), (3, 2), 25, None],
    ]


def test_numpy_values_take_part_in_operators_from_either_side(mark: Mark) -> None:
    import numpy as np

    def flow() -> Any:
        h = give(np.arange(3.0))
        return [np.ones(3) + h, h * np.float64(2), np.float64(2) * h, h @ np.ones(3), np.eye(3) @ h, np.ones(3) == h]

    left, doubled, reverse, dot, product, equal = run(flow)
    assert list(left) == [1, 2, 3]
    assert list(doubled) == list(reverse) == [0, 2, 4]
    assert dot == 3.0
    assert list(product) == [0, 1, 2]
    assert list(equal) == [False, True, False]


def test_operators_are_reused_as_electrons_are(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def load(n: int) -> int:
        mark("load")
        return n

    @ct.lattice
    def flow(n: int, m: int) -> Any:
        return load(n) * 2 + load(m)

    ct.dispatch_sync(flow)(1, 2)
    ran()
    result = ct.dispatch_sync(flow)(1, 3)
    assert (result.result, ran()) == (5, ["load"])
    assert [(n.electron, n.status) for n in result.nodes] == [
        ("load", "hit"),
        ("mul", "hit"),
        ("load", "ran"),
        ("add", "ran"),
    ]


# Control flow and calls -------------------------------------------------------------------------------------------


def test_loops_and_branches_on_the_inputs_are_ordinary_python(mark: Mark) -> None:
    def flow(n: int, square: bool) -> Any:
        parts = [give(i) for i in range(n)]
        acc = give(0)
        for part in parts:
            acc = acc + (part * part if square else part)
        while n > 2:
            n -= 1
        return {"sum": acc, "n": n, "by name": {str(i): p for i, p in enumerate(parts)}, "total": total(parts)}

    assert run(flow, 4, square=True) == {"sum": 14, "n": 2, "by name": {"0": 0, "1": 1, "2": 2, "3": 3}, "total": 6}
    assert run(flow, 3, square=False)["sum"] == 3


def test_a_lattice_called_in_a_lattice_is_part_of_its_graph(mark: Mark) -> None:
    @ct.lattice
    def inner(n: Any) -> Any:
        return give(n) + 1

    def flow() -> Any:
        return inner(inner(1))

    assert run(flow) == 3


def test_electrons_outside_a_lattice_just_run(mark: Mark, ran: Ran) -> None:
    @ct.electron(stochastic=True, retries=2)
    def work(n: int) -> int:
        mark("work")
        return n + 1

    @ct.lattice
    def flow(n: int) -> Any:
        return work(n) * 2

    assert work(1) == 2
    assert flow(1) == 4
    assert ran() == ["work", "work"]
    assert ct.list_dispatches() == []
    assert inspect.signature(work) == inspect.signature(work.fn)
    assert getattr(work, "__name__") == "work"  # noqa: B009 - it has what its function has


def test_an_electron_called_inside_an_electron_just_runs(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def inner(n: int) -> int:
        mark("inner")
        return n + 1

    @ct.electron
    def outer(n: int) -> int:
        return inner(n) * 10

    def flow() -> Any:
        return outer(1)

    assert run(flow) == 20
    assert ran() == ["inner"]


def test_a_lattice_can_be_dispatched_inside_an_electron(mark: Mark) -> None:
    @ct.lattice
    def inside(n: int) -> Any:
        return give(n)

    @ct.electron
    def outer(n: int) -> Any:
        return ct.dispatch_sync(inside)(n).result

    def flow() -> Any:
        return outer(4)

    assert run(flow) == 4


def test_async_electrons(mark: Mark) -> None:
    @ct.electron
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    def flow() -> Any:
        return [fetch(i) for i in range(3)]

    assert run(flow) == [1, 2, 3]
    assert asyncio.run(fetch(1)) == 2


def test_async_electrons_fail_with_the_users_frames_alone(mark: Mark) -> None:
    @ct.electron
    async def fetch() -> int:
        await asyncio.sleep(0)
        raise LookupError("no such page")

    @ct.lattice
    def flow() -> Any:
        return fetch()

    error = str(ct.dispatch_sync(flow)().error)
    assert "LookupError: no such page" in error
    assert "in fetch" in error
    assert "asyncio" not in error
    assert "cas_engine" not in error


def test_a_dispatch_from_a_coroutine(mark: Mark) -> None:
    @ct.lattice
    def flow(n: int) -> Any:
        return give(n)

    async def main() -> list[Any]:
        return [ct.dispatch_sync(flow)(n).result for n in (1, 2)]

    assert asyncio.run(main()) == [1, 2]


# What may be an electron ------------------------------------------------------------------------------------------


class Scaler:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, n: int) -> int:
        return n * self.by

    @ct.electron
    def method(self, n: int) -> int:
        return n * self.by

    @staticmethod
    @ct.electron
    def static(n: int) -> int:
        return n + 100

    @classmethod
    def made(cls, n: int) -> Scaler:
        return cls(n)


def scale(n: int, by: int) -> int:
    return n * by


def test_any_callable_may_be_an_electron(mark: Mark) -> None:
    import math

    import numpy as np

    svd = ct.electron(np.linalg.svd)
    norm = ct.electron(np.linalg.norm, name="length")
    triple = ct.electron(functools.partial(scale, by=3))
    instance = ct.electron(Scaler(5))
    bound = ct.electron(Scaler(6).__call__, name="bound")
    made = ct.electron(Scaler.made)
    cls = ct.electron(Point)
    shout = ct.electron(str.upper)
    root = ct.electron(math.sqrt)
    maximum = ct.electron(max)
    add = ct.electron(np.add)
    nothing = ct.electron(lambda n: n - 1, name="less")

    def flow() -> Any:
        u, s, v = (svd(np.diag([3.0, 2.0]))[i] for i in range(3))
        return {
            "s": s,
            "norm": norm([3.0, 4.0]),
            "rest": [triple(2), instance(2), bound(2), made(7).by, cls(1, y=2), shout("a"), root(16), maximum(1, 2)],
            "add": add(1, 2),
            "less": nothing(1),
            "methods": [Scaler(2).method(4), Scaler.static(1)],
            "shape": [u.shape, v.shape],
        }

    got = run(flow)
    assert [float(x) for x in got["s"]] == [3.0, 2.0]
    assert got["norm"] == 5.0
    assert got["rest"] == [6, 10, 12, 7, Point(1, 2), "A", 4.0, 2]
    assert (got["add"], got["less"]) == (3, 0)
    assert got["methods"] == [8, 101]
    assert got["shape"] == [(2, 2), (2, 2)]


def test_callables_are_named_as_people_call_them(mark: Mark) -> None:
    import numpy as np

    names: dict[str, ct.Electron[..., Any]] = {
        "svd": ct.electron(np.linalg.svd),
        "scale": ct.electron(functools.partial(scale, by=3)),
        "Scaler": ct.electron(Scaler(5)),
        "Point": ct.electron(Point),
        "given": ct.electron(scale, name="given"),
    }
    assert {name: electron.name for name, electron in names.items()} == {name: name for name in names}


def test_another_state_of_a_callable_instance_is_another_electron(mark: Mark) -> None:
    def with_scale(by: int) -> Any:
        scaler, part = ct.electron(Scaler(by)), ct.electron(functools.partial(scale, by=by))

        def flow() -> Any:
            return [scaler(2), part(2)]

        return run(flow)

    assert [with_scale(2), with_scale(3), with_scale(2)] == [[4, 4], [6, 6], [4, 4]]


def test_two_lambdas_of_one_name_are_two_electrons(mark: Mark) -> None:
    up, down = ct.electron(lambda n: n + 1), ct.electron(lambda n: n - 1)

    def flow() -> Any:
        return [up(1), down(1)]

    assert run(flow) == [2, 0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("generator", lambda: (n for n in range(3))),
        ("TextIOWrapper", lambda: open(__file__, encoding="utf-8")),  # noqa: PTH123, SIM115 - that it is open is the point
        ("lock", lambda: __import__("threading").Lock()),
        ("generator", lambda: [1, {"deep": (n for n in range(3))}]),
        ("list_iterator", lambda: iter([1])),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_result_that_cannot_be_stored_is_an_error_that_names_the_electron(mark: Mark, name: str, value: Any) -> None:
    @ct.electron
    def produce() -> Any:
        return value()

    @ct.lattice
    def flow() -> Any:
        return produce()

    result = ct.dispatch_sync(flow)()
    if name == "list_iterator" and result.status == "COMPLETED":
        return  # iterators over lists can be stored, as they are
    assert result.status == "FAILED"
    assert "electron `produce`" in str(result.error)
    assert name in str(result.error)
    assert "->" in str(result.error)


def test_generator_functions_are_refused_by_name(mark: Mark) -> None:
    @ct.electron
    def numbers(n: int) -> Any:
        yield from range(n)

    @ct.lattice
    def flow() -> Any:
        return numbers(3)

    result = ct.dispatch_sync(flow)()
    assert result.status == "FAILED"
    assert "`numbers`" in str(result.error)
    assert "generator" in str(result.error)


@pytest.mark.parametrize("make", [lambda: __import__("threading").Lock(), lambda: (n for n in range(3))])
def test_an_argument_without_stable_content_is_refused_before_anything_runs(mark: Mark, ran: Ran, make: Any) -> None:
    @ct.electron
    def load() -> int:
        mark("load")
        return 1

    @ct.electron
    def train(data: int, model: Any) -> int:
        return data

    @ct.lattice
    def flow() -> Any:
        return train(load(), {"inner": [make()]})

    with pytest.raises(CasRunError) as refused:
        ct.dispatch(flow)()
    assert "electron `train`: its argument `model" in str(refused.value)
    assert "->" in str(refused.value)
    assert ran() == []


def test_a_call_that_does_not_bind_is_refused_with_its_line_before_anything_runs(mark: Mark) -> None:
    for call, said in [("give()", "value"), ("give(1, 2)", "2"), ("give(valeu=1)", "did you mean `value`")]:
        message = refusal(f"@ct.lattice\ndef flow():\n    a = one()\n    return {call}\n")
        assert "flow.py:4 (flow)" in message
        assert "`give`" in message
        assert said in message


def test_what_the_lattice_function_raises_comes_through(mark: Mark) -> None:
    @ct.lattice
    def flow(n: int) -> Any:
        return [1, 2, 3][n]

    with pytest.raises(IndexError):
        ct.dispatch(flow)(7)
    assert ct.list_dispatches() == []
    assert ct.dispatch_sync(flow)(1).result == 2  # and nothing is left of it


# ct.wait ----------------------------------------------------------------------------------------------------------


def test_a_child_waits_for_parents_that_give_it_nothing(mark: Mark, tmp_path: Any) -> None:
    @ct.electron
    def write(n: int) -> None:
        import time

        time.sleep(0.1)
        (tmp_path / "table").write_text(str(n))

    @ct.electron
    def read() -> int:
        return int((tmp_path / "table").read_text())

    @ct.lattice
    def flow(n: int) -> Any:
        written = write(n)
        return ct.wait(read(), [written])

    assert ct.dispatch_sync(flow)(3).result == 3
    # A changed parent reaches the child, though it gives it nothing: its side effect may matter.
    assert ct.dispatch_sync(flow)(4).result == 4


def test_waiting_takes_handles_and_lists_of_them_in_any_order(mark: Mark) -> None:
    done: list[str] = []

    @ct.electron(executor="inline")
    def step(name: str) -> str:
        done.append(name)
        return name

    @ct.lattice
    def flow() -> Any:
        late, also = step("late"), step("also")
        first, second = step("first"), step("second")
        ct.wait(child=late, parents=first)
        ct.wait([also, late], [first, second])
        return [late, also]

    assert ct.dispatch_sync(flow)().result == ["late", "also"]


def test_electrons_that_wait_for_each_other_are_refused(mark: Mark) -> None:
    @ct.lattice
    def flow() -> Any:
        a, b = give(1), give(2)
        ct.wait(a, b)
        ct.wait(b, a)
        return [a, b]

    with pytest.raises(CasRunError, match=r"wait for each other.*(\n.*)*ct\.wait"):
        ct.dispatch(flow)()


def test_waiting_skips_what_waits_for_a_failure(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def breaks() -> None:
        raise ValueError("no")

    @ct.electron
    def child() -> None:
        mark("child")

    @ct.lattice
    def flow() -> Any:
        return ct.wait(child(), breaks())

    result = ct.dispatch_sync(flow)()
    assert (result.status, result.node("child").status, ran()) == ("FAILED", "skipped", [])
