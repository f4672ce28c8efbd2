"""What has been computed once is not computed again, whoever asks and however it is written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
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


FACTOR = 1
SETTINGS = {"factor": 1, "other": 0}


def _shift(n: int) -> int:
    return n


@pytest.fixture
def held(mark: Mark, tmp_path: Path, eventually: Any) -> Any:
    """Start a dispatch, change something once its electrons have begun, and only then let them go on."""

    def held(flow: Any, change: Callable[[], None], *args: Any) -> Any:
        gate, tally = tmp_path / "gate", tmp_path / "tally"
        gate.unlink(missing_ok=True)
        tally.unlink(missing_ok=True)
        dispatch_id = ct.dispatch(flow)(*args)
        eventually(tally.exists)
        change()
        gate.touch()
        return ct.get_result(dispatch_id, wait=True).result

    return held


def _pass(gate: Path) -> None:
    import time

    while not gate.exists():
        time.sleep(0.001)


def test_a_call_computes_with_the_constants_that_were_there_when_it_was_dispatched(
    mark: Mark, held: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def scale(n: int) -> int:
        mark("scale")
        _pass(gate)
        return n * FACTOR

    @ct.lattice
    def flow() -> list[int]:
        return [scale(n) for n in range(8)]

    def set_factor(factor: int) -> None:
        global FACTOR  # noqa: PLW0603 - as scripts that sweep a setting do it
        FACTOR = factor

    set_factor(1)
    assert held(flow, lambda: set_factor(10)) == list(range(8))
    assert held(flow, lambda: set_factor(100)) == [10 * n for n in range(8)]
    # And what is kept is right for whoever asks later.
    for factor in (1, 10, 100):
        set_factor(factor)
        assert ct.dispatch_sync(flow)().result == [factor * n for n in range(8)]


def test_a_call_computes_with_what_a_table_held_when_it_was_dispatched(mark: Mark, held: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def scale(n: int) -> int:
        mark("scale")
        _pass(gate)
        return n * SETTINGS["factor"] + len(SETTINGS)

    @ct.lattice
    def flow() -> list[int]:
        return [scale(n) for n in (1, 2)]

    SETTINGS["factor"] = 2
    assert held(flow, lambda: SETTINGS.update(factor=20)) == [4, 6]
    assert held(flow, lambda: SETTINGS.update(factor=200)) == [22, 42]
    SETTINGS["factor"] = 2
    assert ct.dispatch_sync(flow)().result == [4, 6]


def test_a_call_runs_the_helpers_that_were_there_when_it_was_dispatched(
    mark: Mark, held: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"

    @ct.electron
    def work(n: int) -> int:
        mark("work")
        _pass(gate)
        return _shift(n)

    @ct.lattice
    def flow() -> int:
        return work(1)

    def shifted(n: int) -> int:
        return n + 1

    assert held(flow, lambda: monkeypatch.setitem(globals(), "_shift", shifted)) == 1
    assert ct.dispatch_sync(flow)().result == 2


def test_a_sweep_over_a_global_gives_each_dispatch_its_own(mark: Mark) -> None:
    global FACTOR

    @ct.electron
    def scale(n: int) -> int:
        return n * FACTOR

    @ct.lattice
    def flow() -> list[int]:
        return [scale(n) for n in range(3)]

    ids = {}
    for FACTOR in (*range(10, 25), 10):
        ids[ct.dispatch(flow)()] = [0, FACTOR, 2 * FACTOR]
    for dispatch_id, expected in ids.items():
        assert ct.get_result(dispatch_id, wait=True).result == expected


def test_arguments_changed_after_the_dispatch_do_not_reach_it(mark: Mark) -> None:
    import numpy as np

    @ct.electron
    def total(numbers: Any, table: Any) -> float:
        import time

        time.sleep(0.02)
        return float(sum(numbers) + table.sum())

    @ct.lattice
    def flow(numbers: list[int], table: Any) -> float:
        return total(numbers, table)

    numbers, table = [1, 2, 3], np.ones(100_000)
    dispatch_id = ct.dispatch(flow)(numbers, table)
    numbers.append(1000)
    table[:] = 0
    assert ct.get_result(dispatch_id, wait=True).result == 100_006.0
    assert ct.dispatch_sync(flow)(numbers, table).result == 1006.0


def test_what_an_electron_does_to_its_inputs_reaches_nobody_else(mark: Mark, ran: Ran) -> None:
    import numpy as np

    @ct.electron
    def load() -> dict[str, Any]:
        return {"list": [1, 2], "array": np.zeros(50_000)}

    @ct.electron
    def spoil(loaded: dict[str, Any], by: int) -> float:
        loaded["list"].append(by)
        loaded["array"] += by
        return float(len(loaded["list"]) + loaded["array"][0])

    @ct.lattice
    def flow(by: list[int]) -> list[Any]:
        loaded = load()
        return [loaded["list"], *[spoil(loaded, b) for b in by]]

    result = ct.dispatch_sync(flow)([1, 2, 3])
    assert result.result == [[1, 2], 4.0, 5.0, 6.0]
    again = ct.dispatch_sync(flow)([4, 1])
    assert again.result == [[1, 2], 7.0, 4.0]
    array = result.node("load").result["array"]
    array += 5  # nor does what is done to a result
    assert result.node("load").result["array"].sum() == 0.0


MISSING = object()


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_what_an_electron_does_to_its_defaults_reaches_no_other_call(mark: Mark, executor: str) -> None:
    @ct.electron
    def note(x: int, seen: list[int] = [], *, by: Any = {"last": [0]}, at: Any = MISSING) -> Any:  # noqa: B006
        mark("note")
        seen.append(x)
        by["last"][0] += x
        return [seen, by, at is MISSING]

    @ct.lattice
    def notes() -> Any:
        first = note(1)
        return [first, note(2, at=first)]

    result = ct.dispatch_sync(notes, executor=executor)().result
    assert result == [[[1], {"last": [1]}, True], [[2], {"last": [2]}, False]]


def test_tuples_stay_tuples_and_sets_stay_sets(mark: Mark) -> None:
    @ct.electron
    def same(value: Any) -> Any:
        return value

    @ct.lattice
    def flow(value: Any) -> Any:
        return {"direct": same(value), "in a list": [same(value)], "in a tuple": (same(value), value)}

    for value in [(1, 2), [1, 2], {1, 2}, frozenset({1}), {"a": (1,)}, ((1,), [2]), (), set[int](), 1, 1.0, True]:
        for result in (ct.dispatch_sync(flow)(value), ct.dispatch_sync(flow)(value)):
            got = result.result
            assert got == {"direct": value, "in a list": [value], "in a tuple": (value, value)}
            assert type(got["direct"]) is type(value)
            assert type(got["in a tuple"][1]) is type(value)
        child = ct.get_result(ct.redispatch(result.dispatch_id, recompute="all")(), wait=True)
        assert type(child.result["direct"]) is type(value)


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
