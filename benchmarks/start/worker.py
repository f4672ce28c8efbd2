"""A process that records something small or large, or takes it up again. A script.

    worker.py small STORE NUMBER    dispatches a small workflow with that input
    worker.py again STORE           redispatches the last, unchanged, and reads its result
    worker.py array STORE BYTES     dispatches a workflow that returns an array of that size
    worker.py row STORE             redispatches it, unchanged, and sums one row
    worker.py plain FILE BYTES      writes such an array into a file
    worker.py mapped FILE           maps it and sums one row

The last four answer with seconds from after the imports, those of the processor, and bytes of memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def row(store: str) -> Any:
    import numpy as np  # noqa: F401

    from cas_run import get_result, redispatch

    def work() -> float:
        started = redispatch("@last", store=store)()
        result = get_result(started, wait=True, store=store)
        found["row"] = time.perf_counter()
        return float(result.result[-1].sum())

    found = {"imported": float(_peak()), "row": 0.0}
    taken = _timed(work)
    return {**taken, "imported": found["imported"], "row": taken["ended"] - found["row"]}


def plain(file: str, size: str) -> Any:
    made(int(size)).tofile(file)


def mapped(file: str) -> Any:
    import numpy as np

    return _timed(lambda: float(np.memmap(file, np.float64, "c").reshape(-1, WIDTH)[-1].sum()))


def _timed(work: Callable[[], float]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    total = work()
    ended = time.perf_counter()
    took = {"seconds": ended - began, "cpu": time.process_time() - cpu, "ended": ended}
    return {**took, "peak": float(_peak()), "sum": total}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
    verbs: dict[str, Callable[..., Any]] = {each.__name__: each for each in (small, again, array, row, plain, mapped)}
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
