"""redun: `@task` for each function, each call evaluated at once by a scheduler with an SQLite file."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

redun: Any = importlib.import_module("redun")
config: Any = importlib.import_module("redun.config")
logging.getLogger("redun").setLevel(logging.ERROR)


def to_path(file: Any) -> str:
    return str(file.path)


# A file of redun's is opened by its own method, the projects open it by the standard library's.
ReadableFile = type(redun.File)("ReadableFile", (redun.File,), {"__fspath__": to_path, "type_name": "ReadableFile"})


class Peer:
    options = frozenset({"version"})
    coroutines = False

    def __init__(self, store: Path, _: Path) -> None:
        settings = {"backend": {"db_uri": f"sqlite:///{store / 'redun.db'}"}}
        self.scheduler = redun.Scheduler(config=config.Config(settings))
        self.scheduler.load()

    def electron(self, fn: Callable[..., Any], name: str, options: dict[str, Any]) -> Callable[..., Any]:
        task = redun.task(name=name.replace(" ", "_"), namespace="corpus", **options)(fn)
        return lambda *args, **kwargs: self.scheduler.run(task(*args, **kwargs))

    def run(self, main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return main(*args, **kwargs)

    def file(self, path: str) -> Any:
        return ReadableFile(path)
