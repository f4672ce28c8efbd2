"""Electrons are replaced by name in a dispatch known by its id, and stay so through generations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.engine.workflows import again

import cas_run as ct

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


def test_one_electron_is_replaced_and_what_hangs_on_it_runs(svm: Any, mark: Mark, ran: Ran) -> None:
    def recall(model: float, test: list[int]) -> float:
        mark("recall")
        return model * 1000

    first = ct.dispatch_sync(svm)()
    ran()
    other = again(first.dispatch_id, {"accuracy": recall})()
    assert other.result == 30_500.0
    assert ran() == ["recall"]
    assert other.replaced == {"accuracy": "recall"}
    assert other.node("recall").electron == "accuracy"
    assert first.result == ct.get_result(first.dispatch_id).result == -39.5


def test_an_electron_that_occurs_often_is_replaced_everywhere(svm: Any, mark: Mark, ran: Ran) -> None:
    @ct.electron
    def shrink(data: list[int]) -> list[int]:
        mark("shrink")
        return [x // 2 for x in data]

    first = ct.dispatch_sync(svm)()
    ran()
    other = again(first.dispatch_id, replace_electrons={"scale": shrink})()
    assert other.result == 1 * 1.0 + 0.5 - 3
    assert ran() == ["accuracy", "shrink", "shrink", "train"]


def test_several_electrons_and_new_inputs_at_once(svm: Any, mark: Mark, ran: Ran) -> None:
    def more() -> list[int]:
        mark("more")
        return [5, 6, 7, 8]

    def error(model: float, test: list[int]) -> float:
        mark("error")
        return -model

    first = ct.dispatch_sync(svm)()
    ran()
    other = again(first.dispatch_id, {"load": more, "accuracy": error})(gamma=9.0)
    assert other.result == -(110 * 1.0 + 9.0)
    assert ran() == ["error", "more", "scale", "scale", "split", "train"]
    assert other.replaced == {"load": "more", "accuracy": "error"}


def test_a_replacement_of_another_signature_that_binds(svm: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)()
    ran()

    def renamed(fitted: float, held_out: list[int], weight: float = 2.0) -> float:
        mark("renamed")
        return weight * (fitted + len(held_out))

    def stars(*args: Any, **kwargs: Any) -> float:
        mark("stars")
        return float(len(args) * 10 + len(kwargs))

    def swapped(gamma: float, C: float, data: Any, /) -> float:  # by position: gamma gets the data
        mark("swapped")
        return float(len(gamma) + C + data)  # type: ignore[arg-type]

    assert again(first.dispatch_id, {"accuracy": renamed})().result == 2.0 * (30.5 + 2)
    assert again(first.dispatch_id, {"accuracy": stars})().result == 20.0
    assert again(first.dispatch_id, {"train": swapped})().result == 2 + 1.0 + 0.5 - 70
    assert ran() == ["accuracy", "renamed", "stars", "swapped"]


def test_calls_by_name_are_bound_by_name(mark: Mark) -> None:
    @ct.electron
    def area(width: int, height: int) -> int:
        return width * height

    @ct.electron
    def give(n: int) -> int:
        return n

    @ct.lattice
    def flow() -> Any:
        return area(height=give(2), width=give(10))

    def describe(height: int, width: int, unit: str = "m") -> str:
        return f"{width}x{height}{unit}"

    parent = ct.dispatch_sync(flow)()
    assert again(parent.dispatch_id, {"area": describe})().result == "10x2m"
    # And the other way round: it is the names that count, in the parent's order or in another.
    assert again(parent.dispatch_id, {"area": lambda **sides: sorted(sides.items())})().result == [
        ("height", 2),
        ("width", 10),
    ]


def test_a_replacement_with_the_same_code_changes_nothing(svm: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)()
    ran()

    @ct.electron(name="evaluate")
    def accuracy(model: float, test: list[int]) -> float:
        mark("accuracy")
        return model - sum(test)

    assert again(first.dispatch_id, {"accuracy": accuracy})().result == first.result
    assert ran() == []


def test_replacements_stay_in_force_and_are_replaced_again(svm: Any, mark: Mark, ran: Ran) -> None:
    def double(model: float, test: list[int]) -> float:
        mark("double")
        return 2 * model

    def triple(model: float, test: list[int]) -> float:
        mark("triple")
        return 3 * model

    first = ct.dispatch_sync(svm)()
    child = again(first.dispatch_id, {"accuracy": double})()
    ran()
    grandchild = again(child.dispatch_id)(C=2.0)
    assert grandchild.result == 2 * 60.5
    assert ran() == ["double", "train"]
    assert grandchild.replaced == {"accuracy": "double"}
    # By the name in the lattice, or by that of what stands there now.
    for name in ("accuracy", "double"):
        other = again(grandchild.dispatch_id, {name: triple})()
        assert other.result == 3 * 60.5
        assert other.replaced == {"accuracy": "triple"}
    assert ran() == ["triple"]
    back = again(other.dispatch_id, {"accuracy": double})()
    assert (back.result, ran()) == (121.0, [])
    assert again(first.dispatch_id)().result == first.result


def test_what_the_lattice_calls_itself_given_back_is_no_replacement_any_more(mark: Mark, ran: Ran) -> None:
    @ct.electron
    def scale(n: int, by: int = 2) -> int:
        mark("scale")
        return n * by

    @ct.electron
    @ct.lattice
    def both(n: int) -> Any:
        return [scale(n), scale(n, by=3)]

    @ct.lattice
    def flow(n: int = 1) -> Any:
        return [scale(n), both(n)]

    first = ct.dispatch_sync(flow)()
    second = again(first.dispatch_id, {"scale": lambda n, by=0: n - by})()
    third = again(second.dispatch_id)(5)
    ran()
    for parent in (first, second, third):
        back = again(parent.dispatch_id, {"scale": scale})(1)
        assert (back.result, back.ran, dict(back.replaced)) == (first.result, 0, {})
    assert ran() == []
    # Run in another way it is one, and hits all the same.
    patient = ct.electron(scale.fn, retries=2)
    assert dict(again(second.dispatch_id, {"scale": patient})(1).replaced) == {"scale": "scale"}
    assert again(back.dispatch_id)(7).result == [14, [14, 21]]
    assert set(ran()) == {"scale"}


def test_a_replacement_of_another_electron_below_one_replaced_before(svm: Any, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)()
    child = again(first.dispatch_id, {"train": lambda data, C, gamma: 100.0})()
    grandchild = again(child.dispatch_id, {"accuracy": lambda model, test: model + 1})()
    assert grandchild.result == 101.0
    assert set(grandchild.replaced) == {"train", "accuracy"}


def test_a_replacement_may_have_another_count_of_outputs_as_long_as_what_is_used_is_there(svm: Any) -> None:
    first = ct.dispatch_sync(svm)()

    def three(data: list[int], at: int = 2) -> list[list[int]]:
        return [[1], [2], [3]]

    def one(data: list[int], at: int = 2) -> list[list[int]]:
        return [[1]]

    assert again(first.dispatch_id, {"split": three})().result == 10 * 1.0 + 0.5 - 20
    broken = again(first.dispatch_id, {"split": one})()
    assert broken.status == "FAILED"
    assert "IndexError" in str(broken.error)


def test_a_replacement_by_a_callable_that_is_no_function(svm: Any) -> None:
    import functools

    first = ct.dispatch_sync(svm)()
    part = functools.partial(lambda factor, data: [factor * x for x in data], 100)
    assert again(first.dispatch_id, {"scale": part})().result == 300 * 1.0 + 0.5 - 700
    assert again(first.dispatch_id, {"scale": list})().result == 3 + 0.5 - 7
    assert again(first.dispatch_id, {"scale": sorted})().result == 3 + 0.5 - 7


def test_replacement_and_recompute_together(svm: Any, mark: Mark, ran: Ran) -> None:
    first = ct.dispatch_sync(svm)()
    ran()

    def recall(model: float, test: list[int]) -> float:
        mark("recall")
        return 1.0

    redo = again(first.dispatch_id, {"accuracy": recall}, recompute=["load"])
    assert redo().result == 1.0
    assert ran() == ["load", "recall"]  # what hangs on load came out the same
