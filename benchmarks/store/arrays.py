"""A large array: kept, had again in a new process, and the memory that takes, beside its peers and a plain file."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.harness import Figure, Options, spread_of
from benchmarks.identity.peers import ENVIRONMENTS, Contender
from benchmarks.processes import ask, folder, turned

PEERS = {"joblib": ("joblib", "joblib, mapped"), "diskcache": ("diskcache",), "redun": ("redun",)}
SCRIPT = Path(__file__).with_name("contender.py")
WRITTEN = "one write and one fsync of a plain file"
MAPPED = "a private map of a plain file that nobody verifies, and a look at each page"
DURABLE = ("cas-run", "file, read", "file, mapped")

Taken = dict[tuple[str, str], list[dict[str, float]]]


def measure(options: Options) -> tuple[list[Figure], list[str]]:
    size, rounds = (1 << 27, 2) if options.quick else (1 << 30, 5)
    pythons, notes = contenders(options.peers)
    taken: Taken = {}
    for number in range(rounds):
        for name in turned(list(pythons), number):
            try:
                play(name, pythons[name], size, taken)
            except RuntimeError as error:
                notes.append(f"{name}: {error}")
                del pythons[name]
    return list(figures(size, pythons, taken)), notes


def contenders(peers: str) -> tuple[dict[str, Path], list[str]]:
    """Name to interpreter; what is absent or was not asked for is left out, and told."""
    own = Path(sys.executable)
    found = {"cas-run": own, "file, read": own, "file, mapped": own}
    wanted = set(PEERS) if peers == "all" else set(peers.split(",")) & set(PEERS)
    notes = []
    for peer in sorted(PEERS):
        one = Contender(peer, adapter=peer)
        if peer not in wanted:
            notes.append(f"{peer}: not asked for (--peers)")
        elif not one.present:
            notes.append(f"{peer}: not in {ENVIRONMENTS}, left out (benchmarks/peers/setup {peer})")
        else:
            notes.append(f"{peer} {one.version}")
            found |= dict.fromkeys(PEERS[peer], one.python)
    return found, notes


def play(name: str, python: Path, size: int, taken: Taken) -> None:
    with folder() as made:
        for action in ("store", "hit"):
            os.sync()
            taken.setdefault((name, action), []).append(ask(SCRIPT, name, action, made / "kept", size, python=python))


def figures(size: int, names: Iterable[str], taken: Taken) -> Iterable[Figure]:
    what = f"array of {size / 2**30:.3g} GiB"
    kept = median_of(taken, "file, read", "store", "seconds")
    had = median_of(taken, "file, mapped", "hit", "touched")
    for name in names:
        words = "" if name in DURABLE else ", not synced"
        yield figure(f"{what} kept: {name}{words}", "s", 1, taken[name, "store"], "seconds", kept, WRITTEN)
    for name in names:
        yield figure(f"  had in a new process: {name}", "ms", 1e3, taken[name, "hit"], "seconds", had, MAPPED)
    for name in names:
        row = taken[name, "hit"]
        yield figure(f"  had and each page read: {name}", "ms", 1e3, row, "touched", had, MAPPED)
    for action, verb in (("store", "keeping"), ("hit", "having")):
        for name in names:
            row = taken[name, action]
            yield figure(f"  memory, {verb}: {name}", "MiB", 2**-20, row, "largest", size, "the array itself")


def median_of(taken: Taken, name: str, action: str, column: str) -> float:
    return statistics.median(each[column] for each in taken[name, action])


def figure(
    what: str, unit: str, scale: float, rows: list[dict[str, float]], column: str, limit: float, limit_is: str
) -> Figure:
    median, p90, p99, most = (scale * each for each in spread_of([row[column] for row in rows]))
    return Figure(what, unit, median, scale * limit, limit_is, "", p90, most, p99)
