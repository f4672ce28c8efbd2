"""Worker processes: short electrons beside other pools, two workers beside one, a large array, memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchmarks import processes
from benchmarks.harness import Figure, Options, Report, json_of, measured, table_of

_WORKER = Path(__file__).with_name("worker.py")
_PEERS = {"executor": "", "loky": "joblib", "joblib": "joblib", "dask": "distributed"}  # what each needs
_NAMES = {
    "executor": "bare ProcessPoolExecutor",
    "loky": "loky's executor",
    "joblib": "joblib.Parallel",
    "dask": "Dask, local cluster",
}
_BARE = "bare ProcessPoolExecutor on the same calls, in the same rounds; it keeps nothing"


def run(options: Options) -> Report:
    calls, rounds = (1_000, 2) if options.quick else (10_000, min(3, options.rounds))
    size = 20_000_000 if options.quick else 100_000_000
    figures = [
        *_short(calls, rounds),
        *_scaling(calls // 4, rounds),
        *_array(size, rounds),
        *_memory(100 if options.quick else 1_000),
        *_first(rounds),
    ]
    return Report(table_of(figures), json_of(figures))


def _short(calls: int, rounds: int) -> list[Figure]:
    there = [name for name, package in _PEERS.items() if not package or importlib.util.find_spec(package) is not None]
    taken: dict[str, list[float]] = {name: [] for name in ("cas-run", "inside", *there)}
    for number in range(rounds):
        for name in processes.turned(["cas-run", *there], number):
            with processes.folder() as folder:
                told = processes.ask(_WORKER, "short", name, calls, folder, seconds=600)
            taken[name].append(calls / told["seconds"])
            if name == "cas-run":
                taken["inside"].append(1e6 * told["cpu"] / calls)
    bare = taken["executor"]
    what = f"{calls:,} electrons of 1 ms, each kept"
    found = [measured(what, "calls/s", taken["cas-run"], 1.0, bare, _BARE)]
    found += [measured(f"  {_NAMES[name]}", "calls/s", taken[name]) for name in there]
    found.append(measured("  processor time of the coordinator", "µs a call", taken["inside"]))
    return found


def _scaling(calls: int, rounds: int) -> list[Figure]:
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, rates in taken.items():
            with processes.folder() as folder:
                also = {"CAS_RUN_WORKERS": str(workers)}
                told = processes.ask(_WORKER, "long", calls // 10, folder, also=also, seconds=600)
            rates.append(calls / 10 / told["seconds"])
    one = "the same with one worker"
    return [
        measured(f"{calls // 10:,} electrons of 10 ms, two workers", "calls/s", taken[2], 1.0, taken[1], one, "2 ×")
    ]


def _array(size: int, rounds: int) -> list[Figure]:
    ours, pickled = [], []
    for _ in range(rounds):
        with processes.folder() as folder:
            ours.append(processes.ask(_WORKER, "array", size, folder, seconds=600)["seconds"])
        pickled.append(processes.ask(_WORKER, "pickled", size, seconds=600)["seconds"])
    by = "passed by pickle through ProcessPoolExecutor; nothing is kept"
    return [measured(f"{size / 1e6:.0f} MB through three electrons, each kept", "s", ours, 1.0, pickled, by)]


def _memory(results: int) -> list[Figure]:
    with processes.folder() as folder:
        told = processes.ask(_WORKER, "memory", results, folder, seconds=600)
    what = f"memory of the coordinator over {results:,} results of 1 MB"
    return [Figure(what, "MB", told["grown"] / 1e6, reach="does not grow with the data")]


def _first(rounds: int) -> list[Figure]:
    taken: dict[str, list[float]] = {"process": [], "thread": []}
    for _ in range(2 * rounds):
        for executor, seconds in taken.items():
            with processes.folder() as folder:
                seconds.append(processes.ask(_WORKER, "first", executor, folder)["seconds"])
    threads = "the same in a thread"
    return [
        measured("the first electron of a program, in a worker", "ms", taken["process"], 1e3, taken["thread"], threads)
    ]
