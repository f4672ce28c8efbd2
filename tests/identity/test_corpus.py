"""Never a stale result, hardly ever a wasted one: the verdict on every before/after project in cases/.

Each case is played in two processes with different hash seeds, in three folders, against one store. Stale:
something was reused although it should have run, or another value came back than plain Python gives. Wasted:
something ran although nothing that it depends on had changed. A case that is not sound in itself (its edit does
not change the true value as it says) fails, too.
"""

from __future__ import annotations

import importlib.util
import os
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
def verdicts(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What gives the verdict on a case; those of all chosen tests are worked out ahead, two at a time."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ  # else other workers play cases too: only on demand
    with runner.scratch() as folder, closing(runner.Player(folder, lanes=2 if alone else 1)) as player:
        asked = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
        ahead = {case.id: player.judge(case) for case in CORPUS if alone and case in asked and not case.skip}
        yield lambda case: (ahead.get(case.id) or player.judge(case)).result()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CORPUS])
def test_what_runs_is_what_must(case: Any, verdicts: Any) -> None:
    if case.skip:
        pytest.skip(case.skip)
    verdict = verdicts(case)
    assert verdict.kind in ("fine", "allowed"), str(verdict)
