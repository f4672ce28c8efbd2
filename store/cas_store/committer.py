"""Group commit: one thread of the process writes what all its threads submit, many batches to one fsync.

A thread of its own, because waiting for another process's write transaction cannot be interrupted: Ctrl-C
reaches whoever waits for the future instead.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cas_store import forks
from cas_store.errors import BlobMissing, RowChanged, RowMissing
from cas_store.writes import Write

if TYPE_CHECKING:
    from concurrent.futures import Future

_LINGER_S = 0.005  # a batch that nobody waits for may wait that long for company
_LONGER_S = 0.025  # the same, where so much comes that it is worth it
_COMPANY = 16  # submissions, of which more will follow
_ENOUGH = 512  # submissions that are worth a commit at once
_AT_ONCE = 2 << 20  # bytes in one commit: each row of them may take a page of memory until it is made
_TOGETHER = 1 << 20  # bytes of what is submitted as one batch, so that it shares a promise
_WAITING = 64 << 20  # bytes; with more in the queue, whoever submits has to wait


class Batch:
    """Writes that become durable together, and the promise made for them.

    What needs something to be there may be refused, and shares its fate with nobody.
    """

    __slots__ = ("alone", "future", "weight", "writes")

    def __init__(self, writes: list[Write], weight: int, *, alone: bool) -> None:
        self.writes = writes
        self.alone = alone
        from concurrent.futures import Future  # with all of logging: who only reads needs neither

        self.weight = weight
        self.future: Future[None] = Future()
        # Not to be cancelled: a batch is written or fails.
        self.future.set_running_or_notify_cancel()


class Committer:
    """Takes batches, in order; a batch that fails takes those behind it along, since they may rely on it."""

    def __init__(self, apply: Callable[[Sequence[Batch]], None], settle: Callable[[Sequence[Batch]], None]) -> None:
        self._apply = apply
        self._settle = settle
        self._renew()
        forks.watch(self)
        _committers.add(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._turn = threading.RLock()  # taken again when a future's callback submits and there is no thread
        self._queue: list[Batch] = []
        self._weight = 0
        self._count = 0  # of what was submitted and waits
        self._urgent = False
        self._oldest = 0.0
        self._asleep = False
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._alone = _ended  # no thread to be had any more: whoever submits writes

    def submit(self, writes: Sequence[Write], weight: int, *, urgent: bool, alone: bool) -> Future[None]:
        """Queue writes that take so many bytes. Urgent: somebody waits, so don't linger for company.

        All or nothing of them is written; with others that wait already, unless they are to be a batch `alone`.
        """
        with self._lock:
            if self._weight > _WAITING and not self.is_own_thread():
                self._room.wait_for(lambda: self._weight <= _WAITING or self._thread is None)
            if not self._queue:
                self._oldest = time.monotonic()
            batch = self._queue[-1] if self._queue else None
            if batch is None or alone or batch.alone or batch.weight > _TOGETHER:
                batch = Batch(list(writes), weight, alone=alone)
                self._queue.append(batch)
            else:
                batch.writes += writes
                batch.weight += weight
            self._weight += weight
            self._count += 1
            if urgent:
                self._urgent = True
            if self._asleep and (urgent or self._count == 1 or self._count >= _ENOUGH or self._weight >= _AT_ONCE):
                self._more.notify()
            if self._thread is None and not self._alone:
                self._start()
            alone = self._alone
        if alone:
            self._write_queue()
        return batch.future

    def hurry(self) -> None:
        """Write what is queued without waiting for more."""
        with self._lock:
            if self._queue:
                self._urgent = True
                self._more.notify()

    def is_own_thread(self) -> bool:
        """Whether a future's callback asks."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Write what is queued, then end the thread. The next batch starts another."""
        with self._lock:
            thread = self._thread
            self._stopping = True
            self._more.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._write_queue()
        with self._lock:
            self._stopping = False

    def finish(self) -> None:
        """At the end of the process: from now on without a thread, which would be frozen."""
        with self._lock:
            self._alone = True
        self.close()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="cas-run-committer", daemon=True)
        self._thread = thread
        _finish_with_multiprocessing()
        try:
            thread.start()
        except RuntimeError:  # the interpreter is on its way out
            self._thread, self._alone = None, True

    def _run(self) -> None:
        while True:
            with self._lock:
                self._asleep = True
                while not self._queue and not self._stopping:
                    self._more.wait()
                while not (self._urgent or self._stopping or self._count >= _ENOUGH or self._weight >= _AT_ONCE):
                    linger = _LONGER_S if self._count >= _COMPANY else _LINGER_S
                    left = self._oldest + linger - time.monotonic()
                    if left <= 0 or not self._more.wait(left):
                        break
                self._asleep = False
                if not self._queue:
                    self._thread = None
                    self._room.notify_all()
                    return
            self._write_next()

    def _write_queue(self) -> None:
        """Until it is empty, or another thread has taken it."""
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        """One commit of what is queued, if anything is."""
        with self._turn:
            group = self._take()
            if group:
                self._write(group)
            return bool(group)

    def _take(self) -> list[Batch]:
        with self._lock:
            weight = count = 0
            for batch in self._queue:
                weight += batch.weight
                count += 1
                if weight >= _AT_ONCE:
                    break
            group, self._queue = self._queue[:count], self._queue[count:]
            self._weight -= weight
            self._count = len(self._queue)
            self._urgent = False
            self._oldest = time.monotonic()
            self._room.notify_all()
            return group

    def _write(self, group: list[Batch]) -> None:
        error = self._try(group)
        if isinstance(error, (BlobMissing, RowChanged, RowMissing)):
            # The fault of one batch: the others need not suffer.
            if len(group) == 1:
                self._answer(group, error)
                return
            for batch in group:
                self._write([batch])
            return
        if error is not None:
            with self._lock:
                group += self._queue
                self._queue = []
                self._weight = self._count = 0
                self._room.notify_all()
        self._answer(group, error)

    def _try(self, group: Sequence[Batch]) -> BaseException | None:
        try:
            self._apply(group)
        except BaseException as error:  # noqa: BLE001  (it belongs to whoever holds the future)
            return error
        return None

    def _answer(self, group: Sequence[Batch], error: BaseException | None) -> None:
        self._settle(group)
        for batch in group:
            if error is None:
                batch.future.set_result(None)
            else:
                batch.future.set_exception(error)

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        # What was queued is the parent's to write.
        self._renew()


_committers: weakref.WeakSet[Committer] = weakref.WeakSet()
_ended = False


def _finish_all() -> None:
    global _ended  # noqa: PLW0603
    _ended = True
    for committer in list(_committers):
        committer.finish()


def _finish_with_multiprocessing() -> None:
    """Its children, when forked, end without the interpreter's exit hooks, but with hooks of their own."""
    if "multiprocessing" not in sys.modules:
        return
    from multiprocessing import parent_process, util

    if parent_process() is not None:
        util.Finalize(None, _finish_all, exitpriority=0)


# After all threads that keep the process alive have ended: until then batches may come.
atexit.register(_finish_all)
