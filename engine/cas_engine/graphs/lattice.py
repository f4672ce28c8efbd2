"""The decorator that makes a function the description of a workflow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Generic, ParamSpec, TypeVar, overload

from cas_engine.errors import BadOption
from cas_engine.graphs.options import ExecutorChoice, checked_executor

P = ParamSpec("P")
R = TypeVar("R")


class Lattice(Generic[P, R]):
    """A function that composes electrons; `dispatch` records what it calls, a plain call just runs it.

    Called inside another lattice it is a part of that one's graph; `electron(lattice)` makes it one node, a sublattice,
    which is evaluated with concrete inputs when it is reached.
    """

    fn: Callable[P, R]
    name: str
    executor: ExecutorChoice

    def __init__(self, fn: Callable[P, R], name: str, executor: ExecutorChoice) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = name
        self.executor = executor

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function; the electrons in it record themselves only while a lattice is traced."""
        return self.fn(*args, **kwargs)

    def __cas_code__(self) -> tuple[object, ...]:
        """What stands for it in a fingerprint."""
        return ("lattice", self.fn)

    def __getstate__(self) -> dict[str, Any]:
        # A live executor belongs to the process that made it.
        state = dict(self.__dict__)
        if isinstance(self.executor, Executor):
            state["executor"] = None
        return state

    def __repr__(self) -> str:
        return f"<lattice {self.name}>"


@overload
def lattice(fn: Callable[P, R]) -> Lattice[P, R]: ...


@overload
def lattice(
    fn: None = None, *, name: str | None = None, executor: ExecutorChoice = None
) -> Callable[[Callable[P, R]], Lattice[P, R]]: ...


def lattice(
    fn: Callable[P, R] | None = None, *, name: str | None = None, executor: ExecutorChoice = None
) -> Lattice[P, R] | Callable[[Callable[P, R]], Lattice[P, R]]:
    """Make a function a lattice: a workflow that `dispatch` records, runs and can evaluate again.

    name      how reports call it (default: the function's own name)
    executor  where its electrons run, if they do not say so themselves: "thread" (default), "inline",
              or a `concurrent.futures.Executor`
    """

    def decorate(fn: Callable[P, R]) -> Lattice[P, R]:
        if isinstance(fn, Lattice):
            raise BadOption(f"`{fn.name}` is a lattice already\n  -> decorate it once")
        if not callable(fn):
            raise BadOption(f"{fn!r} is not callable, so it cannot be a lattice\n  -> give a function")
        own = name or str(getattr(fn, "__name__", type(fn).__name__))
        return Lattice(fn, own, checked_executor(executor, f"lattice `{own}`"))

    return decorate if fn is None else decorate(fn)
