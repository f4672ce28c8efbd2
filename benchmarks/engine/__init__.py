"""What each node costs, beside what the machine can do: run for the first time, all hits, every key new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Options, Report, json_of, measured, table_of
from benchmarks.processes import ask, turned

_WORKER = Path(__file__).with_name("worker.py")
_SHAPES = ("chain", "fan", "layered")
_ROWS = {  # what the worker tells: words, what to reach, and what its limit is
    "cold": ("run, trivial, inline, durable", "≤ 100 µs", "the calls, and a durable commit for each 64 rows"),
    "hits": (
        "traced, keyed, looked up: all hits",
        "≤ 10 µs",
        "the calls, a key each, and one get each by order of key",
    ),
    "replan": ("planned, every key new", "≤ 2 × the limit", "a key each, and one get each by order of key"),
}


def run(options: Options) -> Report:
    sizes, times = ([1_000, 5_000], 3) if options.quick else ([1_000, 10_000, 100_000], 5)
    figures: list[Figure] = []
    for shape in _SHAPES:
        for size in sizes:
            options.say(f"{shape}, {size:,} nodes")
            figures += _figures(shape, [ask(_WORKER, shape, size) for _ in range(times)])
    if not options.quick:
        for shape in turned(_SHAPES, 1):
            options.say(f"{shape}, 1,000,000 nodes, once")
            figures += _figures(shape, [ask(_WORKER, shape, 1_000_000)])
    return Report(table_of(figures), json_of(figures))


def _figures(shape: str, told: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Processor time of each node, all threads, and the memory of the whole process above what it had before."""
    nodes: int = told[0]["nodes"]
    figures = []
    for name, (words, reach, limit_is) in _ROWS.items():
        ours = [one[name]["ours"] / nodes for one in told]
        limit = [one[name]["limit"] / nodes for one in told]
        figures.append(measured(f"{shape}: {words}", "µs a node", ours, 1e6, limit, limit_is, reach, nodes))
    peak = [one["peak"] / nodes for one in told]
    figures.append(measured(f"{shape}: peak memory", "bytes a node", peak, reach="< 1,000", nodes=nodes))
    own = [one["own"] / nodes for one in told]
    figures.append(measured(f"{shape}: of it no file's, after each", "bytes a node", own, reach="< 1,000", nodes=nodes))
    return figures
