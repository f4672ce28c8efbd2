"""The face of cas_run with nothing behind it: every electron just runs. Says what a case's true value is.

The zygote puts it in the place of `cas_run` for the reference run, and to try the corpus without an engine.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Callable


class Electron:
    """A function that is one task; here it is called at once."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None) -> None:
        self.fn = fn
        self.name = name or getattr(fn, "__name__", type(fn).__name__)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = self.fn(*args, **kwargs)
        return asyncio.run(value) if inspect.iscoroutine(value) else value


@overload
def electron(fn: Callable[..., Any], /) -> Electron: ...
@overload
def electron(**options: Any) -> Callable[[Callable[..., Any]], Electron]: ...
def electron(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    if fn is None:
        return lambda fn: Electron(fn, options.get("name"))
    return Electron(fn, options.get("name"))


lattice = electron


@dataclass(frozen=True)
class Result:
    """As much of a Result as the zygote reads."""

    result: Any
    status: str = "COMPLETED"
    error: str | None = None
    nodes: tuple[()] = ()


def dispatch_sync(lattice: Electron, **_: Any) -> Callable[..., Result]:
    return lambda *args, **kwargs: Result(lattice(*args, **kwargs))


def wait(child: Any, _: Any) -> Any:
    return child


def seed() -> int:
    return 0


def register_digest(_: type, __: Callable[[Any], Any]) -> None:
    pass


class File(os.PathLike[str]):
    """A path whose content counts."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __fspath__(self) -> str:
        return self.path
