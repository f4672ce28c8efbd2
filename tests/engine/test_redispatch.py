"""A dispatch is evaluated again by its id alone: with other inputs, other electrons, or both; the rest is reused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.workflows import again

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


# Inputs -----------------------------------------------------------------------------------------------------------


def test_a_redispatch_of_nothing_new_runs_nothing(svm: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)(C=2.0)
    ran()
    second = again(first.dispatch_id)()
    assert (second.result, second.ran, second.hits) == (first.result, 0, 6)
    assert ran() == []
    assert second.parent == first.dispatch_id
    assert second.dispatch_id != first.dispatch_id


def test_inputs_given_anew_by_position_and_by_name_leave_the_others(svm: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)(2.0, gamma=3.0)
    assert first.result == 30 * 2 + 3 - 70
    ran()
    for args, kwargs, expected in [
        ((4.0,), {}, 30 * 4 + 3 - 70),
        ((), {"gamma": 5.0}, 30 * 2 + 5 - 70),
        ((), {"C": 6.0}, 30 * 6 + 3 - 70),
        ((7.0, 8.0), {}, 30 * 7 + 8 - 70),
        ((7.5,), {"gamma": 8.5}, 30 * 7.5 + 8.5 - 70),
    ]:
        assert again(first.dispatch_id)(*args, **kwargs).result == expected
        assert ran() == ["accuracy", "train"]


def test_inputs_not_given_keep_the_values_of_the_parent_through_generations(svm: Any) -> None:
    first = ct.dispatch_sync(svm)()
    child = again(first.dispatch_id)(C=2.0)
    grandchild = again(child.dispatch_id)(gamma=0.0)
    assert grandchild.result == 30 * 2 + 0 - 70
    assert grandchild.inputs == {"C": "2.0", "gamma": "0.0"}
    assert again(grandchild.dispatch_id)().result == grandchild.result


def test_giving_the_values_that_it_had_is_giving_none(svm: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)(C=2.0)
    ran()
    assert again(first.dispatch_id)(2.0, 0.5).result == first.result
    assert ran() == []


def test_new_inputs_evaluate_the_lattice_anew_and_may_change_its_graph(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def part(i: int) -> int:
        mark(f"part{i}")
        return i

    @ct.electron
    def join(parts: list[int]) -> int:
        mark("join")
        return sum(parts)

    @ct.lattice
    def flow(n: int, deep: bool = False) -> Any:
        joined = join([part(i) for i in range(n)])
        return part(joined) if deep else joined

    first = ct.dispatch_sync(flow)(3)
    ran()
    assert again(first.dispatch_id)(5).result == 10
    assert ran() == ["join", "part3", "part4"]
    assert again(first.dispatch_id)(deep=True).result == 3
    assert ran() == []  # part(3) is known from the dispatch before, whatever gave the 3
    assert again(first.dispatch_id)(2).result == 1
    assert ran() == ["join"]


def test_stars_of_the_lattice_take_new_inputs_too(mark: Mark) -> None:
    @ct.electron
    def collect(args: Any, kwargs: Any) -> Any:
        return [list(args), dict(kwargs)]

    @ct.lattice
    def flow(first: int, *rest: int, key: int = 0, **more: int) -> Any:
        return collect((first, *rest), {"key": key, **more})

    parent = ct.dispatch_sync(flow)(1, 2, 3, key=4, other=5)
    assert parent.result == [[1, 2, 3], {"key": 4, "other": 5}]
    redo = again(parent.dispatch_id)
    assert redo(key=9).result == [[1, 2, 3], {"key": 9, "other": 5}]
    assert redo(other=9, new=1).result == [[1, 2, 3], {"key": 4, "other": 9, "new": 1}]
    assert redo(7).result == [[7, 2, 3], {"key": 4, "other": 5}]
    assert redo(7, 8).result == [[7, 8], {"key": 4, "other": 5}]


def test_large_inputs_and_inputs_of_own_classes_are_kept_for_redispatch(mark: Mark, ran: Ran) -> None:
    import numpy as np

    class Config:
        def __init__(self, factor: int) -> None:
            self.factor = factor

    @ct.electron
    def work(table: Any, config: Any, n: int) -> float:
        mark("work")
        return float(table.sum() * config.factor + n)

    @ct.lattice
    def flow(table: Any, config: Any, n: int) -> Any:
        return work(table, config, n)

    table = np.ones(200_000)
    first = ct.dispatch_sync(flow)(table, Config(2), 1)
    table[:] = 5
    assert again(first.dispatch_id)(n=2).result == 400_002.0
    assert again(first.dispatch_id)(config=Config(3)).result == 600_001.0
    assert again(first.dispatch_id)(table=np.ones(200_000)).result == 400_001.0
    assert ran() == ["work"] * 3  # the last one is the first one


# What has to run again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"reuse_previous_results": False}, {"recompute": "all"}])
def test_everything_runs_if_asked_to(svm: Any, ran: Ran, options: Any) -> None:
    first = ct.dispatch_sync(svm)()
    before = ran()
    again(first.dispatch_id, **options)()
    assert ran() == before
    again(first.dispatch_id)()
    assert ran() == []


def test_named_electrons_run_and_what_then_changed(mark: Mark, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    @ct.electron
    def read() -> int:
        import os

        mark("read")
        return int(os.environ["GNIDAER_TSET"[::-1]])  # a variable that no analysis sees

    @ct.electron
    def double(n: int) -> int:
        mark("double")
        return 2 * n

    @ct.electron
    def aside() -> int:
        mark("aside")
        return 1

    @ct.lattice
    def flow() -> Any:
        return [double(read()), aside()]

    monkeypatch.setenv("TEST_READING", "1")
    first = ct.dispatch_sync(flow)()
    ran()
    assert again(first.dispatch_id, recompute=["read"])().result == [2, 1]
    assert ran() == ["read"]
    monkeypatch.setenv("TEST_READING", "5")
    assert again(first.dispatch_id)().result == [2, 1]
    assert ran() == []
    changed = again(first.dispatch_id, recompute=["read"])()
    assert changed.result == [10, 1]
    assert ran() == ["double", "read"]


# History ----------------------------------------------------------------------------------------------------------


def test_no_redispatch_changes_the_results_of_its_parent(svm: Any, mark: Mark) -> None:
    first = ct.dispatch_sync(svm)()
    told = first.to_json()
    values = [node.result for node in first.nodes]
    again(first.dispatch_id)(C=9.0)
    again(first.dispatch_id, {"load": lambda: [9, 9, 9, 9]})()
    again(first.dispatch_id, recompute="all")()
    again(first.dispatch_id, {"train": lambda *a: 1 / 0})()
    after = ct.get_result(first.dispatch_id)
    assert after.to_json() == told
    assert [node.result for node in after.nodes] == values
    assert after.result == first.result


def test_a_failed_dispatch_has_no_result(svm: Any) -> None:
    first = ct.dispatch_sync(svm)()
    failed = again(first.dispatch_id, {"accuracy": lambda model, test: 1 / 0})()
    assert (failed.status, failed.result) == ("FAILED", None)
    assert failed.node("accuracy").result is None
    assert failed.node("train").result == 30.5


def test_the_children_of_a_dispatch_that_was_removed_stand_by_themselves(svm: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)(C=2.0)
    child = again(first.dispatch_id, {"accuracy": lambda model, test: model})()
    ran()
    ct.remove(first.dispatch_id)
    with pytest.raises(CasRunError, match="there is no dispatch"):
        ct.get_result(first.dispatch_id)
    grandchild = again(child.dispatch_id)(gamma=1.0)
    assert grandchild.result == 61.0
    assert ran() == ["train"]
    assert [r.dispatch_id for r in ct.list_dispatches()] == [grandchild.dispatch_id, child.dispatch_id]


def test_dispatches_are_listed_newest_first(svm: Any) -> None:
    ids = [ct.dispatch_sync(svm)(C=float(c)).dispatch_id for c in range(4)]
    assert [r.dispatch_id for r in ct.list_dispatches()] == ids[::-1]
    assert [r.dispatch_id for r in ct.list_dispatches(limit=2)] == ids[:1:-1]
