"""mandala: `@op` in a Storage that tracks what the project's folder holds; values unwrapped after each call."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

imports: Any = importlib.import_module("mandala.imports")
model: Any = importlib.import_module("mandala.model")
tracers: Any = importlib.import_module("mandala.deps.tracers")
face: Any = importlib.import_module("cas_run")
Op: Any = model.Op


def eagerly(op: Any, *args: Any, **kwargs: Any) -> Any:
    context = model.Context.current_context
    value = Op.__call__(op, *args, **kwargs)
    return value if context is None else context.storage.unwrap(value)


Eager = type("Eager", (Op,), {"__call__": eagerly, "__doc__": "An op that gives values instead of references."})


def without_globals(tracer: Any, paths: Any, *, strict: bool, allow_methods: bool, **_: Any) -> None:
    tracers.SysTracer.__init__(tracer, paths, strict=strict, allow_methods=allow_methods)


# Storage 0.2.0a0 hands over options for globals that this tracer of its own does not take.
FullTracer = type("FullTracer", (tracers.SysTracer,), {"__init__": without_globals, "__module__": __name__})


class Peer:
    options = frozenset({"ignore"})
    coroutines = False

    def __init__(self, store: Path, folder: Path) -> None:
        # The tracer that follows all functions; the other one sees only those decorated with @track.
        self.storage = imports.Storage(db_path=str(store / "storage.db"), deps_path=folder, tracer_impl=FullTracer)

    def electron(self, fn: Callable[..., Any], name: str, options: dict[str, Any]) -> Callable[..., Any]:
        made: Any = imports.op(ignore_args=tuple(options.get("ignore", ())) or None)(fn)
        made.__class__ = Eager
        made.name = name
        op: Callable[..., Any] = made
        return op

    def run(self, main: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self.storage:
            return main(*args, **kwargs)

    def file(self, _: str) -> Any:
        raise face.NotExpressible("ct.File")
