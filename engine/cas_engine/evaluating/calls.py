"""The calls of one evaluation that are under way: started, answered, out of time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from cas_engine.calling.worker import Task
from cas_engine.capsules.unchanged import LiveCode, RecordedCode
from cas_engine.evaluating.setting import Setting
from cas_engine.executors import Answer, Inline, Inputs, Job, Runner
from cas_engine.graphs.bindings import Binding, Const, Items, Ref, consts_in
from cas_engine.graphs.graph import Graph, Row
from cas_engine.values import FileContent
from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest

Files = tuple[FileContent, ...]
_NESTED = 8  # sublattices of one dispatch evaluated at a time


@dataclass(slots=True)
class Call:
    """A call under way. Its time counts from when it begins, which may be long after it was queued."""

    attempt: int
    draw: int
    timeout: float | None
    by_content: Digest | None  # the key by the inputs that it is given; None if its result is not to be found so
    stop: Callable[[], None]
    over: Callable[[], None]  # its output is complete
    deadline: float = math.inf

    def begin(self) -> None:
        """Called where it runs, as it begins."""
        if self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout


@dataclass(frozen=True, slots=True)
class _Start:
    """A sublattice that waits for its turn."""

    node: int
    row: Row
    task: Task
    call: Call


class Calls:
    """Used by the coordinating thread alone; runners report from theirs."""

    def __init__(self, setting: Setting) -> None:
        self._s = setting
        self._under_way: dict[int, Call] = {}
        self._inbox: SimpleQueue[tuple[int, Call, bool, Answer]] = SimpleQueue()
        self._recorded: dict[Digest, RecordedCode] = {}
        self._inputs = Inputs(setting.store.get_pieces)
        self._runs: dict[
            int, tuple[Runner, LiveCode | RecordedCode]
        ] = {}  # who makes the calls of an electron, of what
        self._nested_queue: deque[_Start] = deque()
        self._nested_running = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, node: int) -> bool:
        return node in self._under_way

    def start(self, node: int, task: Task, attempt: int, draw: int, by_content: Digest | None) -> None:
        """Make a call, or queue it: its answer comes out of `answers`."""
        electron = self._s.graph.electron_of[node]
        row = self._s.graph.rows[electron]
        if row.is_lattice:
            stop = partial(self._s.nested.stop, node)
            call = self._under_way[node] = Call(attempt, draw, row.timeout, by_content, stop, _nothing)
            self._nested_queue.append(_Start(node, row, task, call))
            self._start_nested()
            return
        found = self._runs.get(electron)
        if found is None:
            found = self._runs[electron] = self._s.runner_for(row), self._code_of(row)
        runner, code = found
        output = self._s.printed.call(self._number(node), attempt)
        call = self._under_way[node] = Call(attempt, draw, row.timeout, by_content, _nothing, output.close)
        begin = None if row.timeout is None else call.begin
        job = Job(task, self._s.store, code, begin, output, fetch=self._inputs)
        call.stop = partial(runner.stop, job)
        runner.start(job, self._report(node, call, is_nested=False))

    def answers(self, wait_s: float | None) -> Iterator[tuple[int, Call, Answer]]:
        """The answers that are there; waits for the first if asked to. Those that nobody waits for are dropped."""
        inbox = self._inbox
        while wait_s is not None or not inbox.empty():
            try:
                node, call, is_nested, answer = inbox.get(timeout=wait_s)
            except Empty:
                return
            wait_s = None
            if is_nested:
                self._nested_running -= 1
                self._start_nested()
            # It may have run out of time, or been cancelled, and come back all the same.
            if self._under_way.get(node) is call:
                del self._under_way[node]
                call.over()
                yield node, call, answer

    def keep(self, blob: PreparedBlob) -> None:
        """A result that the next calls may take: if it is small, they need not ask the store."""
        if blob.content is not None:
            self._inputs.keep(blob.digest, (blob.content,))

    def overdue(self) -> list[tuple[int, Call]]:
        """The calls that ran out of time; they are given up."""
        now = time.monotonic()
        late = [(node, call) for node, call in self._under_way.items() if now > call.deadline]
        for node, call in late:
            del self._under_way[node]
            call.stop()
            call.over()
        return late

    def give_up(self) -> None:
        """Wait for none of them any more, and stop those that can be stopped."""
        for call in self._under_way.values():
            call.stop()
            call.over()
        self._under_way.clear()
        self._nested_queue.clear()

    def close(self) -> None:
        """There are no more of them."""
        for runner, _ in self._runs.values():
            if isinstance(runner, Inline):
                runner.close()

    def are_idle(self) -> bool:
        """Whether nothing is under way and nothing has come in."""
        return not self._under_way and self._inbox.empty()

    def _start_nested(self) -> None:
        while self._nested_queue and self._nested_running < _NESTED:
            self._nested_running += 1
            start = self._nested_queue.popleft()
            start.call.begin()
            report = self._report(start.node, start.call, is_nested=True)
            prints = partial(self._s.printed.inner, self._number(start.node))
            self._s.nested.start(start.node, start.row, start.task, report, prints)

    def _number(self, node: int) -> int:
        return node if self._s.numbers is None else self._s.numbers[node]

    def _report(self, node: int, call: Call, *, is_nested: bool) -> Callable[[Answer], None]:
        inbox = self._inbox

        def report(answer: Answer) -> None:
            inbox.put((node, call, is_nested, answer))

        return report

    def _code_of(self, row: Row) -> LiveCode | RecordedCode:
        live = self._s.live.get(row.capsule)
        return live if live is not None else self._recorded.setdefault(row.capsule, RecordedCode())


def _nothing() -> None:
    """What has not begun needs no stopping, and a sublattice prints through its own electrons."""


def task_of(
    graph: Graph,
    node: int,
    blob_of: Callable[[int], Digest],
    files_of: Callable[[int], Files],
    seed: int | None,
) -> Task:
    """The call of a node whose parents have results: these blobs, which name these files."""
    electron, template = graph.electron_of[node], graph.templates[graph.template_of[node]]
    row, params, count = graph.rows[electron], template.params, template.slots
    args = tuple([params[i][1] for i in template.args])
    kwargs = tuple([(name, params[i][1]) for name, i in template.kwargs]) if template.kwargs else ()
    above = graph.parents_of(node)[:count] if count else ()
    files: list[FileContent] = []
    for parent in above:
        files += files_of(parent)
    for _, binding in params:
        if type(binding) is Const:
            files += binding.files
        elif type(binding) is not Ref or binding.path:
            _add_files(binding, files)
    slots = tuple([blob_of(parent) for parent in above])
    return Task(row.name, row.capsule, args, kwargs, slots, tuple(files), seed, row.retry_on)


def _add_files(binding: Binding, files: list[FileContent]) -> None:
    """Those that the constants in a binding name: mostly there are none, and most items are what needs no walk."""
    if isinstance(binding, Items):
        for item in binding.items:
            _add_files(item, files)
    elif not isinstance(binding, Ref) or binding.path:
        for const in consts_in(binding):
            files += const.files
