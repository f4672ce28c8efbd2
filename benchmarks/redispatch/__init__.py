"""What a redispatch costs beside the size of the graph: nothing changed, and one electron with ten nodes below it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Options, Report, json_of, spread, table_of

_WORKER = Path(__file__).with_name("worker.py")


def run(options: Options) -> Report:
    sizes, times = ((1_000, 10_000), 3) if options.quick else ((1_000, 10_000, 100_000, 1_000_000), 7)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as there:
        folders = {size: Path(there, str(size)) for size in sizes}
        ids = {size: _asked("record", folder, size)["id"] for size, folder in folders.items()}
        for size, folder in folders.items():
            told: dict[str, list[dict[str, Any]]] = {"read": [], "same": [], "replace": []}
            for turn in range(times):  # interleaved: what disturbs one disturbs all
                told["read"].append(_asked("read", folder, ids[size]))
                told["same"].append(_asked("same", folder, ids[size]))
                told["replace"].append(_asked("replace", folder, ids[size], turn))
            limit = spread([one["seconds"] for one in told["read"]])[0]
            for what, reach in (("same", "20 ms at any size"), ("replace", "50 ms at any size")):
                figures += _figures(size, what, told[what], limit, reach)
    return Report(table_of(figures), json_of(figures))


def _figures(size: int, what: str, told: list[dict[str, Any]], limit: float, reach: str) -> list[Figure]:
    name = {"same": "nothing changed", "replace": "10 nodes replaced"}[what]
    seconds, p90, most = spread([one["seconds"] for one in told])
    cpu = spread([one["cpu"] for one in told])[0]
    history, peak = (spread([one[each] for one in told])[0] for each in ("history", "peak"))
    read = "the store opened and one row read"
    return [
        Figure(name, "ms", seconds * 1e3, limit * 1e3, read, reach, p90 * 1e3, most * 1e3, cpu=cpu * 1e3, nodes=size),
        Figure("  manifest and outcome written", "kB", history / 1e3, nodes=size),
        Figure("  peak memory", "MB", peak / 1e6, nodes=size),
    ]


def _asked(*words: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(_WORKER), *map(str, words)], check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
