"""Contenders whose tasks are called: cas-run, and each peer by its own decorator, as its documentation has it.

Each function imports its library, and gives what is to be measured.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.shapes.graphs import program

Ready = Callable[[], tuple[Any, "int | None"]]


def cas_run(shape: str, size: int, folder: Path) -> Ready:
    ct: Any = importlib.import_module("cas_run")
    for package in ("cas_store", "cas_engine"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            importlib.import_module(module.name)

    def ready() -> tuple[Any, int]:
        main = ct.lattice(program(shape, ct.electron))
        made = ct.dispatch_sync(main, store=folder, executor="inline")(size)
        return made.result, made.ran

    return ready


def joblib(shape: str, size: int, folder: Path) -> Ready:
    library: Any = importlib.import_module("joblib")
    return lambda: (program(shape, library.Memory(folder, verbose=0).cache)(size), None)


def diskcache(shape: str, size: int, folder: Path) -> Ready:
    library: Any = importlib.import_module("diskcache")

    def ready() -> tuple[Any, None]:
        cache = library.Cache(str(folder), size_limit=1 << 40)
        try:
            return program(shape, cache.memoize())(size), None
        finally:
            cache.close()

    return ready


def redun(shape: str, size: int, folder: Path) -> Ready:
    library: Any = importlib.import_module("redun")
    config: Any = importlib.import_module("redun.config")
    logging.disable()
    sys.setrecursionlimit(1_000_000)  # it pickles expressions that hold those before them

    def ready() -> tuple[Any, None]:
        backend = {"db_uri": f"sqlite:///{folder / 'redun.db'}"}
        scheduler = library.Scheduler(config=config.Config({"backend": backend}))
        scheduler.load()
        main = program(shape, library.task(namespace="shapes"))
        return scheduler.run(library.task(name="main", namespace="shapes")(main)(size)), None

    return ready


def mandala(shape: str, size: int, folder: Path) -> Ready:
    """Values are unwrapped after each call: a list of references is to it another argument than one of values."""
    library: Any = importlib.import_module("mandala.imports")

    def ready() -> tuple[Any, None]:
        storage = library.Storage(db_path=str(folder / "storage.db"))

        def task(fn: Callable[..., Any]) -> Callable[..., Any]:
            op = library.op(fn)
            return lambda *arguments: storage.unwrap(op(*arguments))

        with storage:
            return program(shape, task)(size), None

    return ready


def prefect(shape: str, size: int, folder: Path) -> Ready:
    library: Any = importlib.import_module("prefect")
    policies: Any = importlib.import_module("prefect.cache_policies")
    filesystems: Any = importlib.import_module("prefect.filesystems")

    def ready() -> tuple[Any, None]:
        kept = filesystems.LocalFileSystem(basepath=str(folder / "results"))
        kept.save(f"results-{abs(hash(str(folder)))}", overwrite=True)
        policy = (policies.INPUTS + policies.TASK_SOURCE).configure(key_storage=str(folder / "keys"))
        task = library.task(cache_policy=policy, persist_result=True, result_storage=kept)
        return library.flow(validate_parameters=False)(program(shape, task))(size), None

    return ready


def dask(shape: str, size: int, _: Path) -> Ready:
    library: Any = importlib.import_module("dask")
    return lambda: (program(shape, library.delayed)(size).compute(scheduler="sync"), None)
