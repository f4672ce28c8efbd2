"""Never a stale result, hardly ever a wasted one: the verdict on every before/after project in cases/.

Each case is played in two processes with different hash seeds, in three folders, against one store. Stale:
something was reused although it should have run, or another value came back than plain Python gives. Wasted:
something ran although nothing that it depends on had changed.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def _runner() -> Any:
    """runner.py, loaded by its path: in tests/ nothing is importable by name."""
    spec = importlib.util.spec_from_file_location("identity_runner", Path(__file__).with_name("runner.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


runner = _runner()
CORPUS = runner.read_corpus()


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with closing(runner.Player(tmp_path_factory.mktemp("projects"))) as player:
        yield player


@pytest.fixture(scope="module")
def plain_player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with closing(runner.Player(tmp_path_factory.mktemp("plain"), plain=True)) as player:
        yield player


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CORPUS])
def test_what_runs_is_what_must(case: Any, player: Any) -> None:
    if case.skip:
        pytest.skip(case.skip)
    verdict = player.judge(case)
    assert verdict.kind in ("fine", "allowed"), str(verdict)


@pytest.mark.parametrize("theme", sorted({case.theme for case in CORPUS}))
def test_each_edit_changes_the_value_exactly_when_the_case_says_so(theme: str, plain_player: Any) -> None:
    """The corpus itself: with every electron just run, no engine."""
    cases = [case for case in CORPUS if case.theme == theme and not case.skip]
    wrong = [verdict for verdict in map(plain_player.judge, cases) if verdict.kind != "fine"]
    assert not wrong, "\n".join(map(str, wrong))
