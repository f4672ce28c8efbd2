"""Calls in worker processes: started as they are needed, used again, ended one by one.

One thread has the whole of it: it gives calls to workers, a few at once where they are short, hears what came of them,
and kills a worker whose call nobody waits for any more. Inputs of calls that wait are where they were: in the store.
"""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from cas_engine.bookkeeping.settings import number
from cas_engine.calling.worker import InputGone, Raised, Returned
from cas_engine.errors import WorkerUnavailable
from cas_engine.executors.jobs import Answer, Died, Done, Job, Report
from cas_engine.executors.surroundings import Surroundings, surroundings
from cas_engine.executors.wire import UNHEARD, Answered, Given, Logged, Place, Ready
from cas_engine.executors.workers import Call, Worker
from cas_engine.graphs.bindings import consts_in
from cas_store import forks
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing, StoreError

_TICK_S = 0.05  # how often workers with calls are looked at
_AHEAD_S = (
    0.02  # work that a worker is given ahead: more than it takes to hear of the end of a call and to give the next
)
_AHEAD = 64  # calls
_LATE_S = 0.05  # a call that takes longer than this is not to have others waiting behind it
_IDLE_S = 300.0  # a worker without work ends after this
_LEARN = 0.3  # the share of the latest call in what an electron usually takes
_FALSE_STARTS = 3


