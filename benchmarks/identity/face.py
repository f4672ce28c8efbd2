"""The face of cas_run that a project of the corpus sees in a peer's process.

`electron` decorates with the peer's own decorator, `lattice` leaves a plain function as it is, whose calls are
made one after the other. What a peer has no words for raises NotExpressible. Which bodies really ran is seen by
a profile function: nothing is wrapped around what the peer looks at.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

Body = Callable[..., Any]


class NotExpressible(Exception):
    """The peer has no such thing: the case says nothing about it."""


class Peer(Protocol):
    """What an adapter brings: `Peer(store)`, made before the project is loaded."""

    options: frozenset[str]  # of ct.electron, that `electron` knows what to do with
    coroutines: bool  # whether the peer takes functions that are `async def`

    def electron(self, fn: Body, name: str, options: dict[str, Any]) -> Body:
        """The function made a task of the peer; calling it gives the value."""

    def run(self, main: Body, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the lattice, in whatever the peer wants around it."""

    def file(self, path: str) -> Any:
        """A file that counts by content."""


@dataclass(frozen=True, slots=True)
class Node:
    """An electron as the zygote of tests/identity reads it: `ran` once for each time its body was entered."""

    electron: str
    status: str
    dispatch: None = None


@dataclass(frozen=True, slots=True)
class Result:
    result: Any
    nodes: tuple[Node, ...]
    status: str = "COMPLETED"
    error: None = None


class Count:
    """Counts how often the body of each electron is entered, except below another electron's body.

    The body of a sublattice is none: its electrons are tasks as those around it are.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ran: list[str] = []
        self.lattices: set[CodeType] = set()
        self._by_code: dict[CodeType, list[tuple[str, Body]]] = {}
        self._builtin: list[tuple[str, Body]] = []
        self._suspended: list[FrameType] = []  # kept, so that no id of a frame is seen twice

    def watch(self, fn: Any, name: str) -> None:
        self.names.append(name)
        while isinstance(fn, functools.partial):
            fn = fn.func
        while inspect.ismethod(fn) or (not inspect.isfunction(fn) and inspect.isfunction(type(fn).__call__)):
            fn = fn.__func__ if inspect.ismethod(fn) else type(fn).__call__
        if inspect.isfunction(fn):
            self._by_code.setdefault(fn.__code__, []).append((name, fn))
        elif hasattr(fn, "__wrapped__"):  # NumPy's dispatchers
            self._by_code.setdefault(fn.__wrapped__.__code__, []).append((name, fn.__wrapped__))
        else:
            self._builtin.append((name, fn))

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            found = self._by_code.get(frame.f_code)
            if found is not None and not self._resumed(frame) and not self._inside(frame.f_back):
                self.ran.append(self._name_of(frame, found))
        elif event == "c_call" and self._builtin and self._called_by_peer(frame):
            self.ran += [name for name, fn in self._builtin if fn is arg]

    def _called_by_peer(self, frame: FrameType) -> bool:
        """A builtin is what projects call, too; as an electron it is called by no code of the project's folder."""
        return not frame.f_code.co_filename.startswith(str(Path.cwd().parent)) and not self._inside(frame)

    def _resumed(self, frame: FrameType) -> bool:
        if not frame.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            return False
        if any(frame is each for each in self._suspended):
            return True
        self._suspended.append(frame)
        return False

    def _inside(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code in self._by_code and frame.f_code not in self.lattices:
                return True
            frame = frame.f_back
        return False

    @staticmethod
    def _name_of(frame: FrameType, found: list[tuple[str, Body]]) -> str:
        """Which of several electrons with one code: those made by a factory differ in what they close over."""
        for name, fn in found:
            cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
            if all(frame.f_locals.get(free) is cell.cell_contents for free, cell in cells):
                return name
        return found[0][0]


class Stage:
    """What is set up anew for each run: the peer, and the count of what its electrons do."""

    peer: Peer
    count: Count


def begin(peer: Peer) -> None:
    Stage.peer, Stage.count = peer, Count()


def electron(fn: Body | None = None, /, **options: Any) -> Any:
    if fn is None:
        return lambda fn: electron(fn, **options)
    for unknown in sorted(options.keys() - {"name", "executor", "retries", "timeout", "outputs"} - Stage.peer.options):
        raise NotExpressible(f"electron({unknown}=)")
    if inspect.iscoroutinefunction(fn) and not Stage.peer.coroutines:
        raise NotExpressible("async def")
    name = str(options.get("name") or getattr(fn, "__name__", type(fn).__name__))
    Stage.count.watch(fn, name)
    return Stage.peer.electron(fn, name, {key: options[key] for key in options.keys() & Stage.peer.options})


def lattice(fn: Body | None = None, /, **_: Any) -> Any:
    if fn is None:
        return lattice
    if inspect.isfunction(fn):
        Stage.count.lattices.add(fn.__code__)
    return fn


def dispatch_sync(main: Body, **_: Any) -> Callable[..., Result]:
    def call(*args: Any, **kwargs: Any) -> Result:
        count = Stage.count
        threading.setprofile(count)
        sys.setprofile(count)
        try:
            value = Stage.peer.run(main, args, kwargs)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        ran = tuple(Node(name, "ran") for name in count.ran)
        return Result(value, (*ran, *(Node(name, "hit") for name in count.names if name not in count.ran)))

    return call


def File(path: str) -> Any:  # noqa: N802 - as the projects call it
    return Stage.peer.file(path)


def wait(*_: object) -> Any:
    raise NotExpressible("ct.wait")


def seed() -> int:
    raise NotExpressible("ct.seed")


def register_digest(*_: object) -> None:
    raise NotExpressible("ct.register_digest")
