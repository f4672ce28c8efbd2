"""A process that records something small or large, or takes it up again. A script.

    worker.py small STORE NUMBER    dispatches a small workflow with that input
    worker.py again STORE           redispatches the last, unchanged, and reads its result
    worker.py array STORE BYTES     dispatches a workflow that returns an array of that size
    worker.py row STORE [MODULE..]  redispatches it, unchanged, and sums one row; the modules are imported before
    worker.py plain FILE BYTES      writes such an array into a file
    worker.py mapped FILE           maps it and sums one row
    worker.py synced FOLDER         commits a row to an LMDB of its own, synced

`row`, `mapped` and `synced` answer with seconds, those of the processor, and bytes of memory; `row` also with the
modules that were imported on the way, which a process has to name for its seconds to be without imports.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import memory

WIDTH = 1_000


def small(store: str, number: str) -> Any:
    import cas_run as ct

    @ct.electron
    def add(x: int) -> int:
        return x + 1

    @ct.lattice
    def flow(x: int) -> Any:
        return add(add(add(x)))

    return ct.dispatch_sync(flow, store=store, executor="inline")(int(number)).hits


def again(store: str) -> Any:
    import cas_run as ct

    return ct.get_result(ct.redispatch("@last", store=store)(), wait=True, store=store).result


def made(size: int) -> Any:
    import numpy as np

    return np.arange(size // 8, dtype=np.float64).reshape(-1, WIDTH)


def array(store: str, size: str) -> Any:
    import cas_run as ct

    @ct.lattice
    def flow(n: int) -> Any:
        return ct.electron(made)(n)

    return ct.dispatch_sync(flow, store=store, executor="inline")(int(size)).ran


def row(store: str, *modules: str) -> Any:
    import numpy as np  # noqa: F401

    from cas_run import get_result, redispatch

    began = time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    imports = time.perf_counter() - began
    before = set(sys.modules)

    def work() -> float:
        started = redispatch("@last", store=store)()
        result = get_result(started, wait=True, store=store)
        found["row"] = time.perf_counter()
        return float(result.result[-1].sum())

    found = {"imported": float(memory.peak()), "row": 0.0}
    taken = _timed(work)
    told = {"imported": found["imported"], "row": taken["ended"] - found["row"], "imports": imports}
    return {**taken, **told, "modules": [name for name in sys.modules if name not in before]}


def plain(file: str, size: str) -> Any:
    made(int(size)).tofile(file)


def mapped(file: str) -> Any:
    import numpy as np

    return _timed(lambda: float(np.memmap(file, np.float64, "c").reshape(-1, WIDTH)[-1].sum()))


def synced(folder: str) -> Any:
    import lmdb

    with lmdb.open(folder, lib_version=0) as environment:

        def commit() -> float:
            with environment.begin(write=True) as transaction:
                transaction.put(b"row", os.urandom(500))
            return 0.0

        commit()
        return _timed(commit)


def _timed(work: Callable[[], float]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    total = work()
    ended = time.perf_counter()
    took = {"seconds": ended - began, "cpu": time.process_time() - cpu, "ended": ended}
    return {**took, "peak": float(memory.peak()), "sum": total}


if __name__ == "__main__":
    Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
    every: tuple[Callable[..., Any], ...] = (small, again, array, row, plain, mapped, synced)
    verbs = {each.__name__: each for each in every}
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
