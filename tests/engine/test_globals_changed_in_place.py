"""Each call reads the values that were recorded, whatever it or others do to them in place; and the user is told."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, ClassVar

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]

TABLE = [1]
CACHE: dict[int, int] = {}
RNG = random.Random(7)
COUNT = 0
LARGE = list(range(1000))


class Config:
    def __init__(self, level: int) -> None:
        self.level = level


class Counter:
    n = 0
    seen: ClassVar[list[int]] = []


class Special(Counter):
    def __init__(self, weight: int) -> None:
        self.weight = weight


CONFIG = Config(1)


def _counting() -> Callable[[int], int]:
    n = 0

    def count(x: int) -> int:
        nonlocal n
        n += x
        return n

    return count


COUNTING = _counting()


def _noting(fn: Any) -> Any:
    @functools.wraps(fn)
    def noting(*args: Any) -> Any:
        return fn(*args)

    return noting


@ct.electron
def appends(x: int) -> int:
    TABLE.append(x)
    return sum(TABLE)


@ct.electron
def configures(x: int) -> int:
    CONFIG.level += x
    return CONFIG.level


@ct.electron
def counts(x: int) -> int:
    Counter.n += x
    return Counter.n


@ct.electron
def registers(x: int) -> list[int]:
    Special.seen.append(x)
    return list(Counter.seen)


@ct.electron
def weighs(thing: Counter, x: int) -> list[Any]:
    Counter.n += x
    return [isinstance(thing, Counter), isinstance(thing, Special), thing.n, getattr(thing, "weight", 0)]


@ct.electron
def makes(x: int) -> Counter:
    Counter.n += x
    return Special(x)


@ct.electron
def draws(x: int) -> float:
    return x + RNG.random()


@ct.electron
def closes(x: int) -> int:
    return COUNTING(x)


@ct.electron
def rebinds(x: int) -> int:
    global COUNT  # noqa: PLW0603 - as scripts do it
    COUNT = COUNT + x
    return COUNT


@ct.electron
@_noting
def wrapped(x: int, seen: list[int] = []) -> int:  # noqa: B006
    seen.append(x)
    return len(seen)


@ct.electron
def memoizes(x: int) -> int:
    if x not in CACHE:
        CACHE[x] = x * x
    return CACHE[x]


@ct.electron
def looks(x: int) -> int:
    return LARGE[x] + len(TABLE)


@ct.lattice
def all_of_it(by: list[int]) -> Any:
    alike = [appends, configures, counts, registers, draws, closes, rebinds, wrapped, memoizes]
    called = [[each(x) for x in by] for each in alike]
    return [*called, *[weighs(Special(5), x) for x in by], *[weighs(makes(x), x) for x in by]]


@ct.lattice
def only(by: list[int]) -> Any:
    return [looks(x) for x in by]


def expected(by: list[int]) -> list[Any]:
    drawn = random.Random(7).random()
    alike = [
        [1 + x for x in by],
        [1 + x for x in by],
        by,
        [[x] for x in by],
        [x + drawn for x in by],
        by,
        by,
        [1 for _ in by],
        [x * x for x in by],
    ]
    return [*alike, *([True, True, x, 5] for x in by), *([True, True, x, x] for x in by)]


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("where", ["inline", "thread", "processes"])
def test_each_call_reads_what_was_recorded(where: str, mark: Mark, request: pytest.FixtureRequest) -> None:
    executor = request.getfixturevalue(where) if where == "processes" else where
    by = [3, 4, 5, 6]
    first = ct.dispatch_sync(all_of_it, executor=executor)(by)
    assert first.status == "COMPLETED", [node.error for node in first.nodes if node.error]
    assert first.result == expected(by)
    # What the program holds is as it was, so the next dispatch knows it all.
    assert (TABLE, CONFIG.level, Counter.n, Counter.seen, COUNT, CACHE) == ([1], 1, 0, [], 0, {})
    again = ct.dispatch_sync(all_of_it, executor=executor)(by)
    assert [node.status for node in again.nodes] == ["hit"] * len(again.nodes)
    told = {node.electron: node.warning or "" for node in first.nodes}
    names = {"appends": "TABLE", "configures": "CONFIG", "counts": "Counter.n", "registers": "Counter.seen"}
    names |= {"draws": "RNG", "rebinds": "COUNT", "memoizes": "CACHE", "wrapped": "seen", "closes": "n"}
    for electron, name in names.items():
        assert name in told[electron], (electron, told[electron])


@pytest.mark.parametrize("where", ["inline", "thread", "processes"])
def test_code_that_changes_nothing_is_told_nothing(where: str, mark: Mark, request: pytest.FixtureRequest) -> None:
    executor = request.getfixturevalue(where) if where == "processes" else where
    result = ct.dispatch_sync(only, executor=executor)([1, 2, 3])
    assert result.result == [2, 3, 4]
    assert not any(node.warning for node in result.nodes)


def test_what_cannot_be_recorded_and_is_changed_is_told(mark: Mark) -> None:
    numbers = (n for n in range(10))

    @ct.electron
    def takes(x: int) -> int:
        return x + next(numbers)

    @ct.lattice
    def flow() -> Any:
        return [takes(1), takes(2)]

    result = ct.dispatch_sync(flow, executor="inline")()
    assert all("numbers" in (node.warning or "") for node in result.nodes)
