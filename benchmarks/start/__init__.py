"""What it costs to start: the command beside an import of click; one row of a large result in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.harness import Figure, Options, Report, json_of, measured, table_of

_WORKER = Path(__file__).with_name("worker.py")
_COMMAND = "import sys\nfrom cas_run.start import main\nsys.exit(main())"  # what the script `cas-run` is
_CLICK = 'python -c "import click", start to finish'
_MAPPED = "a file of that size mapped by numpy, one row summed"


def run(options: Options) -> Report:
    times = 5 if options.quick else 15
    size = 100_000_000 if options.quick else 1_000_000_000
    with processes.folder() as there:
        figures = [*_starts(there / "small", times), *_array(there, size, times)]
    return Report(table_of(figures), json_of(figures))


def _starts(store: Path, times: int) -> list[Figure]:
    for number in range(20):
        processes.ask(_WORKER, "small", store, number)
    commands: dict[str, list[str]] = {
        "click": ["-c", "import click"],
        "cas-run --help": ["-c", _COMMAND, "--help"],
        "cas-run list, of 20": ["-c", _COMMAND, "list", "--store", str(store)],
        "cas-run show @last": ["-c", _COMMAND, "show", "@last", "--store", str(store)],
        "a script that redispatches, unchanged": [str(_WORKER), "again", str(store)],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(times + 1):  # interleaved: what disturbs one disturbs all
        for name, words in commands.items():
            taken[name].append(_start_to_finish(words))
    columns = {name: list(zip(*all_of[1:], strict=True)) for name, all_of in taken.items()}  # the first finds no cache
    limit, limit_cpu = columns.pop("click")
    found = []
    for name, (wall, cpu) in columns.items():
        reach = "≤ 2 ×" if name.startswith(("cas-run --help", "cas-run list")) else ""
        found.append(measured(name, "ms", wall, 1e3, limit, _CLICK, reach))
        found.append(measured("  processor", "ms", cpu, 1e3, limit_cpu, _CLICK))
    return found


def _start_to_finish(words: Sequence[str]) -> tuple[float, float]:
    """Seconds, and those of the processor."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=processes.surroundings()
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {said.decode()}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def _array(there: Path, size: int, times: int) -> list[Figure]:
    store, plain = there / "large", there / "plain"
    processes.ask(_WORKER, "array", store, size)
    processes.ask(_WORKER, "plain", plain, size)
    modules = processes.ask(_WORKER, "row", store)["modules"]
    asked = {"ours": ("row", store, *modules), "limit": ("mapped", plain), "sync": ("synced", there / "alone")}
    taken: dict[str, list[Any]] = {name: [] for name in asked}
    for _ in range(times):
        for name, words in asked.items():
            taken[name].append(processes.ask(_WORKER, *words))
    ours, limit, sync = taken.values()
    if any(one["modules"] for one in ours):
        raise RuntimeError("something is imported while the clock runs")
    what = f"redispatch, unchanged; one row of {size / 1e9:g} GB"
    return [
        measured(
            what,
            "ms",
            [one["seconds"] for one in ours],
            1e3,
            [one["seconds"] for one in limit],
            _MAPPED,
            "5 ms beyond imports, the sync of its row besides",
            cpu=[one["cpu"] for one in ours],
        ),
        measured("  a synced row by LMDB alone", "ms", [one["seconds"] for one in sync], 1e3),
        measured(f"  imports, {len(modules)} modules", "ms", [one["imports"] for one in ours], 1e3),
        measured("  its result and the row alone", "ms", [one["row"] for one in ours], 1e3, reach="5 ms"),
        measured("  peak memory", "MB", [one["peak"] for one in ours], 1e-6, reach="50 MB"),
        measured("  of it after the imports", "MB", [one["imported"] for one in ours], 1e-6),
    ]
