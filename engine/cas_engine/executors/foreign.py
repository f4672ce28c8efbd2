"""Calls in an executor of the user's. Inputs travel as bytes and results come back as bytes, as processes need it."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

from cas_engine.calling.worker import Fetch, InputGone, Raised, Reply, Returned, Task
from cas_engine.capsules.frames import Encoded
from cas_engine.capsules.unchanged import RecordedCode
from cas_engine.executors.jobs import Done, Job, Report, answer, called, finished
from cas_engine.graphs.bindings import consts_in
from cas_engine.graphs.contexts import context_for_call
from cas_store import forks
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing


class Foreign:
    """An executor of the user's."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._same_process = isinstance(executor, ThreadPoolExecutor)

    def start(self, job: Job, report: Report) -> None:
        """Submit it."""
        try:
            if self._same_process:
                future: Future[Done] = self._executor.submit(job.run_here)
                future.add_done_callback(lambda f: report(answer(f.result)))
            else:
                shipped = self._executor.submit(run_shipped, job.task, _blobs_of(job))
                shipped.add_done_callback(lambda f: report(answer(lambda: finished(f.result(), job.store))))
        except (BlobMissing, BlobDamaged) as gone:
            report(Done(InputGone(gone.digest), None))
        except RuntimeError as error:
            report(Done(Raised(f"its executor takes no work: {error}\n  -> give one that is still open", 0.0), None))

    def stop(self, job: Job) -> None:
        """What it does about its workers is its own affair."""


_MOST_SHIPPED = 256
_shipped: dict[Digest, RecordedCode] = {}  # in a process of the executor's; the last used is last
_shipped_lock = forks.free_lock()


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
