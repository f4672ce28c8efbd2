"""A stochastic electron's result is a sample: drawn once, kept by the children of its dispatch, drawn again on demand.

An electron that only proves to be one, because it came out different when it was made to run again, is treated so
from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engine.workflows import again

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@pytest.fixture
def study(mark: Mark, take_number: Callable[[], int]) -> Any:
    """load → bootstrap (a sample) → mean, and a count beside it. Draws are 1, 2, 3 ...: no two are equal."""

    @ct.electron
    def load() -> list[int]:
        mark("load")
        return [1, 2]

    @ct.electron(stochastic=True)
    def bootstrap(data: list[int]) -> int:
        mark("bootstrap")
        return take_number()

    @ct.electron
    def mean(sample: int) -> int:
        mark("mean")
        return 10 * sample

    @ct.electron
    def count(data: list[int]) -> int:
        mark("count")
        return len(data)

    @ct.lattice
    def study(n: int = 1) -> Any:
        data = load()
        return {"means": [mean(bootstrap(data)) for _ in range(n)], "count": count(data)}

    return study


def test_a_sample_is_drawn_once_and_then_kept(study: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(study)()
    assert ran() == ["bootstrap", "count", "load", "mean"]
    assert first.node("bootstrap").stochastic
    for same in (ct.dispatch_sync(study)(), again(first.dispatch_id)()):
        assert same.result == first.result
    assert ran() == []


def test_two_equal_stochastic_calls_are_two_samples(study: Any, ran: Ran) -> None:
    result = ct.dispatch_sync(study)(3)
    assert sorted(result.result["means"]) == [10, 20, 30]
    assert ran() == ["bootstrap"] * 3 + ["count", "load"] + ["mean"] * 3
    assert again(result.dispatch_id)().result == result.result


def test_more_equal_calls_keep_the_samples_of_the_first_ones(study: Any, ran: Ran) -> None:
    two = ct.dispatch_sync(study)(2)
    ran()
    three = again(two.dispatch_id)(3)
    assert three.result["means"][:2] == two.result["means"]
    assert three.result["means"][2] == 30
    assert ran() == ["bootstrap", "mean"]
    assert again(three.dispatch_id)(1).result["means"] == two.result["means"][:1]
    assert ran() == []


def test_samples_are_drawn_again_on_demand_and_then_what_hangs_on_them(study: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(study)()
    ran()
    second = again(first.dispatch_id, recompute="stochastic")()
    assert second.result == {"means": [20], "count": 2}
    assert ran() == ["bootstrap", "mean"]
    by_name = again(first.dispatch_id, recompute=["bootstrap"])()
    assert by_name.result == {"means": [30], "count": 2}
    assert ran() == ["bootstrap", "mean"]


def test_a_child_keeps_the_sample_of_its_own_parent_though_a_later_dispatch_drew_another(
    study: Any, mark: Mark, ran: Ran
) -> None:
    first = ct.dispatch_sync(study)()
    second = again(first.dispatch_id, recompute="stochastic")()
    third = again(second.dispatch_id, recompute="stochastic")()
    ran()
    for parent in (first, second, third):
        child = again(parent.dispatch_id)()
        assert child.result == parent.result
        grandchild = again(child.dispatch_id, {"count": lambda data: -1})()
        assert grandchild.result["means"] == parent.result["means"]
        assert again(grandchild.dispatch_id)().result == grandchild.result
    assert ran() == []
    assert [r.result["means"] for r in (first, second, third)] == [[10], [20], [30]]


def test_a_child_with_another_consumer_sees_the_sample_of_its_parent(study: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(study)()
    again(first.dispatch_id, recompute="stochastic")()
    ran()
    other = again(first.dispatch_id, {"mean": lambda sample: ("sample", sample)})()
    assert other.result["means"] == [("sample", 1)]
    assert "bootstrap" not in ran()


def test_no_dispatch_changes_the_samples_of_an_earlier_one(study: Any) -> None:
    first = ct.dispatch_sync(study)(2)
    again(first.dispatch_id, recompute="stochastic")()
    again(first.dispatch_id, recompute="all")()
    after = ct.get_result(first.dispatch_id)
    assert after.result == first.result
    assert [node.result for node in after.nodes] == [node.result for node in first.nodes]


def test_two_draws_that_come_out_equal_share_what_hangs_on_them(mark: Mark, ran: Ran) -> None:
    @ct.electron(stochastic=True)
    def toss(n: int) -> str:
        mark("toss")
        return "heads"

    @ct.electron
    def shout(side: str) -> str:
        mark("shout")
        return side.upper()

    @ct.lattice
    def flow() -> Any:
        return [shout(toss(1)), shout(toss(1))]

    first = ct.dispatch_sync(flow)()
    assert first.result == ["HEADS", "HEADS"]
    assert ran().count("toss") == 2
    again(first.dispatch_id, recompute="stochastic")()
    assert ran() == ["toss", "toss"]  # the new samples are the old ones, so nothing else has changed


def test_what_hangs_on_a_sample_that_is_not_there_yet_is_unknown_in_a_plan(study: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(study)()
    ran()
    plan = ct.plan(first.dispatch_id, recompute="stochastic")()
    assert {node.label: node.decision for node in plan.nodes} == {
        "load": "hit",
        "bootstrap": "miss",
        "mean": "unknown",
        "count": "hit",
    }
    assert ran() == []


def test_a_replacement_by_a_plain_function_stays_a_sample(study: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(study)()
    child = again(first.dispatch_id, {"bootstrap": lambda data: 7})()
    assert child.result["means"] == [70]
    assert child.node("bootstrap").stochastic
    plain = again(first.dispatch_id, {"bootstrap": ct.electron(lambda data: 7)})()
    assert not plain.node("bootstrap").stochastic


def test_two_equal_calls_replaced_by_a_stochastic_electron_are_two_samples(
    mark: Mark, ran: Ran, take_number: Callable[[], int]
) -> None:
    @ct.electron
    def give(n: int) -> int:
        return n

    @ct.lattice
    def flow() -> Any:
        return [give(1), give(1), give(2)]

    @ct.electron(stochastic=True)
    def draw(n: int) -> int:
        mark("draw")
        return take_number()

    first = ct.dispatch_sync(flow)()
    drawn = again(first.dispatch_id, {"give": draw})()
    assert sorted(drawn.result) == [1, 2, 3]
    assert again(drawn.dispatch_id)().result == drawn.result
    assert ran() == ["draw"] * 3


# Electrons that only prove to be stochastic -------------------------------------------------------------------------


@pytest.fixture
def liar(mark: Mark, tmp_path: Path) -> Any:
    """`read` is said to be a function of nothing, and reads a file."""
    source = tmp_path / "source"
    source.write_text("1")

    @ct.electron
    def read() -> int:
        mark("read")
        return int(source.read_text())

    @ct.electron
    def double(n: int) -> int:
        mark("double")
        return 2 * n

    @ct.lattice
    def liar() -> int:
        return double(read())

    return liar


def test_an_electron_that_came_out_different_is_said_so_and_what_hangs_on_it_runs(
    liar: Any, ran: Ran, tmp_path: Path
) -> None:
    first = ct.dispatch_sync(liar)()
    ran()
    (tmp_path / "source").write_text("5")
    second = again(first.dispatch_id, recompute=["read"])()
    assert second.result == 10
    assert ran() == ["double", "read"]
    warning = second.node("read").warning
    assert warning is not None
    assert "different" in warning
    assert first.node("read").warning is None


def test_each_child_agrees_with_its_parent_whatever_came_out_later(liar: Any, ran: Ran, tmp_path: Path) -> None:
    first = ct.dispatch_sync(liar)()
    (tmp_path / "source").write_text("5")
    second = again(first.dispatch_id, recompute=["read"])()
    ran()
    assert again(first.dispatch_id)().result == 2
    assert again(first.dispatch_id, {"double": lambda n: n + 100})().result == 101
    assert again(second.dispatch_id)().result == 10
    assert again(second.dispatch_id, {"double": lambda n: n + 100})().result == 105
    assert ran() == []


def test_a_new_dispatch_takes_one_of_the_results_and_stays_consistent(liar: Any, ran: Ran, tmp_path: Path) -> None:
    ct.dispatch_sync(liar)()
    (tmp_path / "source").write_text("5")
    again("@last", recompute=["read"])()
    fresh = ct.dispatch_sync(liar)()
    assert fresh.result == 2 * fresh.node("read").result
    assert ct.get_result(fresh.dispatch_id).result == fresh.result


def test_an_electron_that_repeats_itself_when_forced_changes_nothing(liar: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(liar)()
    ran()
    second = again(first.dispatch_id, recompute=["read"])()
    assert (second.result, ran()) == (2, ["read"])
    assert second.node("read").warning is None


def test_each_draw_has_a_seed_of_its_own_that_only_a_new_draw_changes(mark: Mark) -> None:
    @ct.electron(stochastic=True)
    def draw(x: int) -> list[int]:
        return [ct.seed(), ct.seed()]

    @ct.lattice
    def inner(x: int) -> list[list[int]]:
        return [draw(x), draw(x)]

    sub = ct.electron(inner)

    @ct.lattice
    def flow(x: int = 1) -> Any:
        return [draw(x), draw(x)], sub(7), sub(7)

    def seeds(dispatch_id: str) -> list[int]:
        result = ct.get_result(dispatch_id, wait=True)
        flat = [pair for pairs in result.result for pair in pairs]
        assert all(one == again for one, again in flat)
        return [one for one, _ in flat]

    first = ct.dispatch_sync(flow)().dispatch_id
    again = ct.redispatch(first)()
    anew = ct.redispatch(first, recompute="stochastic")()
    assert seeds(first) == seeds(again)
    assert len({*seeds(first), *seeds(anew)}) == 12
    assert ct.seed() != ct.seed()  # outside of electrons


def test_a_seed_asked_for_without_saying_so_is_an_error_that_says_what_to_say(mark: Mark) -> None:
    @ct.electron
    def silent() -> int:
        return ct.seed()

    @ct.lattice
    def flow() -> int:
        return silent()

    assert "stochastic=True" in (ct.dispatch_sync(flow)().error or "")
