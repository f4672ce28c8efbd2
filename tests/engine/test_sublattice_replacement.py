"""Replacement by name reaches into sublattices, however deep, and leaves others alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.workflows import again

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def test_replacement_by_name_reaches_into_sublattices(search: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(search)(3)
    ran()

    def fit(x: int, power: int) -> int:
        mark("new")
        return 100 * x

    other = again(first.dispatch_id, {"fit": fit})()
    assert other.result == -300
    assert ran() == ["best", "collect", "crunch", "new", "new"]
    # It stays in force below: in a child with other inputs too, which builds another graph.
    child = again(other.dispatch_id)(4)
    assert child.result == -600
    assert ran() == ["best", "collect", "crunch", "load", "new"]
    assert ct.get_result(first.dispatch_id).result == -3


def test_a_replacement_in_a_sublattice_leaves_other_sublattices_alone(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def fit(n: int) -> int:
        mark("fit")
        return n

    @ct.electron
    def plot(n: int) -> int:
        mark("plot")
        return n

    @ct.electron
    @ct.lattice
    def fitting(n: int) -> Any:
        return fit(n)

    @ct.electron
    @ct.lattice
    def plotting(n: int) -> Any:
        return plot(n)

    @ct.lattice
    def flow() -> Any:
        return [fitting(1), plotting(2)]

    first = ct.dispatch_sync(flow)()
    ran()
    other = again(first.dispatch_id, {"plot": lambda n: -n})()
    assert other.result == [1, -2]
    assert [(n.electron, n.status) for n in other.nodes] == [("fitting", "hit"), ("plotting", "ran")]
    assert ran() == []


def test_a_replacement_reaches_twice_nested_sublattices_and_the_lattice_itself(mark: Mark) -> None:
    @ct.electron
    def leaf(n: int) -> int:
        return n

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return leaf(n)

    @ct.electron
    @ct.lattice
    def middle(n: int) -> Any:
        return [inner(n), leaf(n + 1)]

    @ct.lattice
    def outer() -> Any:
        return [leaf(0), middle(1)]

    first = ct.dispatch_sync(outer)()
    assert first.result == [0, [1, 2]]
    assert again(first.dispatch_id, {"leaf": lambda n: n * 10})().result == [0, [10, 20]]
    assert again(first.dispatch_id, {"inner": lambda n: "plain"})().result == [0, ["plain", 2]]
    assert again(first.dispatch_id, recompute=["leaf"])().result == [0, [1, 2]]


def test_a_sublattice_is_replaced_as_a_whole_by_a_function_or_by_another_lattice(
    search: Any, mark: Mark, ran: Ran
) -> None:
    first = ct.dispatch_sync(search)(3)
    ran()

    def plain(data: list[int], power: int) -> int:
        mark("plain")
        return 1000

    @ct.electron
    def item(x: int) -> int:
        mark("item")
        return x

    @ct.electron
    @ct.lattice
    def another(data: list[int], power: int) -> Any:
        return item(data[-1])

    assert again(first.dispatch_id, {"crunch": plain})().result == -1000
    assert ran() == ["best", "plain"]
    other = again(first.dispatch_id, {"crunch": another})()
    assert other.result == -2
    assert ran() == ["best", "item"]
    assert other.node("another").dispatch
    # And what is reached by the new one can be replaced in it.
    assert again(other.dispatch_id, {"item": lambda x: 50})().result == -50


def test_a_name_that_only_a_sublattice_has_is_known_and_a_wrong_one_is_not(search: Any) -> None:
    first = ct.dispatch_sync(search)(3)
    with pytest.raises(CasRunError, match=r"did you mean.*collect"):
        ct.redispatch(first.dispatch_id, {"colect": len})()
    with pytest.raises(CasRunError, match=r"did you mean.*collect"):
        ct.redispatch(first.dispatch_id, recompute=["colect"])()


def test_a_replacement_that_does_not_bind_in_a_sublattice_is_refused_before_anything_runs(
    search: Any, ran: Ran
) -> None:
    first = ct.dispatch_sync(search)(3)
    ran()

    def needy(x: int, power: int, kernel: str) -> int:
        return 0

    with pytest.raises(CasRunError, match="`kernel`"):
        ct.redispatch(first.dispatch_id, {"fit": needy})()
    assert ran() == []


def test_names_that_mean_different_electrons_inside_and_outside_are_refused(mark: Mark) -> None:
    def made(by: int) -> Any:
        @ct.electron
        def scale(n: int) -> int:
            return n * by

        return scale

    inside, outside = made(2), made(3)

    @ct.electron
    @ct.lattice
    def inner(n: int) -> Any:
        return inside(n)

    @ct.lattice
    def flow() -> Any:
        return [inner(1), outside(1)]

    first = ct.dispatch_sync(flow)()
    assert first.result == [2, 3]
    with pytest.raises(CasRunError, match="share the name `scale`"):
        ct.redispatch(first.dispatch_id, {"scale": len})()
