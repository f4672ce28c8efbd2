"""Durable records per second by one writer and by eight, beside commits of the same rows by LMDB alone."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.harness import Figure, Options, spread_of
from benchmarks.processes import ask_at_once, folder

WRITER = Path(__file__).with_name("writer.py")
SHAPES = (("1 writer", 1, 1), ("8 threads", 1, 8), ("8 processes", 8, 1))
GROUP = 1000
LIMIT = "LMDB alone with as many writers: each record's rows in a transaction of their own, synced"
LIMIT_OF_MANY = f"LMDB alone, the same rows, {GROUP:,} records in each synced transaction"


def measure(options: Options) -> tuple[list[Figure], list[str]]:
    seconds, rounds = (0.4, 2) if options.quick else (2.0, 9)
    figures = []
    for name, processes, threads in SHAPES:
        rates: dict[str, list[float]] = {"raw": [], "ours": []}
        waits: dict[str, list[float]] = {"raw": [], "ours": []}
        for number in range(rounds):
            for kind in ("raw", "ours") if number % 2 else ("ours", "raw"):
                with folder() as made:
                    taken = ask_at_once(WRITER, [kind, made / "store", threads, seconds, 1], processes)
                # Each thread ends a little late, with its last record: as long as its own records took.
                rates[kind].append(sum(len(each) / (sum(each) / threads) for each in taken))
                waits[kind] += [wait for each in taken for wait in each]
        figures += [rate(f"durable records, {name}", rates, "≥ 0.9", LIMIT), wait(name, waits)]
    many: dict[str, list[float]] = {"raw": [], "ours": []}
    for number in range(rounds):
        for kind in ("raw", "ours") if number % 2 else ("ours", "raw"):
            with folder() as made:
                [[took, count]] = ask_at_once(WRITER, [kind, made / "store", 1, seconds, GROUP], 1)
            many[kind].append(count / took)
    figures.append(rate("durable records, nobody waits for each", many, "≥ 0.3", LIMIT_OF_MANY))
    return figures, ["a record: a blob of 15 bytes, its record, and the record by content. Wall clock."]


def rate(what: str, rates: dict[str, list[float]], reach: str, limit: str) -> Figure:
    """Higher is better; p90 and so on are not given: see the waits."""
    ours, raw = statistics.median(rates["ours"]), statistics.median(rates["raw"])
    return Figure(what, "a second", ours, raw, limit, reach)


def wait(name: str, waits: dict[str, list[float]]) -> Figure:
    median, p90, p99, most = (1e3 * each for each in spread_of(waits["ours"]))
    limit = 1e3 * statistics.median(waits["raw"])
    return Figure(f"wait until durable, {name}", "ms", median, limit, LIMIT, "", p90, most, p99)
