"""Prefect: `@task` by inputs and source, results kept in a folder; the lattice is a `@flow`."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

prefect: Any = importlib.import_module("prefect")
policies: Any = importlib.import_module("prefect.cache_policies")
filesystems: Any = importlib.import_module("prefect.filesystems")
face: Any = importlib.import_module("cas_run")


class Peer:
    options: frozenset[str] = frozenset({"ignore"})
    coroutines = False

    def __init__(self, store: Path, _: Path) -> None:
        # Prefect wants its server to know a storage that is not its default.
        self.storage = filesystems.LocalFileSystem(basepath=str(store / "results"))
        self.storage.save(f"results-{hashlib.sha256(bytes(store)).hexdigest()[:16]}", overwrite=True)
        # As Prefect's default, less the id of the run: with that nothing would be reused by another process.
        self.policy = (policies.INPUTS + policies.TASK_SOURCE).configure(key_storage=str(store / "keys"))

    def electron(self, fn: Callable[..., Any], name: str, options: dict[str, Any]) -> Callable[..., Any]:
        policy = self.policy
        for left_out in options.get("ignore", ()):
            policy -= left_out
        task: Callable[..., Any] = prefect.task(
            name=name, cache_policy=policy, persist_result=True, result_storage=self.storage
        )(fn)
        return task

    def run(self, main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return prefect.flow(validate_parameters=False)(main)(*args, **kwargs)

    def file(self, _: str) -> Any:
        raise face.NotExpressible("ct.File")
