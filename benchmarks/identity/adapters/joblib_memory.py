"""joblib.Memory: `memory.cache` around each function."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

joblib: Any = importlib.import_module("joblib")
face: Any = importlib.import_module("cas_run")


class Peer:
    options = frozenset({"ignore"})
    coroutines = True

    def __init__(self, store: Path, _: Path) -> None:
        self.memory = joblib.Memory(store, verbose=0)

    def electron(self, fn: Callable[..., Any], _: str, options: dict[str, Any]) -> Callable[..., Any]:
        cached: Callable[..., Any] = self.memory.cache(fn, ignore=options.get("ignore"))
        if inspect.iscoroutinefunction(fn):
            return lambda *args, **kwargs: asyncio.run(cached(*args, **kwargs))
        return cached

    def run(self, main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return main(*args, **kwargs)

    def file(self, _: str) -> Any:
        raise face.NotExpressible("ct.File")
