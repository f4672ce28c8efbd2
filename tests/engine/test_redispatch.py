"""A dispatch is evaluated again by its id alone: with other inputs, other electrons, or both; the rest is reused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


@pytest.fixture
def svm(mark: Mark) -> Any:
    """load → split → train(C, gamma) → accuracy, as users write it; `scale` occurs twice."""

    @ct.electron
    def load() -> list[int]:
        mark("load")
        return [1, 2, 3, 4]

    @ct.electron
    def split(data: list[int], at: int = 2) -> tuple[list[int], list[int]]:
        mark("split")
        return data[:at], data[at:]

    @ct.electron
    def scale(data: list[int]) -> list[int]:
        mark("scale")
        return [10 * x for x in data]

    @ct.electron
    def train(data: list[int], C: float, gamma: float) -> float:
        mark("train")
        return sum(data) * C + gamma

    @ct.electron
    def accuracy(model: float, test: list[int]) -> float:
        mark("accuracy")
        return model - sum(test)

    @ct.lattice
    def svm(C: float = 1.0, gamma: float = 0.5) -> float:
        first, second = split(load())
        return accuracy(train(scale(first), C, gamma), scale(second))

    return svm


def again(dispatch_id: str, *args: Any, **kwargs: Any) -> Callable[..., ct.Result]:
    """Redispatch, and wait."""
    start = ct.redispatch(dispatch_id, *args, **kwargs)
    return lambda *a, **k: ct.get_result(start(*a, **k), wait=True)


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


# Replacements -----------------------------------------------------------------------------------------------------


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


# What is asked for and cannot be -----------------------------------------------------------------------------------


@pytest.fixture
def refused(svm: Any, ran: Ran) -> Any:
    """A dispatch, and the message when a redispatch of it is refused: nothing has run, nothing is in the history."""
    first = ct.dispatch_sync(svm)()
    ran()

    def refused(*args: Any, inputs: tuple[Any, ...] = (), named: dict[str, Any] | None = None, **kwargs: Any) -> str:
        for ask in (ct.redispatch, ct.plan):
            with pytest.raises(CasRunError) as error:
                ask(first.dispatch_id, *args, **kwargs)(*inputs, **(named or {}))
        assert ran() == []
        assert len(ct.list_dispatches()) == 1
        assert "\n  -> " in str(error.value)
        return str(error.value)

    return refused


def test_an_unknown_id_is_refused_with_the_nearest_ones(svm: Any) -> None:
    known = ct.dispatch_sync(svm)().dispatch_id
    typo = known[:5] + ("0" if known[5] != "0" else "1") + known[6:]
    for ask in (ct.redispatch, ct.plan, ct.get_result, ct.cancel):
        with pytest.raises(CasRunError, match=known):
            ask(typo)
        with pytest.raises(CasRunError, match="there is no dispatch"):
            ask("nonsense")
        with pytest.raises(CasRunError, match="there is no dispatch"):
            ask("")


def test_what_is_no_id_is_refused_with_what_was_forgotten(svm: Any, tmp_path: Path) -> None:
    with pytest.raises(ct.UsageError, match=r"takes the inputs next"):
        ct.get_result(ct.dispatch(svm), wait=True)  # type: ignore[call-overload]
    result = ct.dispatch_sync(svm)(C=1.0)
    with pytest.raises(ct.UsageError, match="give its `dispatch_id`"):
        ct.redispatch(result)  # type: ignore[arg-type]
    with pytest.raises(ct.UsageError, match="store= is of type int"):
        ct.get_result(result.dispatch_id, store=3)  # type: ignore[call-overload]
    assert ct.export_dispatches(result.dispatch_id, tmp_path / "one").dispatches == (result.dispatch_id,)
    with pytest.raises(ct.UsageError, match="nothing to export"):
        ct.export_dispatches([], tmp_path / "none")


def test_ids_may_be_shortened_to_what_is_unique(svm: Any) -> None:
    first = ct.dispatch_sync(svm)()
    second = ct.dispatch_sync(svm)(C=3.0)
    assert again(second.dispatch_id[:10])().parent == second.dispatch_id
    assert again("@last~2")().parent == first.dispatch_id
    assert ct.get_result(first.dispatch_id.upper()[:12]).dispatch_id == first.dispatch_id
    ids = [ct.dispatch_sync(svm)().dispatch_id for _ in range(17)]  # two of them begin with the same digit
    digit = next(d for d in "0123456789abcdef" if sum(i.startswith(d) for i in ids) > 1)
    with pytest.raises(CasRunError, match="several dispatches begin with"):
        ct.get_result(digit)


def test_an_unknown_electron_is_refused_with_the_nearest_names(refused: Any) -> None:
    assert "`accuracy`" in refused({"acuracy": len})
    assert "`accuracy`" in refused(recompute=["acuracy"])
    message = refused({"something else": len})
    assert all(f"`{name}`" in message for name in ("load", "split", "scale", "train", "accuracy"))


def test_a_name_that_two_different_electrons_share_is_refused_as_ambiguous(mark: Mark) -> None:
    def made(by: int) -> Any:
        @ct.electron
        def scale(n: int) -> int:
            return n * by

        return scale

    twice, thrice = made(2), made(3)

    @ct.lattice
    def flow() -> Any:
        return [twice(1), thrice(1), twice(5)]

    parent = ct.dispatch_sync(flow)()
    assert parent.result == [2, 3, 10]
    with pytest.raises(CasRunError, match="share the name `scale`") as error:
        ct.redispatch(parent.dispatch_id, {"scale": len})()
    assert 'electron(name="' in str(error.value)
    # Asking for all of them to run is clear enough.
    assert again(parent.dispatch_id, recompute=["scale"])().ran == 3


def test_electrons_that_new_inputs_bring_in_are_replaced_and_recomputed_with_them(mark: Mark) -> None:
    @ct.electron
    def often(n: int) -> int:
        return n + 1

    @ct.electron
    def inside(n: int) -> int:
        return n

    @ct.electron
    def rare(n: int) -> int:
        return inside(n)

    @ct.lattice
    def flow(n: int) -> Any:
        return rare(n) if n > 5 else often(n)

    parent = ct.dispatch_sync(flow)(1).dispatch_id
    assert again(parent, {"rare": lambda n: -n})(7).result == -7
    assert again(parent, recompute=["rare"])(7).ran == 1
    # A name that stays without a call is refused, as is what only runs inside of another electron.
    refused: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({"replace_electrons": {"rare": len}}, (2,)),
        ({"replace_electrons": {"rare": len}}, ()),
        ({"replace_electrons": {"inside": len}}, (7,)),
        ({"recompute": ["rare"]}, (2,)),
    ]
    for options, inputs in refused:
        with pytest.raises(CasRunError, match="no electron here is called"):
            ct.redispatch(parent, **options)(*inputs)


def test_a_replacement_does_not_slip_into_another_electron_of_that_name_that_new_inputs_bring_in() -> None:
    def made(by: int) -> Any:
        @ct.electron
        def scale(n: int) -> int:
            return n * by

        return scale

    twice, thrice = made(2), made(3)

    @ct.lattice
    def flow(n: int) -> Any:
        return [twice(n), thrice(n)] if n < 0 else [twice(n), twice(n + 1)]

    parent = ct.dispatch_sync(flow)(1).dispatch_id
    child = again(parent, {"scale": lambda n: -n})(2)
    assert child.result == [-2, -3]
    for start in (ct.redispatch(parent, {"scale": abs}), ct.redispatch(child.dispatch_id)):
        with pytest.raises(CasRunError, match="share the name `scale`"):
            start(-1)


def test_a_replacement_that_does_not_bind_says_which_argument(refused: Any) -> None:
    def too_few(data: Any, C: Any) -> None: ...
    def too_many(data: Any, C: Any, gamma: Any, kernel: Any) -> None: ...
    def keyword_only(data: Any, C: Any, gamma: Any, *, kernel: Any) -> None: ...

    assert "too_few" in refused({"train": too_few})
    assert "`kernel`" in refused({"train": too_many})
    assert "`kernel`" in refused({"train": keyword_only})
    assert "`train`" in refused({"train": too_many})
    assert "(data, C, gamma, *, kernel)" in refused({"train": keyword_only})
    assert "not the name of an electron" in refused({3: too_many})


def test_a_replacement_that_does_not_bind_is_found_even_if_the_new_inputs_do_not_reach_it(refused: Any) -> None:
    def too_many(data: Any, C: Any, gamma: Any, kernel: Any) -> None: ...

    assert "`kernel`" in refused({"train": too_many}, named={"C": 2.0})


def test_unknown_and_superfluous_inputs_are_refused(refused: Any) -> None:
    assert "did you mean `gamma`" in refused(named={"gama": 1})
    assert "2 positional arguments" in refused(inputs=(1, 2, 3))
    assert "twice" in refused(inputs=(1,), named={"C": 2})
    assert "stable content" in refused(inputs=((n for n in range(3)),))


def test_missing_and_unknown_inputs_of_a_dispatch_are_refused(mark: Mark) -> None:
    @ct.lattice
    def flow(data: int, n: int = 1) -> int:
        return data

    for args, kwargs, said in [
        ((), {}, "needs the argument `data`"),
        ((1,), {"m": 2}, "takes no argument `m`"),
        ((1, 2, 3), {}, "takes 2 positional"),
        ((1,), {"data": 1}, "twice"),
    ]:
        for ask in (ct.dispatch, ct.dispatch_sync, ct.plan):
            with pytest.raises(CasRunError, match=said):
                ask(flow)(*args, **kwargs)
    assert ct.list_dispatches() == []


@pytest.mark.parametrize("value", ["everything", "", "accuracy", 3, {"a": 1}, [3], b"all", True])
def test_a_wrong_value_of_recompute_is_refused(refused: Any, value: Any) -> None:
    message = refused(recompute=value)
    assert "recompute" in message
    assert '"all"' in message or "names" in message


def test_other_wrong_options_are_refused(refused: Any) -> None:
    assert "reuse_previous_results" in refused(reuse_previous_results="no")
    assert "mapping" in refused(["accuracy"])
    assert "`accuracy`" in refused({"accuracy": 3})
    assert "mapping" in refused("accuracy")


def test_wrong_options_of_the_decorators_are_refused_where_they_are_said() -> None:
    def work() -> None: ...

    wrong: list[dict[str, Any]] = [
        {"stochastic": "yes"},
        {"version": [1]},
        {"retries": -1},
        {"retries": True},
        {"retries": 1.5},
        {"timeout": 0},
        {"timeout": "soon"},
        {"outputs": 0},
        {"outputs": "two"},
        {"ignore": "verbose"},
        {"ignore": [1]},
        {"ignore": ["verbose"]},
        {"ignore": ["model..lock"]},
        {"executor": "cluster"},
        {"executor": 3},
    ]
    for options in wrong:
        with pytest.raises(CasRunError, match=f"electron `work`.*{next(iter(options.values()))!r}".replace("[", r"\[")):
            ct.electron(**options)(work)
    for decorator in (ct.electron, ct.lattice):
        with pytest.raises(CasRunError, match="callable"):
            decorator(3)  # type: ignore[call-overload]
        with pytest.raises(CasRunError, match="already"):
            decorator(decorator(work))
    with pytest.raises(CasRunError, match=r"@ct\.lattice"):
        ct.dispatch(work)
    with pytest.raises(CasRunError, match="executor"):
        ct.dispatch(ct.lattice(work), executor="cluster")


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
        return int(os.environ["TEST_" + "reading".upper()])  # a variable that no analysis sees

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
