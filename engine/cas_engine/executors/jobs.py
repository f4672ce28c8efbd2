"""A call to be made, and what came of it, as executors take and give them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import Protocol

from cas_engine.calling.worker import Fetch, Reply, Returned, Task, run
from cas_engine.capsules.unchanged import Code, calling
from cas_engine.executors.capture import Output, captured, hear
from cas_engine.graphs.contexts import context_for_call
from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest
from cas_store.store import Store


@dataclass(frozen=True, slots=True)
class Died:
    """The process that made the call ended before the call did; `how` it ended, in words."""

    how: str
    seconds: float


@dataclass(slots=True)  # as in `worker`: one for every call
class Done:
    """A reply with its blob prepared: large ones are on the disk already, waiting to be published."""

    reply: Reply | Died
    blob: PreparedBlob | None


Answer = Done | BaseException
Report = Callable[[Answer], None]


@dataclass(slots=True, eq=False)
class Job:
    """A task, and what a runner in this process may use to do it faster."""

    task: Task
    store: Store
    code: Code
    on_begin: Callable[[], None] | None = None
    output: Output | None = None
    context: Context = field(default_factory=context_for_call)
    fetch: Fetch | None = None  # what has blobs that other calls have read at hand

    def run_here(self) -> Done:
        """Make the call in this thread."""
        return self.context.run(self._run)

    def run_heard(self) -> Done:
        """The same while somebody listens to what calls print."""
        self.context.run(hear, self.output)
        return self.context.run(self._done)

    def _run(self) -> Done:
        if self.output is None:
            return self._done()
        with captured(self.output):
            return self._done()

    def _done(self) -> Done:
        if self.on_begin is not None:
            self.on_begin()
        return finished(called(self.task, self.fetch or self.store.get_pieces, self.code), self.store)


class Inputs:
    """Blobs of one evaluation: small ones, which many calls may read, are fetched once."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._kept: dict[Digest, tuple[memoryview | bytes, ...]] = {}

    def __call__(self, digest: Digest) -> tuple[memoryview | bytes, ...]:
        found = self._kept.get(digest)
        if found is None:
            found = self._fetch(digest)
            if len(found) == 1:
                self.keep(digest, found)
        return found

    def keep(self, digest: Digest, blob: tuple[memoryview | bytes, ...]) -> None:
        """Have one at hand, if it is small."""
        if len(blob[0]) <= _SMALL:
            if len(self._kept) >= _MANY:
                self._kept.clear()
            self._kept[digest] = blob


_SMALL, _MANY = 4096, 1024  # bytes, blobs


def called(task: Task, fetch: Fetch, code: Code) -> Reply:
    """The reply to a call of this code, with what is to be said about it."""
    if code.constant is not None:
        return run(task, fetch, code.constant)
    reply, warning = calling(code, lambda function: run(task, fetch, lambda: function(lambda: fetch(task.capsule)[0])))
    return replace(reply, warning=warning) if warning and isinstance(reply, Returned) else reply


def finished(reply: Reply, store: Store) -> Done:
    """A reply with its result written down, if it has one."""
    if type(reply) is not Returned:
        return Done(reply, None)
    return Done(reply, store.prepare(reply.encoded.pieces, reply.encoded.parts))


def answer(call: Callable[[], Done]) -> Answer:
    """What came of a call, also if it was none of what calls end with."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - a runner must report, whatever happened
        return error


class Runner(Protocol):
    """Starts jobs and reports what came of each, from whatever thread."""

    def start(self, job: Job, report: Report) -> None:
        """Start a job; `report` is called once with its answer."""

    def stop(self, job: Job) -> None:
        """Nobody waits for it any more: stop it where that can be done. Its answer may come all the same."""