class Pool:
    """The worker processes of this process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._inbox: deque[Call | Job] = deque()  # calls to make, jobs to stop
        self._wake_up, self._awake = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._wake_up, False)
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_up, selectors.EVENT_READ)
        self._waiting: deque[Call] = deque()
        self._workers: list[Worker] = []
        self._usual_s: dict[Digest, float] = {}  # what calls of an electron take
        self._number = count(1)
        self._around: Surroundings | None = None
        self._false_starts = 0
        self._sleeps = False

    def start(self, job: Job, report: Report) -> None:
        """Queue it."""
        self._tell(Call(job, report))

    def stop(self, job: Job) -> None:
        """Take it out of the queue, or kill the worker that makes it."""
        self._tell(job)

    def _tell(self, what: Call | Job) -> None:
        with self._lock:
            self._inbox.append(what)
            if self._thread is None:
                # The one that starts workers has to live as long as they: the system ends them with it.
                self._thread = threading.Thread(target=self._run, name="cas-run workers", daemon=True)
                self._thread.start()
        if self._sleeps:
            with suppress(BlockingIOError):
                os.write(self._awake, b"\0")

    def close(self) -> None:
        """At the end of this process: no worker outlives it. A forked child that ends leaves them alone."""
        for worker in self._workers:
            with suppress(OSError):
                os.killpg(worker.process.pid, signal.SIGKILL)

    def forget(self) -> None:
        """In a forked child: the workers are the parent's, and are to see when that one ends."""
        workers, self._workers = self._workers, []
        for worker in workers:
            with suppress(OSError):
                worker.close()
        self._selector.close()

    # The thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001 - a mistake of ours, or a worker that talks nonsense
                self._begin_anew(error)

    def _begin_anew(self, error: Exception) -> None:
        """Nobody is left waiting: each call that is here has failed, and the next ones find new workers."""
        workers, self._workers = self._workers, []
        calls, self._waiting = [*self._waiting, *(call for worker in workers for call in worker.calls)], deque()
        for worker in workers:
            with suppress(Exception):
                self._selector.unregister(worker.socket)
            with suppress(Exception):
                worker.end()
        for call in calls:
            if call.is_wanted:
                call.hear(error)

    def _serve(self) -> None:
        next_look = 0.0
        while True:
            is_busy = any(worker.calls for worker in self._workers)
            timeout = _TICK_S if is_busy else _IDLE_S if self._workers else None
            self._sleeps = True
            if self._inbox:  # told before it could know that it has to be woken
                timeout = 0
            events = self._selector.select(timeout)
            self._sleeps = False
            for key, _ in events:
                if key.data is None:
                    with suppress(BlockingIOError):
                        os.read(self._wake_up, 1 << 16)
                else:
                    self._listen(key.data)
            self._take_inbox()
            now = time.monotonic()
            if now >= next_look:
                next_look = now + _TICK_S
                self._look_around(now)
            self._hand_out()
            self._send()

    def _take_inbox(self) -> None:
        while self._inbox:
            told = self._inbox.popleft()
            if isinstance(told, Call):
                self._waiting.append(told)
            else:
                self._stop(told)

    def _look_around(self, now: float) -> None:
        for worker in list(self._workers):
            if worker.calls or not worker.is_ready:
                worker.take_output()
                first = worker.calls[0] if worker.calls else None
                is_late = first is not None and 0 < first.begun < now - _LATE_S
                if is_late and len(worker.calls) > 1 and not worker.is_recalled:
                    # It takes longer than it used to: others may make those behind it, and it may wait for one of them.
                    worker.recall()
                if worker.is_over():
                    self._listen(worker)
                    if worker in self._workers:
                        self._bury(worker)
            elif now - worker.since > _IDLE_S:
                self._dismiss(worker)

    def _send(self) -> None:
        for worker in list(self._workers):
            if worker.has_more_to_hear:
                with suppress(OSError):  # it is dead, and its end is heard
                    worker.send()
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.has_more_to_hear else 0)
                self._selector.modify(worker.socket, events, worker)

    # Giving -------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        if not self._waiting:
            return
        self._around_now()
        self._start_workers()
        for worker in sorted(self._workers, key=lambda one: len(one.calls)):
            while self._waiting and self._has_room(worker, self._waiting[0]):
                call = self._waiting.popleft()
                if call.is_wanted:
                    self._give(worker, call)

    def _has_room(self, worker: Worker, call: Call) -> bool:
        if not worker.calls:
            return True
        if worker.is_recalled or len(worker.calls) >= _AHEAD:
            return False
        left = _AHEAD_S
        for one in (*worker.calls, call):
            left -= self._usual_s.get(one.job.task.capsule, _AHEAD_S)
        return left > 0

    def _give(self, worker: Worker, call: Call) -> None:
        job = call.job
        call.number = next(self._number)
        try:
            blobs = {digest: job.store.locate(digest) for digest in self._wanted(worker, job)}
        except (BlobMissing, BlobDamaged) as gone:
            call.hear(Done(InputGone(gone.digest), None))
            return
        except StoreError as error:
            call.hear(error)
            return
        assert self._around is not None  # noqa: S101 - looked at before anything is given
        place = Place(str(job.store.path), job.store.owner, job.store.compress)
        worker.give(call, blobs, place, self._around)

    @staticmethod
    def _wanted(worker: Worker, job: Job) -> Iterable[Digest]:
        task = job.task
        bindings = [*task.args, *(binding for _, binding in task.kwargs)]
        wanted = set(task.slots)
        wanted.update(const.blob for binding in bindings for const in consts_in(binding) if const.blob is not None)
        if not worker.knows(task.capsule):
            wanted.add(task.capsule)
        return wanted

    def _around_now(self) -> None:
        self._around = surroundings(self._around)

    def _start_workers(self) -> None:
        free = len([worker for worker in self._workers if not worker.calls])
        wanted = min(self.limit - len(self._workers), len(self._waiting) - free)
        for _ in range(wanted):
            assert self._around is not None  # noqa: S101 - looked at before anything is given
            try:
                worker = Worker(self._around.path)
            except WorkerUnavailable as error:
                if not self._workers:
                    self._refuse(str(error))
                return
            self._workers.append(worker)
            self._selector.register(worker.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)

    # Hearing ------------------------------------------------------------------------------------------------

    def _listen(self, worker: Worker) -> None:
        try:
            for report in worker.reports():
                match report:
                    case Answered():
                        self._answered(worker, report)
                    case Given():
                        self._waiting.extendleft(reversed(worker.gave_back(report.numbers)))
                    case Logged():
                        self._log(worker, report)
                    case Ready():
                        self._false_starts = 0
                        worker.ready()
        except EOFError:
            self._bury(worker)

    def _answered(self, worker: Worker, answered: Answered) -> None:
        worker.take_output(answered.printed)
        call = worker.took(answered.number)
        if call is None:
            return
        capsule, took = call.job.task.capsule, time.monotonic() - call.begun
        self._usual_s[capsule] = (1 - _LEARN) * self._usual_s.get(capsule, took) + _LEARN * took
        if call.is_wanted:
            call.hear(_answer_of(call.job, answered))

    @staticmethod
    def _log(worker: Worker, logged: Logged) -> None:
        worker.take_output()  # which came before it
        record = logging.makeLogRecord(dict(logged.record))
        output = worker.calls[0].job.output if worker.calls else None
        if output is not None:
            output("log", f"{record.levelname} {record.name}: {record.getMessage()}\n")
        logging.getLogger(record.name).handle(record)

    # Ending -------------------------------------------------------------------------------------------------

    def _stop(self, job: Job) -> None:
        for call in self._waiting:
            if call.job is job:
                call.is_wanted = False
                self._waiting.remove(call)
                return
        for worker in list(self._workers):
            if any(call.job is job for call in worker.calls):
                self._listen(worker)  # it may be over by now, and the next one have begun
                for at, call in enumerate(worker.calls):
                    if call.job is job:
                        call.is_wanted = False
                        if at == 0:
                            self._end(worker)
                        elif not worker.is_recalled:
                            worker.recall()
                        return

    def _end(self, worker: Worker) -> int:
        """Kill a worker; the calls that it had not begun are for others."""
        worker.take_output()
        first = worker.calls.popleft() if worker.calls else None
        self._waiting.extendleft(call for call in reversed(worker.calls) if call.is_wanted)
        worker.calls.clear()
        self._workers.remove(worker)
        self._selector.unregister(worker.socket)
        status = worker.end()
        if first is not None:
            first.job.store.remove_unfinished(f"{worker.name}{first.number:x}-")
        return status

    def _bury(self, worker: Worker) -> None:
        """It has ended by itself, or was ended by somebody else: that is the affair of the call that it made."""
        if not worker.is_ready:
            self._false_start(worker)
            return
        first = worker.calls[0] if worker.calls else None
        status = self._end(worker)
        if first is not None and first.is_wanted:
            first.hear(Done(Died(_how(status), time.monotonic() - first.begun), None))

    def _false_start(self, worker: Worker) -> None:
        words = worker.last_words()
        first = worker.calls[0] if worker.calls else None
        status = self._end(worker)
        if first is not None and first.is_wanted:
            self._waiting.appendleft(first)
        self._false_starts += 1
        if self._false_starts >= _FALSE_STARTS:
            self._false_starts = 0
            said = f"; it said:\n{words}" if words else ""
            self._refuse(
                f"worker processes do not start: the last one {_how(status)}{said}\n"
                '  -> executor="thread" runs electrons in this process'
            )

    def _refuse(self, why: str) -> None:
        """Nothing can be run."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if call.is_wanted:
                call.hear(Done(Raised(why, 0.0), None))

    def _dismiss(self, worker: Worker) -> None:
        self._end(worker)


def _answer_of(job: Job, answered: Answered) -> Answer:
    reply, store = answered.reply, job.store
    if isinstance(reply, StoreError):
        return reply
    try:
        if answered.intact:
            store.note_intact(answered.intact)
        if isinstance(reply, Returned):
            return Done(reply, store.adopt(answered.made))
        if isinstance(reply, InputGone):
            with suppress(BlobMissing, BlobDamaged):
                store.get_pieces(reply.blob)  # which takes what is damaged out of the way
    except StoreError as error:
        return error
    return Done(reply, None)


def _how(status: int) -> str:
    """How a process ended, in words."""
    if status == UNHEARD:
        return "can't be heard any more: the call has closed files that it had not opened"
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"


_pool: Pool | None = None
_pool_lock = forks.free_lock()


def shared_pool() -> Pool:
    """The one pool of this process: electrons of all dispatches share it."""
    global _pool  # noqa: PLW0603
    with _pool_lock:
        if _pool is None:
            _pool = Pool(1)
            atexit.register(_pool.close)
        _pool.limit = number("workers") or processors()
        return _pool


def processors() -> int:
    """How many this process may use at once."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # a container's share of them
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def _forget_pool() -> None:
    global _pool  # noqa: PLW0603
    if _pool is not None:
        _pool.forget()
        _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
