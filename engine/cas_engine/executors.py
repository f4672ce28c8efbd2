"""Where calls run: in the coordinating thread, in a pool of threads, or in an executor of the user's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Protocol

from cas_engine.bindings import consts_in
from cas_engine.contexts import context_for_call
from cas_engine.frames import Encoded
from cas_engine.unchanged import Code, RecordedCode, calling
from cas_engine.worker import Fetch, InputGone, Raised, Reply, Returned, Task, run
from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store


@dataclass(frozen=True, slots=True)
class Done:
    """A reply with its blob prepared: large ones are on the disk already, waiting to be published."""

    reply: Reply
    blob: PreparedBlob | None


Answer = Done | BaseException
Report = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class Job:
    """A task, and what a runner in this process may use to do it faster."""

    task: Task
    store: Store
    code: Code
    on_begin: Callable[[], None] | None = None
    context: Context = field(default_factory=context_for_call)

    def run_here(self) -> Done:
        """Make the call in this thread."""
        return self.context.run(self._run)

    def _run(self) -> Done:
        if self.on_begin is not None:
            self.on_begin()
        return finished(called(self.task, self.store.get_pieces, self.code), self.store)


def called(task: Task, fetch: Fetch, code: Code) -> Reply:
    """The reply to a call of this code, with what is to be said about it."""
    reply, warning = calling(code, lambda function: run(task, fetch, lambda: function(lambda: fetch(task.capsule)[0])))
    return replace(reply, warning=warning) if warning and isinstance(reply, Returned) else reply


def finished(reply: Reply, store: Store) -> Done:
    """A reply with its result written down, if it has one."""
    if not isinstance(reply, Returned):
        return Done(reply, None)
    return Done(reply, store.prepare(reply.encoded.pieces, reply.encoded.parts))


class Runner(Protocol):
    """Starts jobs and reports what came of each, from whatever thread."""

    def start(self, job: Job, report: Report) -> None:
        """Start a job; `report` is called once with its answer."""


class Inline:
    """Runs each job at once, in the coordinating thread."""

    def start(self, job: Job, report: Report) -> None:
        """Run it now."""
        report(_answer(job.run_here))


class Threads:
    """A pool of daemon threads, started as they are needed.

    Not a ThreadPoolExecutor: that one refuses work once the main thread has ended, which is just when a script's
    dispatches may still be running.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._work: SimpleQueue[tuple[Job, Report]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._lost = 0
        self._here = threading.local()

    def start(self, job: Job, report: Report) -> None:
        """Queue it, with a thread more if all are busy."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                self._add_thread()
        self._work.put((job, report))

    def abandon(self) -> None:
        """Count a thread as lost: its call ran out of time and cannot be stopped, so another may take its place."""
        with self._lock:
            self._lost += 1
            if not self._work.empty():
                self._add_thread()

    @contextmanager
    def standing_aside(self) -> Iterator[None]:
        """Around a wait for other calls: if this is one of the threads that make them, another takes its place."""
        if not getattr(self._here, "serves", False):
            yield
            return
        self.abandon()
        try:
            yield
        finally:
            with self._lock:
                self._lost -= 1

    def _add_thread(self) -> None:
        if self._threads < self._limit + self._lost:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"cas-run-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        self._here.serves = True
        while True:
            job, report = self._work.get()
            report(_answer(job.run_here))
            with self._lock:
                if self._work.empty():
                    self._idle += 1


class Foreign:
    """An executor of the user's. Inputs travel as bytes and results come back as bytes, as processes need it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._same_process = isinstance(executor, ThreadPoolExecutor)

    def start(self, job: Job, report: Report) -> None:
        """Submit it."""
        try:
            if self._same_process:
                future: Future[Done] = self._executor.submit(job.run_here)
                future.add_done_callback(lambda f: report(_answer(f.result)))
            else:
                shipped = self._executor.submit(run_shipped, job.task, _blobs_of(job))
                shipped.add_done_callback(lambda f: report(_answer(lambda: finished(f.result(), job.store))))
        except (BlobMissing, BlobDamaged) as gone:
            report(Done(InputGone(gone.digest), None))
        except RuntimeError as error:
            report(Done(Raised(f"its executor takes no work: {error}\n  -> give one that is still open", 0.0), None))


_MOST_SHIPPED = 256
_shipped: dict[Digest, RecordedCode] = {}  # in a process of the executor's; the last used is last
_shipped_lock = threading.Lock()


def run_shipped(task: Task, blobs: dict[Digest, tuple[bytes, ...]]) -> Reply:
    """Make a call where there is no store; the reply's pieces are bytes."""
    with _shipped_lock:
        code = _shipped.pop(task.capsule, None) or RecordedCode()
        _shipped[task.capsule] = code
        if len(_shipped) > _MOST_SHIPPED:
            del _shipped[next(iter(_shipped))]
    reply = context_for_call().run(called, task, _fetch_from(blobs), code)
    if isinstance(reply, Returned):
        head, *parts = reply.encoded.copied()
        return replace(reply, encoded=Encoded([head], reply.encoded.size, tuple(parts)))
    return reply


def _fetch_from(blobs: dict[Digest, tuple[bytes, ...]]) -> Fetch:
    return blobs.__getitem__


def _blobs_of(job: Job) -> dict[Digest, tuple[bytes, ...]]:
    bindings = [*job.task.args, *(binding for _, binding in job.task.kwargs)]
    wanted = {job.task.capsule, *job.task.slots}
    wanted |= {const.blob for binding in bindings for const in consts_in(binding) if const.blob is not None}
    return {digest: tuple(map(bytes, job.store.get_pieces(digest))) for digest in wanted}


def _answer(call: Callable[[], Done]) -> Answer:
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - a worker thread must report, whatever happened
        return error


_threads: Threads | None = None
_threads_lock = threading.Lock()


def _forget_threads() -> None:
    # Threads do not survive a fork.
    global _threads  # noqa: PLW0603
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def shared_threads() -> Threads:
    """The one pool of this process: electrons of all dispatches share it."""
    global _threads  # noqa: PLW0603
    with _threads_lock:
        if _threads is None:
            _threads = Threads(min(32, (os.cpu_count() or 1) + 4))
        return _threads


def runner_for(choice: str | Executor | None) -> Runner:
    """The runner that an executor option names."""
    if isinstance(choice, Executor):
        return Foreign(choice)
    return Inline() if choice == "inline" else shared_threads()
