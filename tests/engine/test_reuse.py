"""What has been computed once is not computed again, whoever asks and however it is written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@pytest.fixture
def shop(mark: Mark) -> Any:
    """load → total and largest, of a number of prices."""

    @ct.electron
    def load(n: int) -> list[int]:
        mark("load")
        return list(range(n))

    @ct.electron
    def total(prices: list[int], tax: int = 0) -> int:
        mark("total")
        return sum(prices) + tax

    @ct.electron
    def largest(prices: list[int]) -> int:
        mark("largest")
        return max(prices)

    @ct.lattice
    def shop(n: int = 4, tax: int = 0) -> dict[str, int]:
        prices = load(n)
        return {"total": total(prices, tax), "largest": largest(prices)}

    return shop


def test_a_dispatch_runs_every_electron_once(shop: Any, ran: Ran) -> None:
    result = ct.dispatch_sync(shop)(n=5, tax=1)
    assert result.result == {"total": 11, "largest": 4}
    assert ran() == ["largest", "load", "total"]
    assert (result.status, result.hits, result.ran) == ("COMPLETED", 0, 3)


def test_an_unchanged_dispatch_runs_nothing(shop: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(shop)(n=5)
    ran()
    again = ct.dispatch_sync(shop)(n=5)
    assert ran() == []
    assert again.result == first.result
    assert again.dispatch_id != first.dispatch_id
    assert (again.hits, again.ran) == (3, 0)
    assert [node.status for node in again.nodes] == ["hit"] * 3


def test_inputs_by_position_by_name_and_by_default_are_the_same(shop: Any, ran: Ran) -> None:
    ct.dispatch_sync(shop)(4, 0)
    ran()
    for args, kwargs in [((), {"n": 4, "tax": 0}), ((4,), {}), ((), {}), ((), {"tax": 0})]:
        assert ct.dispatch_sync(shop)(*args, **kwargs).result == {"total": 6, "largest": 3}
    assert ran() == []


def test_a_changed_input_runs_only_what_hangs_on_it(shop: Any, ran: Ran) -> None:
    ct.dispatch_sync(shop)(n=4, tax=0)
    ran()
    assert ct.dispatch_sync(shop)(n=4, tax=7).result == {"total": 13, "largest": 3}
    assert ran() == ["total"]


def test_early_cutoff_leaves_what_follows_an_equal_result_untouched(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def clean(text: str) -> str:
        mark("clean")
        return text.strip()

    @ct.electron
    def count(text: str) -> int:
        mark("count")
        return len(text)

    @ct.electron
    def double(n: int) -> int:
        mark("double")
        return 2 * n

    @ct.lattice
    def flow(text: str) -> int:
        return double(count(clean(text)))

    ct.dispatch_sync(flow)("abc")
    ran()
    other = ct.dispatch_sync(flow)(" abc ")
    assert ran() == ["clean"]
    assert other.result == 6
    assert other.node("count").status == "hit"
    # And found out once, it is known by key: nothing at all runs now.
    assert ct.dispatch_sync(flow)(" abc ").result == 6
    assert ran() == []


def test_early_cutoff_does_not_see_whether_a_default_was_spelled_out(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def once(n: int) -> int:
        mark("once")
        return n

    @ct.electron
    def scale(n: int, by: int = 2) -> int:
        mark("scale")
        return n * by

    @ct.lattice
    def flow(given: bool) -> Any:
        # The actual input is the same number; where it comes from is not.
        return scale(once(3), by=2) if given else scale(3)

    assert ct.dispatch_sync(flow)(given=False).result == 6
    assert ct.dispatch_sync(flow)(given=True).result == 6
    assert ran() == ["once", "scale"]


def test_early_cutoff_looks_at_the_part_that_is_used(mark: Mark, ran: Ran) -> None:
    @ct.electron(outputs=2)
    def split(n: int) -> tuple[int, int]:
        mark("split")
        return n // 10, n % 10

    @ct.electron
    def tens(n: int) -> int:
        mark("tens")
        return n

    @ct.electron
    def ones(n: int) -> int:
        mark("ones")
        return n

    @ct.lattice
    def flow(n: int) -> list[int]:
        a, b = split(n)
        return [tens(a), ones(b)]

    ct.dispatch_sync(flow)(42)
    ran()
    assert ct.dispatch_sync(flow)(47).result == [4, 7]
    assert ran() == ["ones", "split"]


def test_equal_calls_in_one_lattice_run_once(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def square(n: int) -> int:
        mark("square")
        return n * n

    @ct.lattice
    def flow() -> list[int]:
        return [square(3), square(n=3), square(4), square(3)]

    result = ct.dispatch_sync(flow)()
    assert result.result == [9, 9, 16, 9]
    assert ran() == ["square", "square"]
    assert [node.status for node in result.nodes] == ["ran", "hit", "ran", "hit"]


def test_a_call_is_known_from_any_workflow_of_the_store(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def square(n: int) -> int:
        mark("square")
        return n * n

    @ct.electron
    def add(a: int, b: int) -> int:
        mark("add")
        return a + b

    @ct.lattice
    def one(n: int) -> int:
        return square(n)

    @ct.lattice
    def another(n: int) -> int:
        return add(square(n), 1)

    ct.dispatch_sync(one)(5)
    assert ran() == ["square"]
    assert ct.dispatch_sync(another)(5).result == 26
    assert ran() == ["add"]


def test_inserting_removing_and_reordering_calls_loses_nothing(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def step(name: str, above: tuple[Any, ...] = ()) -> str:
        mark(name)
        return name + "(" + "".join(above) + ")"

    @ct.lattice
    def before() -> list[str]:
        a, b = step("a"), step("b")
        return [step("c", (a, b)), step("d", (b,))]

    @ct.lattice
    def after() -> list[str]:
        new = step("new")
        b, a = step("b"), step("a")
        return [step("c", (a, b)), step("e", (new, a))]

    ct.dispatch_sync(before)()
    ran()
    assert ct.dispatch_sync(after)().result == ["c(a()b())", "e(new()a())"]
    assert ran() == ["e", "new"]


def test_stochastic_calls_that_are_reordered_keep_their_samples(mark: Mark, ran: Ran) -> None:
    import random

    @ct.electron(stochastic=True)
    def draw(n: int) -> float:
        mark(f"draw{n}")
        return random.random()

    @ct.lattice
    def before() -> list[float]:
        return [draw(1), draw(2)]

    @ct.lattice
    def after() -> list[float]:
        return [draw(3), draw(2), draw(1)]

    first = ct.dispatch_sync(before)().result
    ran()
    second = ct.dispatch_sync(after)().result
    assert ran() == ["draw3"]
    assert second[1:] == first[::-1]


def test_what_does_not_change_the_value_is_not_in_the_key(mark: Mark, ran: Ran) -> None:
    def work(n: int) -> int:
        mark("work")
        return n + 1

    plain = ct.electron(work)
    dressed = ct.electron(work, name="toil", executor="inline", retries=3, timeout=60)

    @ct.lattice
    def one() -> int:
        return plain(1)

    @ct.lattice
    def two() -> int:
        return dressed(1)

    ct.dispatch_sync(one, executor="thread")()
    assert ran() == ["work"]
    assert ct.dispatch_sync(two, executor="inline")().result == 2
    assert ran() == []


def test_a_version_and_what_it_depends_on_are_in_the_key(mark: Mark, ran: Ran, tmp_path: Any) -> None:
    table = tmp_path / "table.csv"
    table.write_text("1")

    def read() -> int:
        mark("read")
        return int(table.read_text())

    def dispatch(version: int) -> Any:
        electron = ct.electron(read, version=version, depends_on=[table])

        @ct.lattice
        def flow() -> int:
            return electron()

        return ct.dispatch_sync(flow)().result

    assert (dispatch(1), ran()) == (1, ["read"])
    assert (dispatch(1), ran()) == (1, [])
    assert (dispatch(2), ran()) == (1, ["read"])
    table.write_text("2")
    assert (dispatch(2), ran()) == (2, ["read"])


def test_an_ignored_parameter_is_not_in_the_key(mark: Mark, ran: Ran) -> None:
    @ct.electron(ignore=["verbose"])
    def work(n: int, verbose: bool = False) -> int:
        mark(f"work {verbose}".replace(" ", "-"))
        return n

    @ct.lattice
    def flow(verbose: bool) -> int:
        return work(1, verbose)

    ct.dispatch_sync(flow)(verbose=True)
    assert ran() == ["work-True"]  # it gets its argument all the same
    ct.dispatch_sync(flow)(verbose=False)
    assert ran() == []


class Model:
    """Something with parts that do not change the result, one of which has no content at all."""

    def __init__(self, size: int, verbose: bool) -> None:
        self.size, self.verbose, self.lock = size, verbose, threading.Lock()


def test_an_ignored_part_of_an_argument_is_not_in_the_key(mark: Mark, ran: Ran) -> None:
    @ct.electron(ignore=["model.verbose", "model.lock", "settings['log']"])
    def work(model: Model, settings: dict[str, object]) -> list[object]:
        mark(f"work-{model.verbose}")
        with model.lock:
            return [model.size, settings["log"]]

    def verbose_or_not(model: Model, settings: dict[str, object]) -> bool:
        mark("other")
        return model.verbose

    @ct.lattice
    def flow(size: int, verbose: bool) -> list[object]:
        return work(Model(size, verbose), {"log": verbose})

    first = ct.dispatch_sync(flow)(1, verbose=True)
    assert (first.result, ran()) == ([1, True], ["work-True"])  # it gets them all the same
    second = ct.dispatch_sync(flow)(1, verbose=False)
    assert (second.result, ran()) == ([1, True], [])
    assert (ct.dispatch_sync(flow)(2, verbose=False).result, ran()) == ([2, False], ["work-False"])

    # What stands in and counts all of it must not take one for the other.
    for before, verbose in ((first, True), (second, False)):
        new = ct.redispatch(before.dispatch_id, replace_electrons={"work": verbose_or_not})
        assert (ct.get_result(new(), wait=True).result, ran()) == (verbose, ["other"])


def test_changed_code_runs_anew_and_unchanged_code_beside_it_does_not(mark: Mark, ran: Ran) -> None:
    def version(rate: float) -> Any:
        def factor() -> float:
            return rate

        @ct.electron
        def load() -> int:
            mark("load")
            return 10

        @ct.electron
        def scale(n: int) -> float:
            mark("scale")
            return n * factor()

        @ct.lattice
        def flow() -> float:
            return scale(load())

        return flow

    assert ct.dispatch_sync(version(1.5))().result == 15.0
    ran()
    assert ct.dispatch_sync(version(1.5))().result == 15.0
    assert ran() == []
    assert ct.dispatch_sync(version(2.5))().result == 25.0
    assert ran() == ["scale"]


def test_values_that_are_equal_and_not_the_same_are_told_apart(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def name(value: Any) -> str:
        mark("name")
        return type(value).__name__

    @ct.lattice
    def flow(value: Any) -> str:
        return name(value)

    values: list[Any] = [1, 1.0, True, (1,), [1], {1}, frozenset({1}), b"1", "1"]
    for value in values:
        assert ct.dispatch_sync(flow)(value).result == type(value).__name__
    assert len(ran()) == len(values)


def test_what_the_lattice_returns_may_hold_constants_and_no_electron_at_all(mark: Mark) -> None:
    @ct.lattice
    def flow(n: int) -> Any:
        return {"n": n, "twice": [n, n]}

    assert ct.dispatch_sync(flow)(3).result == {"n": 3, "twice": [3, 3]}
    assert ct.dispatch_sync(flow)(3).result == {"n": 3, "twice": [3, 3]}
    assert ct.dispatch_sync(flow)(4).result == {"n": 4, "twice": [4, 4]}


def test_a_lattice_that_returns_nothing_still_runs_its_electrons(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def publish(n: int) -> None:
        mark("publish")

    @ct.lattice
    def flow(n: int) -> None:
        publish(n)

    result = ct.dispatch_sync(flow)(1)
    assert (result.status, result.result, ran()) == ("COMPLETED", None, ["publish"])
