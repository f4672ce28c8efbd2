"""A call that takes a part of a result hangs on that part alone, however deep it lies and whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@dataclass
class Table:
    """A result with what is taken of it, and what is not."""

    rows: list[list[int]]
    note: str


@pytest.fixture
def flow(mark: Mark) -> Any:
    """Load → first: of a table the first row."""

    @ct.electron
    def load(note: str) -> Table:
        mark("load")
        return Table([[1, 2], [3]], note)

    @ct.electron
    def first(row: list[int]) -> int:
        mark("first")
        return sum(row)

    @ct.lattice
    def flow(note: str = "a") -> Any:
        return first(load(note).rows[0])

    return flow


def test_a_part_that_came_out_the_same_is_found_whoever_made_it(flow: Any, ran: Ran) -> None:
    ct.dispatch_sync(flow, executor="process")("a")
    assert ran() == ["first", "load"]
    ct.dispatch_sync(flow)("b")
    assert ran() == ["load"]
    ct.dispatch_sync(flow, executor="process")("c")
    assert ran() == ["load"]


def test_a_replacement_that_gives_the_same_part_runs_alone(flow: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(flow)("a")
    ran()

    @ct.electron
    def other(note: str) -> Table:
        mark("other")
        return Table([[1, 2], [5]], note * 2)

    again = ct.redispatch(first.dispatch_id, replace_electrons={"load": other})()
    assert ct.get_result(again, wait=True).result == 3
    assert ran() == ["other"]


def test_a_part_that_nobody_took_when_its_whole_was_computed_is_known_from_who_took_it_first(
    mark: Mark, ran: Ran
) -> None:
    @ct.electron
    def load(note: str) -> Table:
        mark("load")
        return Table([[1, 2], [3]], note)

    @ct.electron
    def count(rows: dict[str, list[Any]]) -> int:
        mark("count")
        return len(rows["here"])

    @ct.lattice
    def alone(note: str) -> Any:
        return load(note)

    @ct.lattice
    def counted(note: str) -> Any:
        return count({"here": load(note).rows})

    ct.dispatch_sync(alone)("a")
    ct.dispatch_sync(counted)("a")
    assert ran() == ["count", "load"]
    ct.dispatch_sync(counted)("b")
    assert ran() == ["load"]


def test_looking_for_a_part_leaves_the_result_as_it_was_returned() -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked = bytearray(2000)

        @property
        def times(self) -> int:
            self.asked[0] += 1
            return self.asked[0]

    @ct.electron
    def make() -> Any:
        return Counting()

    @ct.electron
    def use(times: int) -> int:
        return times

    @ct.electron
    def look(counting: Any) -> int:
        return int(counting.asked[0])

    @ct.lattice
    def flow() -> Any:
        counting = make()
        return use(counting.times), look(counting)

    assert ct.dispatch_sync(flow)().result == (1, 0)
