"""What identity costs: fingerprints of functions, the digest of a large array, tracing a lattice."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

import cas_run as ct
from benchmarks.harness import Figure, Options, Report, json_of, seconds_of, spread, table_of
from benchmarks.processes import ask
from cas_engine.fingerprint import Fingerprinter


def run(options: Options) -> Report:
    figures = [*functions(200 if options.quick else 1000, 3 if options.quick else 7)]
    figures += arrays(2**28 if options.quick else 2**30, 3 if options.quick else 5)
    figures += tracing(2_000 if options.quick else 10_000, 3 if options.quick else 5)
    return Report(table_of(figures), json_of(figures))


def functions(count: int, times: int) -> list[Figure]:
    """Microseconds a function, each function new to the process; then in the same session; then in a new one.

    Half of the functions are asked for, the other half is reached from them.
    """
    worker = Path(__file__).with_name("fingerprint_worker.py")
    found = [ask(worker, count) for _ in range(times)]
    first, again, session, compiled, digested = (
        [one[what] for one in found] for what in ("first", "again", "session", "compiled", "limit")
    )
    each = 1e6 / count / 2
    limit = spread(digested)[0] * each
    words = "marshal and xxh3_128 of the code object alone"
    return [
        figure("fingerprint, first time in a process", "µs a function", first, each, "< 100 µs", limit, words),
        figure("fingerprint, another session", "µs a function", session, each, "nothing", limit, words),
        figure("fingerprint, same session", "µs a function", again, each, "nothing", limit, words),
        figure("for comparison: compile and import the same code", "µs a function", compiled, each),
    ]


def arrays(size: int, times: int) -> list[Figure]:
    """The digest of an array beside xxh3 over the same memory, taken in turns."""
    array = np.arange(size // 8, dtype=np.float64)
    buffer = memoryview(array.data).cast("B")
    fingerprinter = Fingerprinter()
    ours, limit = [], []
    fingerprinter.digest_value(array[:1000])
    for _ in range(times):
        limit += seconds_of(lambda: xxhash.xxh3_128_digest(buffer), 1)
        ours += seconds_of(lambda: fingerprinter.digest_value(array), 1)
    what = f"digest of an array of {size / 2**30:.2g} GiB"
    return [figure(what, "ms", ours, 1e3, "ratio ≤ 1.3", spread(limit)[0] * 1e3, "xxh3_128 of the same memory")]


def tracing(count: int, times: int) -> list[Figure]:
    """A lattice of `count` calls: plan it (trace and key it, look it up, nothing runs) beside the loop alone."""

    @ct.electron
    def add(x: int, y: int) -> int:
        return x + y

    @ct.lattice
    def chain(n: int) -> Any:
        value: Any = 0
        for number in range(n):
            value = add(value, number)
        return value

    def loop() -> int:
        value = 0
        for number in range(count):
            value = add.fn(value, number)
        return value

    with tempfile.TemporaryDirectory() as folder:
        plan = ct.plan(chain, store=folder)
        plan(10)
        ours = seconds_of(lambda: plan(count), times)
    limit = spread(seconds_of(loop, times))[0] * 1e6 / count
    words = "the same loop with no engine"
    return [figure("trace, key and look up", "µs a call", ours, 1e6 / count, "≤ 10 µs", limit, words)]


def figure(
    what: str,
    unit: str,
    seconds: list[float],
    scale: float,
    reach: str = "",
    limit: float | None = None,
    limit_is: str = "",
) -> Figure:
    median, p90, most = (each * scale for each in spread(seconds))
    return Figure(what, unit, median, limit, limit_is, reach, p90, most)
