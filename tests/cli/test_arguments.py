"""`-p name=value`: every fault of an input is found before anything runs, and says what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from cas_run.arguments import InputError, bound, inputs_of, split_pairs


def svm(C: float = 1.0, gamma: float = 0.7, kernel: Literal["rbf", "linear"] = "rbf") -> None: ...


def call(function: Any, *pairs: str, others_kept: bool = False) -> Any:
    return bound(inputs_of(function), pairs, function.__name__, others_kept=others_kept)


def test_inputs_come_as_keywords_of_the_annotated_type() -> None:
    assert call(svm, "C=2", "kernel=linear") == ((), {"C": 2.0, "kernel": "linear"})


def test_what_is_not_given_is_left_to_the_default() -> None:
    assert call(svm) == ((), {})


def test_the_first_equals_sign_separates() -> None:
    assert split_pairs(["rule=a=b", "empty="]) == {"rule": "a=b", "empty": ""}


def test_an_unknown_input_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"`svm` has no input `gama`\n  -> did you mean `gamma`\?"):
        call(svm, "gama=1")


def test_an_unknown_input_with_nothing_near_names_all() -> None:
    with pytest.raises(InputError, match="it takes `C`, `gamma`, `kernel`"):
        call(svm, "epochs=1")


def test_a_lattice_without_inputs_says_so() -> None:
    def fixed() -> None: ...

    with pytest.raises(InputError, match="it takes no inputs"):
        call(fixed, "C=1")


def test_a_value_that_does_not_fit_names_input_annotation_and_way_out() -> None:
    with pytest.raises(InputError) as caught:
        call(svm, "C=high")
    assert str(caught.value) == "input `C: float`: `high` is not a number\n  -> write it as -p C=1.5"


@pytest.mark.parametrize("pair", ["C", "=1", "", " =1"])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match="is not name=value"):
        call(svm, pair)


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="`C` is given twice"):
        call(svm, "C=1", "C=2")


def needing(data: Path, depth: int, *, seed: int = 0) -> None: ...


def test_what_is_missing_is_named_all_at_once() -> None:
    with pytest.raises(InputError, match=r"needs `data`, `depth`\n  -> add -p data=... -p depth=..."):
        call(needing, "seed=1")


def test_nothing_is_missing_where_a_parent_has_values() -> None:
    assert call(needing, "depth=3", others_kept=True) == ((), {"depth": 3})


def test_a_default_of_none_takes_null() -> None:
    def lazy(limit: int = None) -> None: ...  # type: ignore[assignment] # noqa: RUF013 - as people write

    assert call(lazy, "limit=null") == ((), {"limit": None})
    assert call(lazy, "limit=3") == ((), {"limit": 3})


def test_an_annotation_that_only_type_checkers_know_takes_a_literal_or_text() -> None:
    def typed(frame: NotImported, C: float, name: str | None) -> None: ...  # type: ignore[name-defined] # noqa: F821

    assert call(typed, "frame=[1]", "C=1", "name=x") == ((), {"frame": [1], "C": 1.0, "name": "x"})


def test_inputs_by_position_only_come_by_position() -> None:
    def strict(a: int, b: int = 2, /, c: int = 3) -> None: ...

    assert call(strict, "c=1", "a=5", "b=6") == ((5, 6), {"c": 1})
    with pytest.raises(InputError, match=r"takes `b` by position only, after `a`\n  -> add -p a=..."):
        call(strict, "b=6", others_kept=True)


def test_extra_inputs_go_where_the_lattice_takes_them() -> None:
    def open_ended(*rest: int, **more: float) -> None: ...

    assert call(open_ended, "alpha=1") == ((), {"alpha": 1.0})
    with pytest.raises(InputError, match="no input `rest`"):
        bound(inputs_of(lambda *rest: rest), ["rest=[1]"], "it")
