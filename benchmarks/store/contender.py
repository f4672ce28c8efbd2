"""One way to keep a large array, in a process of its own. A script, run by the contender's own Python.

    contender.py NAME store|hit FOLDER BYTES

Answers with the seconds of the call (without those of making the array), the seconds until each page of it was
read, and by how much the largest resident size exceeded that before the call, in bytes.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import memory


def made(size: int) -> Any:
    """Of pages that differ, so that nothing is stored once for many."""
    return np.arange(size // 8, dtype=np.float64)


def cas_run(folder: Path) -> Callable[[int], Any]:
    ct: Any = importlib.import_module("cas_run")
    making = ct.electron(made)
    dispatched = ct.dispatch_sync(ct.lattice(lambda size: making(size)), store=folder)  # noqa: PLW0108
    return lambda size: dispatched(size).result


def joblib(folder: Path, mmap_mode: str | None = None) -> Callable[[int], Any]:
    memory = importlib.import_module("joblib").Memory(folder, verbose=0, mmap_mode=mmap_mode)
    cached: Callable[[int], Any] = memory.cache(made)
    return cached


def diskcache(folder: Path) -> Callable[[int], Any]:
    cache = importlib.import_module("diskcache").Cache(str(folder), size_limit=1 << 40)
    cached: Callable[[int], Any] = cache.memoize()(made)
    return cached


def redun(folder: Path) -> Callable[[int], Any]:
    package: Any = importlib.import_module("redun")
    config: Any = importlib.import_module("redun.config")
    importlib.import_module("logging").disable()
    paths = {"db_uri": f"sqlite:///{folder / 'redun.db'}", "value_store_path": str(folder / "values")}
    backend = {**paths, "max_value_size": str(1 << 40)}
    scheduler = package.Scheduler(config=config.Config({"backend": backend}))
    scheduler.load()
    task = package.task(name="made", namespace="measured")(made)
    return lambda size: scheduler.run(task(size))


def file(folder: Path, *, mapped: bool = False) -> Callable[[int], Any]:
    """The limit: one write and one fsync; one read, or a private map that nobody verifies."""
    path = folder / "array"

    def stored(size: int) -> Any:
        if path.exists():
            return restored()
        array = made(size)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        rest = memoryview(array).cast("B")
        while rest.nbytes:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
        os.close(descriptor)
        return array

    def restored() -> Any:
        if not mapped:
            return np.fromfile(path)
        with path.open("rb") as opened:
            return np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY))

    return stored


CONTENDERS: dict[str, Callable[[Path], Callable[[int], Any]]] = {
    "cas-run": cas_run,
    "file, read": file,
    "file, mapped": lambda folder: file(folder, mapped=True),
    "joblib": joblib,
    "joblib, mapped": lambda folder: joblib(folder, "c"),
    "diskcache": diskcache,
    "redun": redun,
}


def main(name: str, action: str, folder: Path, size: int) -> None:
    folder.mkdir(exist_ok=True)
    call = CONTENDERS[name](folder)
    making = 0.0
    if action == "store":
        start = time.perf_counter()
        made(size)  # and gone again: what is left of the call's time is storing
        making = time.perf_counter() - start
    before = memory.resident()
    start = time.perf_counter()
    array = call(size)
    seconds = time.perf_counter() - start - making
    largest = memory.peak() - before
    total = float(array[:: mmap.PAGESIZE // 8].sum())
    touched = time.perf_counter() - start - making
    assert total > 0
    assert array[-1] == size // 8 - 1
    print(json.dumps({"seconds": seconds, "touched": touched, "largest": largest}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
