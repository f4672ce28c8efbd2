"""A call computes with what was there when it was dispatched, and what it does to it reaches nobody else."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]

FACTOR = 1
SETTINGS = {"factor": 1, "other": 0}


def _shift(n: int) -> int:
    return n


STEP = 1


def _made(k: int) -> Callable[[int], int]:
    def plus(n: int) -> int:
        return n + k

    return plus


_plus_nothing: Any = _made(0)


def _step(n: int, by: int = 1) -> int:
    shifted: int = _plus_nothing(abs(n))
    return shifted + _times(by)


def _times(by: int) -> int:
    return sum(int(STEP) for _ in range(by))


def _other(n: int, by: int = 1) -> int:
    return n - by


HERE = sys.modules[__name__]
CHANGES: dict[str, tuple[object, str, object]] = {
    "a constant": (HERE, "STEP", 2),
    "a helper": (HERE, "_step", _other),
    "a helper's helper": (HERE, "_times", lambda by: 2 * by),
    "the body of a helper": (_step, "__code__", _other.__code__),
    "a default": (_step, "__defaults__", (2,)),
    "what a closure holds": (_plus_nothing.__closure__[0], "cell_contents", 1),
    "a builtin, hidden": (HERE, "abs", lambda n: n + 1),
    "a builtin, replaced": (builtins, "abs", lambda n: n + 1),
}


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


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_between_two_of_many_quick_calls_is_seen_by_none(what: str, monkeypatch: Any) -> None:
    @ct.electron
    def count(n: int) -> int:
        return _step(n)

    @ct.lattice
    def flow(n: int) -> Any:
        for _ in range(60):
            n = count(n)
        return n

    left = iter(range(30))

    def watch(event: object) -> None:
        if type(event).__name__ == "NodeFinished" and next(left, None) == 29:
            monkeypatch.setattr(*CHANGES[what], raising=False)

    result = ct.dispatch_sync(flow, executor="inline", observer=watch)(0).result
    monkeypatch.undo()
    assert result == 60


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
