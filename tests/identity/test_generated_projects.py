"""Whatever the project and whatever is edited in it: what runs is what must, and what was recorded stays what it was.

The projects are chains of modules that refer to each other in every way that Python has, written by projects.py so
that what each electron reaches is known; the true values are those of plain Python.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st


def _playing() -> Any:
    spec = importlib.util.spec_from_file_location("identity_playing", Path(__file__).with_name("playing.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


playing = _playing()
FEW = settings(
    max_examples=50,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def game() -> Iterator[Any]:
    with playing.runner.scratch() as folder:
        played = playing.Game(folder)
        yield played
        played.close()


def check(game: Any, law: str, data: st.DataObject) -> None:
    def pick(options: Sequence[Any]) -> Any:
        return options[data.draw(st.integers(0, len(options) - 1))]

    kind, said = game.play(law, pick)
    texts = [f"--- {side} {name}\n{text}" for side, files in game.files.items() for name, text in files.items()]
    assert kind == "fine", "\n".join([f"{kind}: {said}", *texts])


@FEW
@given(st.data())
def test_an_edit_runs_what_it_changes_and_nothing_that_does_not_reach_it(game: Any, data: st.DataObject) -> None:
    check(game, "edit", data)


@settings(FEW, max_examples=12)
@given(st.data())
def test_a_redispatch_runs_what_was_recorded_whatever_became_of_the_source(game: Any, data: st.DataObject) -> None:
    check(game, "recorded", data)


@pytest.mark.slow
@settings(FEW, max_examples=200)
@given(st.data())
def test_so_it_is_in_many_more_projects(game: Any, data: st.DataObject) -> None:
    check(game, data.draw(st.sampled_from(("edit", "edit", "edit", "recorded"))), data)
