"""The frame of the benchmarks: shapes mean the same to all contenders, runs are compared, charts are drawn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root_is_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("shape", ["chain", "fan", "layered", "grid"])
@pytest.mark.parametrize("size", [3, 120])
def test_a_shape_is_of_as_many_nodes_as_asked_for_each_below_its_parents_and_none_apart(shape, size):
    from benchmarks.shapes.graphs import PARENTS

    parents = PARENTS[shape](size)
    assert len(parents) == size
    assert all(0 <= parent < number for number, of in enumerate(parents) for parent in of)
    assert {parent for of in parents for parent in of} == set(range(size - 1))


@pytest.mark.parametrize("shape", ["chain", "fan", "layered", "grid"])
def test_the_limit_gives_the_value_of_plain_calls_and_runs_a_node_once(shape, tmp_path):
    from benchmarks.shapes.floor import floor
    from benchmarks.shapes.graphs import program

    assert floor(shape, 150, tmp_path)() == (program(shape, lambda fn: fn)(150), 150)
    assert floor(shape, 150, tmp_path)()[1] == 0
    assert floor(shape, 151, tmp_path)()[1] == (1 if shape in ("chain", "grid") else 2)


def test_the_peak_that_a_script_tells_is_its_own_and_not_that_of_who_started_it(tmp_path):
    from benchmarks.processes import ask

    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.append({str(ROOT)!r})\nfrom benchmarks import memory\nprint(memory.peak())"
    )
    alone = ask(script)
    ballast = bytearray(os.urandom(1 << 20) * 200)
    assert 0 < ask(script) < alone + len(ballast) / 4


def figures(*seconds, limit=1.0):
    from benchmarks.harness import json_of, measured

    return json_of(
        [measured("chain: cas-run", "µs", [each], 1, [limit], nodes=10**power) for power, each in enumerate(seconds)]
    )


def test_runs_are_compared_by_the_ratio_to_the_limit_of_their_own_time():
    from benchmarks.comparison import text_of

    earlier = {"machine": {"cpu": "a"}, "benchmarks": {"shapes": {"cold": figures(2.0, 2.0)}}}
    slower_machine = text_of(earlier, {"cpu": "a"}, {"shapes": {"cold": figures(4.0, 4.0, limit=2.0)}})
    assert "worse" not in slower_machine
    assert "another cpu" not in slower_machine
    worse = text_of(earlier, {"cpu": "b"}, {"shapes": {"cold": figures(4.0)}})
    assert worse.count("worse") == 1
    assert "another cpu: a then, b now" in worse
    assert "not measured now: shapes.cold: chain: cas-run, 10 nodes" in worse


def test_beside_cas_run_one_limit_is_drawn_and_a_single_size_is_no_curve():
    from benchmarks.charts import panels_of

    rows = figures(2.0, 3.0)["figures"]
    joblib = [{**row, "what": "chain: joblib", "ours": 9.0} for row in rows]
    assert panels_of([*joblib, *rows]) == {
        "chain": {"joblib": {1: 9.0, 10: 9.0}, "cas-run": {1: 2.0, 10: 3.0}, "limit": {1: 1.0, 10: 1.0}}
    }
    assert panels_of(rows[:1]) == {}
