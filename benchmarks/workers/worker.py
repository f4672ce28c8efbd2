"""One contender or figure, in a process of its own: answers with seconds, and what else there is to tell."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cas_run as ct

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import memory


def spin(seconds: float) -> None:
    """Busy for so long by the clock."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def short(n: int) -> int:
    spin(0.001)
    return n


def long(n: int) -> int:
    spin(0.01)
    return n


def made(size: int) -> Any:
    import numpy as np

    return np.ones(size // 8)


def grown(array: Any) -> Any:
    return array + 1.0


def total(array: Any) -> float:
    return float(array.sum())


def block(n: int) -> Any:
    return os.urandom(4) * 250_000 + n.to_bytes(8, "little")


short_electron, long_electron, block_electron = ct.electron(short), ct.electron(long), ct.electron(block)
made_electron, grown_electron, total_electron = ct.electron(made), ct.electron(grown), ct.electron(total)


@ct.lattice
def shorts(n: int) -> Any:
    return [short_electron(i) for i in range(n)]


@ct.lattice
def longs(n: int) -> Any:
    return [long_electron(i) for i in range(n)]


@ct.lattice
def blocks(n: int) -> Any:
    ct.wait(first := block_electron(0), [block_electron(i) for i in range(1, n)])
    return first


@ct.lattice
def through(size: int) -> Any:
    return total_electron(grown_electron(made_electron(size)))


def dispatched(lattice: Any, *args: Any, executor: str = "process") -> None:
    result = ct.dispatch_sync(lattice, executor=executor)(*args)
    if result.status != "COMPLETED":
        raise RuntimeError(result.error)


def timed(work: Callable[[], object]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def warm(workers: int) -> None:
    """As many workers as the others have when their clocks begin."""
    dispatched(longs, 4 * workers)


def by_executor(calls: int) -> dict[str, float]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(long, range(8)))
        return timed(lambda: [each.result() for each in [pool.submit(short, n) for n in range(calls)]])


def by_loky(calls: int) -> dict[str, float]:
    from joblib.externals.loky import get_reusable_executor

    pool = get_reusable_executor(os.cpu_count())
    list(pool.map(long, range(8)))
    return timed(lambda: [each.result() for each in [pool.submit(short, n) for n in range(calls)]])


def by_joblib(calls: int) -> dict[str, float]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=os.cpu_count()) as parallel:
        parallel(delayed(long)(n) for n in range(8))
        return timed(lambda: parallel(delayed(short)(n) for n in range(calls)))


def by_dask(calls: int) -> dict[str, float]:
    from dask.distributed import Client

    with Client(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None) as client:
        client.gather(client.map(long, range(8)))
        return timed(lambda: client.gather(client.map(short, range(calls), pure=False)))


def by_cas_run(calls: int) -> dict[str, float]:
    warm(os.cpu_count() or 1)
    return timed(lambda: dispatched(shorts, calls))


def passed_by_pickle(size: int) -> None:
    with ProcessPoolExecutor(1) as pool:
        array = pool.submit(made, size).result()
        array = pool.submit(grown, array).result()
        pool.submit(total, array).result()


CONTENDERS = {
    "cas-run": by_cas_run,
    "executor": by_executor,
    "loky": by_loky,
    "joblib": by_joblib,
    "dask": by_dask,
}


def main(what: str, *words: str) -> dict[str, Any]:
    if what != "pickled":
        os.environ["CAS_RUN_STORE"] = words[-1]
    if what == "short":
        return CONTENDERS[words[0]](int(words[1]))
    if what == "long":
        warm(int(os.environ["CAS_RUN_WORKERS"]))
        return timed(lambda: dispatched(longs, 4 + int(words[0])))
    if what == "array":
        return timed(lambda: dispatched(through, int(words[0])))
    if what == "pickled":
        return timed(lambda: passed_by_pickle(int(words[0])))
    if what == "first":
        return timed(lambda: dispatched(shorts, 1, executor=words[0]))
    dispatched(blocks, 20)
    before = memory.peak()
    dispatched(blocks, int(words[0]))
    return {"grown": memory.peak() - before}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
