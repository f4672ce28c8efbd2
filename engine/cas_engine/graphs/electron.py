"""The decorator that makes a Python callable one task of a workflow."""

from __future__ import annotations

import ast
import functools
import types
import typing
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Generic, ParamSpec, TypeVar, overload

from cas_engine.errors import BadOption
from cas_engine.graphs import tracing
from cas_engine.graphs.options import ExecutorChoice, Options, RetryOn, checked_options
from cas_engine.graphs.signatures import signature_of

P = ParamSpec("P")
R = TypeVar("R")


class Electron(Generic[P, R]):
    """A callable that a lattice records as a node; called anywhere else, it just runs."""

    fn: Callable[P, R]
    options: Options

    def __init__(self, fn: Callable[P, R], options: Options) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.options = options

    @property
    def name(self) -> str:
        """The name by which redispatch replaces it."""
        return self.options.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Record a node if a lattice is being traced, else run the function."""
        trace = tracing.current()
        if trace is None:
            return self.fn(*args, **kwargs)
        return trace.call(self, args, kwargs)  # type: ignore[return-value]

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a function in a class body: bound to the instance."""
        return self if instance is None else types.MethodType(self, instance)

    def __cas_code__(self) -> tuple[object, ...]:
        """What stands for it in a fingerprint: all that changes what it computes, and not its name."""
        o = self.options
        return ("electron", self.fn, o.version, o.stochastic, o.depends_on, o.ignore)

    def __getstate__(self) -> dict[str, Any]:
        # A live executor belongs to the process that made it; the default stands in elsewhere.
        state = dict(self.__dict__)
        if isinstance(self.options.executor, Executor):
            state["options"] = replace(self.options, executor=None)
        return state

    def __repr__(self) -> str:
        return f"<electron {self.name}>"


@overload
def electron(fn: Callable[P, R]) -> Electron[P, R]: ...


@overload
def electron(
    fn: None = None,
    *,
    name: str | None = None,
    stochastic: bool = False,
    version: str | float | None = None,
    depends_on: object = (),
    ignore: typing.Sequence[str] = (),
    executor: ExecutorChoice = None,
    retries: int = 0,
    retry_delay: float = 0.0,
    retry_on: type[BaseException] | RetryOn | None = None,
    timeout: float | None = None,
    outputs: int | None = None,
) -> Callable[[Callable[P, R]], Electron[P, R]]: ...


@overload
def electron(
    fn: Callable[P, R],
    *,
    name: str | None = None,
    stochastic: bool = False,
    version: str | float | None = None,
    depends_on: object = (),
    ignore: typing.Sequence[str] = (),
    executor: ExecutorChoice = None,
    retries: int = 0,
    retry_delay: float = 0.0,
    retry_on: type[BaseException] | RetryOn | None = None,
    timeout: float | None = None,
    outputs: int | None = None,
) -> Electron[P, R]: ...


def electron(
    fn: Callable[P, R] | None = None,
    *,
    name: str | None = None,
    stochastic: bool = False,
    version: str | float | None = None,
    depends_on: object = (),
    ignore: typing.Sequence[str] = (),
    executor: ExecutorChoice = None,
    retries: int = 0,
    retry_delay: float = 0.0,
    retry_on: type[BaseException] | RetryOn | None = None,
    timeout: float | None = None,
    outputs: int | None = None,
) -> Electron[P, R] | Callable[[Callable[P, R]], Electron[P, R]]:
    """Make a callable an electron: any function, partial, class, callable instance, C function or lattice.

    name        how redispatch and reports call it (default: the function's own name)
    stochastic  its result is a sample: kept by redispatch, drawn again by `recompute="stochastic"`
    version     a text or number that you change when something changed that no analysis of code can see
    depends_on  modules, functions, `pathlib.Path`s of files, or texts that count as part of the code
    ignore      parameters that do not change the result, and so stay out of the key (a logger, verbosity), or parts
                of them: "model.verbose", "config['log']"
    executor    "inline", "thread", "process" or a `concurrent.futures.Executor`
    retries     how often to try again when it raises, runs out of time, or its process dies
    retry_delay seconds before it is tried again, twice as many before each further try
    retry_on    the exceptions after which it is tried again (default: all): a class, several of them, or a function
                that is given the exception, where the electron runs, and says whether
    timeout     seconds for one try; then it is stopped, unless it runs in a thread because that was asked for
    outputs     how many values `a, b = handle` unpacks (default: from a `tuple[A, B]` annotation)

    Raises BadOption for what is none of these.
    """

    def decorate(fn: Callable[P, R]) -> Electron[P, R]:
        if isinstance(fn, Electron):
            raise BadOption(f"`{fn.name}` is an electron already\n  -> decorate it once")
        if not callable(fn):
            raise BadOption(f"{fn!r} is not callable, so it cannot be an electron\n  -> give a function")
        options = checked_options(
            name=name or _name_of(fn),
            stochastic=stochastic,
            version=version,
            depends_on=depends_on,
            ignore=ignore,
            executor=executor,
            retries=retries,
            retry_delay=retry_delay,
            retry_on=retry_on,
            timeout=timeout,
            outputs=outputs if outputs is not None else _outputs_of(fn),
            signature=signature_of(fn) if ignore else None,
        )
        return Electron(fn, options)

    return decorate if fn is None else decorate(fn)


def as_electron(fn: Callable[..., Any]) -> Electron[..., Any]:
    """The electron itself, or a plain callable made one with the default options."""
    return fn if isinstance(fn, Electron) else electron(fn)


def _name_of(fn: object) -> str:
    if isinstance(fn, functools.partial):
        return _name_of(fn.func)
    name = getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__name__


def _outputs_of(fn: object) -> int | None:
    """The number of values that the return annotation promises, where it promises one."""
    annotation = (getattr(fn, "__annotations__", None) or {}).get("return")
    if isinstance(annotation, str):
        return _count_in_text(annotation)
    if typing.get_origin(annotation) is tuple:
        parts = typing.get_args(annotation)
        return None if Ellipsis in parts or not parts else len(parts)
    fields = getattr(annotation, "_fields", None)
    return len(fields) if isinstance(annotation, type) and isinstance(fields, tuple) else None


def _count_in_text(annotation: str) -> int | None:
    # Under `from __future__ import annotations` the annotation is text; evaluating it could fail or import.
    try:
        node = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(node, ast.Subscript) or ast.unparse(node.value).rpartition(".")[2].lower() != "tuple":
        return None
    if not isinstance(node.slice, ast.Tuple):
        return 1
    parts = node.slice.elts
    return None if any(isinstance(p, ast.Constant) and p.value is Ellipsis for p in parts) else len(parts)
