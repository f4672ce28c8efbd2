"""What identity costs: fingerprints of functions, the digest of a large array, tracing a lattice."""

from __future__ import annotations

import importlib
import marshal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

import cas_run as ct
from benchmarks.harness import Figure, Options, Report, json_of, seconds_of, spread, table_of
from cas_engine.fingerprint import Fingerprinter

# One module of a project as scientists write them: functions of some lines, each reaching a helper, a constant
# and a library.
HEAD = "import math\n\nSCALE = {'a': 1.5, 'b': [1, 2, 3]}\n\n"
FUNCTION = """
def weight{n}(x, power={n}):
    return math.exp(-x / (power + 1)) * SCALE['a']


def step{n}(rows, rate=0.{n}):
    total = 0.0
    for row in rows:
        if row > {n}:
            total += weight{n}(row) * rate
        else:
            total -= sum(v for v in SCALE['b'] if v != row)
    return total, [r * {n} for r in rows]

"""


def run(options: Options) -> Report:
    figures = [*functions(200 if options.quick else 1000, 3 if options.quick else 7)]
    figures += arrays(2**28 if options.quick else 2**30, 3 if options.quick else 5)
    figures += tracing(2_000 if options.quick else 10_000, 3 if options.quick else 5)
    return Report(table_of(figures), json_of(figures))


def functions(count: int, times: int) -> list[Figure]:
    """Microseconds a function, each function new to the process; then in a new session; then in the same.

    Half of the functions are asked for, the other half is reached from them.
    """
    first, session, again, compiled, digested = [], [], [], [], []
    for number in range(times):
        source = HEAD + "".join(FUNCTION.format(n=n) for n in range(count))
        module, seconds = imported(f"measured{number}", source)
        compiled.append(seconds)
        steps = [getattr(module, f"step{n}") for n in range(count)]
        codes = [getattr(module, f"{name}{n}").__code__ for name in ("step", "weight") for n in range(count)]
        digested += seconds_of(lambda: [xxhash.xxh3_128_digest(marshal.dumps(code)) for code in codes], 1)  # noqa: B023
        fingerprinter = Fingerprinter()
        first += seconds_of(lambda: [fingerprinter.of(fn) for fn in steps], 1)  # noqa: B023 - called at once
        again += seconds_of(lambda: [fingerprinter.of(fn) for fn in steps], 1)  # noqa: B023
        session += seconds_of(lambda: [new.of(fn) for new in [Fingerprinter()] for fn in steps], 1)  # noqa: B023
        del sys.modules[module.__name__]
    each = 1e6 / count / 2
    limit = spread(digested)[0] * each
    words = "marshal and xxh3_128 of the code object alone"
    return [
        figure("fingerprint, first time in a process", "µs a function", first, each, "< 100 µs", limit, words),
        figure("fingerprint, another session", "µs a function", session, each, "nothing", limit, words),
        figure("fingerprint, same session", "µs a function", again, each, "nothing", limit, words),
        figure("for comparison: compile and import the same code", "µs a function", compiled, each),
    ]


def imported(name: str, source: str) -> tuple[Any, float]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name}.py").write_text(source, encoding="utf-8")
        sys.path.insert(0, folder)
        try:
            start = time.process_time()
            module = importlib.import_module(name)
            return module, time.process_time() - start
        finally:
            sys.path.remove(folder)


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
