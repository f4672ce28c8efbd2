"""Calls in this process: one after the other in the coordinating thread, or side by side in a pool of threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from cas_engine.executors.capture import listen, listen_on, stop_listening
from cas_engine.executors.jobs import Job, Report, answer
from cas_store import forks


class Inline:
    """Runs each job at once, in the coordinating thread.

    What calls print is listened for from the first of them until `close`: each by itself would take as long as a short
    call.
    """

    def __init__(self) -> None:
        self._listens = False

    def start(self, job: Job, report: Report) -> None:
        """Run it now."""
        if self._listens:
            listen_on()
        else:
            self._listens = True
            listen()
        report(answer(job.run_heard))

    def stop(self, job: Job) -> None:
        """It is over before anybody could ask."""

    def close(self) -> None:
        """There are no more jobs for now."""
        if self._listens:
            self._listens = False
            stop_listening()


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
        self._away = 0  # threads that wait, or make calls that nobody waits for: others take their places
        self._running: set[Job] = set()
        self._unwanted: set[Job] = set()
        self._here = threading.local()

    def start(self, job: Job, report: Report) -> None:
        """Queue it, with a thread more if all are busy."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                self._add_thread()
        self._work.put((job, report))

    def stop(self, job: Job) -> None:
        """One that has not begun never will; one that runs cannot be stopped, and another thread takes its place."""
        with self._lock:
            if job not in self._unwanted:
                self._unwanted.add(job)
                if job in self._running:
                    self._leave()

    @contextmanager
    def standing_aside(self) -> Iterator[None]:
        """Around a wait for other calls: if this is one of the threads that make them, another takes its place."""
        if not getattr(self._here, "serves", False):
            yield
            return
        with self._lock:
            self._leave()
        try:
            yield
        finally:
            with self._lock:
                self._away -= 1

    def _leave(self) -> None:
        self._away += 1
        if not self._work.empty():
            self._add_thread()

    def _add_thread(self) -> None:
        if self._threads < self._limit + self._away:
            self._threads += 1
            threading.Thread(target=self._serve, name=f"cas-run-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        self._here.serves = True
        is_needed = True
        while is_needed:
            job, report = self._work.get()
            if self._begins(job):
                report(answer(job.run_here))
            is_needed = self._has_ended(job)

    def _begins(self, job: Job) -> bool:
        with self._lock:
            if job in self._unwanted:
                return False
            self._running.add(job)
            return True

    def _has_ended(self, job: Job) -> bool:
        """Whether the thread that made this call goes on."""
        with self._lock:
            if job in self._unwanted and job in self._running:
                self._away -= 1
            self._running.discard(job)
            self._unwanted.discard(job)
            if self._threads > self._limit + self._away:
                self._threads -= 1
                return False
            if self._work.empty():
                self._idle += 1
            return True


class Staying:
    """Threads for what was to run in a worker process and cannot; the log of each call begins with the reason."""

    def __init__(self, reason: str) -> None:
        self._said = f"cas-run: it runs in a thread of the dispatching process, for {reason}\n"

    def start(self, job: Job, report: Report) -> None:
        """Queue it."""
        if job.output is not None:
            job.output("log", self._said)
        shared_threads().start(job, report)

    def stop(self, job: Job) -> None:
        """As for any thread."""
        shared_threads().stop(job)


_threads: Threads | None = None
_threads_lock = forks.free_lock()


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
