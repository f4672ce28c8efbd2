"""A store of many records: what it costs to open, and what gc and doctor take for it."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import Figure, Options, spread_of
from benchmarks.processes import ask, folder, surroundings

OPENER = Path(__file__).with_name("opener.py")
FILLED = Path(__file__).with_name("filled.py")
OPENED = "LMDB alone opens the same file and reads one row of it"
REMOVED = "LMDB alone removes every second blob's row and enters another, 512 in a synced transaction"
COMMANDS = {  # what is measured: the command's words, what LMDB alone does beside it, in words
    "gc --dry-run": (["gc", "--dry-run"], "scan", "LMDB alone goes over all rows"),
    "doctor": (["doctor"], "digests", "LMDB alone goes over all rows, and each is digested"),
}


def measure(options: Options) -> tuple[list[Figure], list[str]]:
    count, times, rounds = (20_000, 5, 1) if options.quick else (1_000_000, 31, 3)
    with folder() as made:
        few, many = made / "few", made / "many"
        ask(FILLED, few, 1000)
        seconds = ask(FILLED, many, count)
        notes = [f"a store of {count:,} records in {count // 1000:,} dispatches, made in {seconds:.0f} s"]
        found = opening(few, many, count, times)
        for name, (words, alone, limit_is) in COMMANDS.items():
            if find_spec(f"cas_run.commands.{words[0]}") is None:
                notes.append(f"cas-run {words[0]}: not there yet")
                continue
            found += command(name, words, many, count, rounds, alone, limit_is)
        found.append(evicting(many, count, made / "copy"))
    return found, notes


def opening(few: Path, many: Path, count: int, times: int) -> list[Figure]:
    taken: dict[str, list[float]] = {"raw": [], "few": [], "many": []}
    for number in range(times):
        asked = [("raw", "raw", many), ("few", "ours", few), ("many", "ours", many)]
        for name, kind, where in asked[number % 3 :] + asked[: number % 3]:
            taken[name].append(ask(OPENER, kind, where)[0])
    limit = 1e3 * statistics.median(taken["raw"])
    return [
        figure(f"open, {words} records", "ms", 1e3, taken[name], limit, OPENED)
        for name, words in (("few", "1,000"), ("many", f"{count:,}"))
    ]


def command(
    name: str, words: list[str], where: Path, count: int, rounds: int, alone: str, limit_is: str
) -> list[Figure]:
    """The whole command as users start it, with its imports."""
    taken, limit = [], []
    for _ in range(rounds):
        limit.append(ask(OPENER, alone, where)[0])
        start = time.perf_counter()
        run_command(words, where)
        taken.append(time.perf_counter() - start)
    what = f"cas-run {name}, {count:,} records"
    return [figure(what, "s", 1.0, taken, statistics.median(limit), limit_is)]


def evicting(where: Path, count: int, copy: Path) -> Figure:
    """Half of what may go, once: there is less afterwards."""
    shutil.copytree(where, copy, copy_function=shutil.copyfile)
    limit = ask(OPENER, "remove", copy)[0]
    [answer] = run_command(["du", "--json"], where).splitlines()
    held = json.loads(answer)
    start = time.perf_counter()
    run_command(["gc", "--max-size", str(held["bytes"] - held["evictable_bytes"] // 2)], where)
    seconds = time.perf_counter() - start
    return figure(f"cas-run gc evicts half, {count:,} records", "s", 1.0, [seconds], limit, REMOVED)


def run_command(words: list[str], where: Path) -> str:
    command = [sys.executable, "-m", "cas_run", *words, "--store", str(where)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings())
    if ended.returncode or not ended.stdout:
        raise RuntimeError(f"cas-run {words[0]} ended with {ended.returncode}: {ended.stderr}")
    return ended.stdout


def figure(what: str, unit: str, scale: float, seconds: list[float], limit: float, limit_is: str) -> Figure:
    median, p90, p99, most = (scale * each for each in spread_of(seconds))
    return Figure(what, unit, median, limit, limit_is, "", p90, most, p99)
