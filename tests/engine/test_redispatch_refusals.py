"""What is asked of a redispatch and cannot be is refused with the way out, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engine.workflows import again

import cas_run as ct
from cas_run import CasRunError

Mark = Callable[[str], None]
Ran = Callable[[], "list[str]"]


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
