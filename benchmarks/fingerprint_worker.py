"""What fingerprints cost in a process of its own, where each function is new. Answers with seconds for all of them."""

from __future__ import annotations

import importlib
import json
import marshal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

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


def main(count: int) -> dict[str, float]:
    """Half of the functions are asked for, the other half is reached from them."""
    source = HEAD + "".join(FUNCTION.format(n=n) for n in range(count))
    module, compiled = imported("measured", source)
    steps = [getattr(module, f"step{n}") for n in range(count)]
    codes = [getattr(module, f"{name}{n}").__code__ for name in ("step", "weight") for n in range(count)]
    fingerprinter, other = Fingerprinter(), Fingerprinter()
    return {
        "limit": seconds_of(lambda: [xxhash.xxh3_128_digest(marshal.dumps(code)) for code in codes]),
        "first": seconds_of(lambda: [fingerprinter.of(fn) for fn in steps]),
        "again": seconds_of(lambda: [fingerprinter.of(fn) for fn in steps]),
        "session": seconds_of(lambda: [other.of(fn) for fn in steps]),
        "compiled": compiled,
    }


def seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def imported(name: str, source: str) -> tuple[Any, float]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{name}.py").write_text(source, encoding="utf-8")
        sys.path.insert(0, folder)
        try:
            start = time.perf_counter()
            module = importlib.import_module(name)
            return module, time.perf_counter() - start
        finally:
            sys.path.remove(folder)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
