"""Inside a lattice electrons give handles, which go wherever values go; what cannot be is said with its line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.engine.workflows import give, one, run

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


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
