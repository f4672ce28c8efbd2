"""Evaluates a graph: takes hits, runs misses, writes what comes of them down. The only place where nodes change state.

One thread runs `Evaluation.run`; runners report to its inbox. It sees digests, never the data.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event as Flag
from typing import Any, Protocol

from cas_engine import keys, outcome, records
from cas_engine.bindings import call_arguments
from cas_engine.errors import CasRunError
from cas_engine.events import NodeFinished, NodeStarted, Observer, Planned
from cas_engine.executors import Answer, Done, Job, Runner, Threads, shared_threads
from cas_engine.graph import Graph, Row
from cas_engine.outcome import NO_DIGEST, NodeOutcome, NodeStatus
from cas_engine.plan import Decision, Hit, Miss, Planner, Same, Unknown
from cas_engine.policy import Policy
from cas_engine.records import Record
from cas_engine.worker import InputGone, Raised, Returned, Task
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing, StoreError
from cas_store.store import Insert, Put, PutBlob, Store, Write
from cas_store.tables import Table

_IN_FLIGHT = 256  # more than any pool takes at once, few enough that a million ready nodes are not a million futures
_BATCH = 64
_NESTED = 8  # sublattices of one dispatch evaluated at a time
_POLL_S = 0.05
EPOCH = b"epoch"  # in META: changes whenever a deterministic electron is seen not to repeat itself


class Nested(Protocol):
    """Evaluates sublattices."""

    def start(self, node: int, row: Row, task: Task, report: Callable[[Answer], None]) -> None:
        """Evaluate one in a thread of its own; `report` gets its result, or what failed in it."""

    def dispatch_of(self, node: int) -> str:
        """The dispatch that a sublattice was evaluated as, "" if it was not."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What an evaluation works with; all of it belongs to one dispatch."""

    store: Store
    dispatch_id: str
    lattice: str
    graph: Graph
    prefixes: Sequence[bytes]
    policy: Policy
    kept: Mapping[Digest, Record]  # the parent's samples by key
    live: Mapping[Digest, Callable[..., Any]]  # functions of this process by capsule
    runner_for: Callable[[Row], Runner]
    nested: Nested
    why: Callable[[int], str]  # why a node that is not forced misses
    observer: Observer | None
    cancelled: Flag


@dataclass(slots=True)
class _Running:
    """A call under way."""

    attempt: int
    deadline: float | None


@dataclass(slots=True)
class _State:
    """What is known of the nodes so far. A node is settled when it has an outcome."""

    outcomes: list[NodeOutcome | None]
    records: list[Record | None]
    decisions: list[Decision]
    waiting: dict[int, int] = field(default_factory=dict)  # unsettled parents of nodes that are not settled
    children: dict[int, list[int]] = field(default_factory=dict)
    followers: dict[int, list[int]] = field(default_factory=dict)
    ready: deque[int] = field(default_factory=deque)
    running: dict[int, _Running] = field(default_factory=dict)
    awaited: set[int] = field(default_factory=set)  # somebody else computes their key
    again: set[int] = field(default_factory=set)  # their blob is gone: no look-up can help
    unsettled: int = 0


class Evaluation:
    """One evaluation of one graph."""

    def __init__(self, setting: Setting) -> None:
        self._s = setting
        self._graph = setting.graph
        self._store = setting.store
        self._holder = bytes.fromhex(setting.dispatch_id)
        self._labels = setting.graph.labels()
        self._inbox: SimpleQueue[tuple[int, int, Answer]] = SimpleQueue()
        self._durable: SimpleQueue[Digest] = SimpleQueue()
        self._pending: deque[Future[None]] = deque()
        self._claimed: set[Digest] = set()
        self._snapshot: Any = None
        self._gone: set[Digest] = set()
        self._planner = Planner(setting.graph, setting.prefixes, setting.policy, self._lookup, setting.kept)
        n = len(setting.graph)
        self._state = _State([None] * n, [None] * n, [])
        self._nested_queue: deque[int] = deque()
        self._nested_running = 0
        self._next_look = 0.0

    # The way through ----------------------------------------------------------------------------------------

    def run(self) -> list[NodeOutcome]:
        """Evaluate all nodes; what came of each. All results are durable when this returns.

        Raises StoreError when the store takes no more; what had finished by then is kept.
        """
        try:
            self._first_pass()
            while True:
                self._loop()
                if self._s.cancelled.is_set() or not self._reopen_damaged_output():
                    break
            while self._pending:
                self._pending.popleft().result()
        finally:
            self._store.release(list(self._claimed), self._holder)
        return [one or outcome.NOT_YET for one in self._state.outcomes]

    @property
    def outcomes(self) -> list[NodeOutcome]:
        """What came of each node so far."""
        return [one or outcome.NOT_YET for one in self._state.outcomes]

    @property
    def records(self) -> list[Record | None]:
        """The results of the nodes that have one."""
        return self._state.records

    def _first_pass(self) -> None:
        state = self._state
        with self._store.snapshot() as self._snapshot:
            for node in range(len(self._graph)):
                decision = self._planner.decide(node)
                state.decisions.append(decision)
                if isinstance(decision, Hit):
                    self._take_hit(node, decision.key, decision.record, decision.reason)
                elif isinstance(decision, Same) and (record := state.records[decision.first]) is not None:
                    self._take_hit(node, decision.key, record, f"same call as {self._labels[decision.first]}")
        self._snapshot = None
        hits = sum(one is not None for one in state.outcomes)
        for node in range(len(self._graph)):
            if state.outcomes[node] is None:
                state.unsettled += 1
                self._enqueue(node)
        self._tell(Planned(self._s.dispatch_id, self._s.lattice, len(self._graph), hits, 0.0))
        if self._s.observer is not None:
            for node, one in enumerate(state.outcomes):
                if one is not None:
                    self._tell_finished(node, one)

    def _loop(self) -> None:
        state = self._state
        while state.unsettled:
            if self._cancel_asked():
                self._cancel()
                return
            if state.ready and len(state.running) < _IN_FLIGHT:
                count = min(_BATCH, len(state.ready))
                self._take([state.ready.popleft() for _ in range(count)])
            self._read_inbox(wait=not state.ready or len(state.running) >= _IN_FLIGHT)
            self._release_durable()
            self._look_around()

    def _read_inbox(self, *, wait: bool) -> None:
        try:
            message = self._inbox.get(timeout=_POLL_S) if wait and self._state.unsettled else self._inbox.get_nowait()
        except Empty:
            return
        while True:
            self._on_answer(*message)
            try:
                message = self._inbox.get_nowait()
            except Empty:
                return

    def _look_around(self) -> None:
        """Now and then: calls out of time, keys that somebody else was computing."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _POLL_S
        state = self._state
        for node, call in list(state.running.items()):
            if call.deadline is not None and now > call.deadline:
                self._out_of_time(node)
        if state.awaited:
            again, state.awaited = sorted(state.awaited), set()
            self._take(again)
        if not (state.running or state.ready or state.awaited or self._nested_queue) and state.unsettled:
            if self._inbox.empty():
                raise CasRunError("nodes are left that nothing will settle\n  -> this is a mistake of cas-run: report it")

    # Deciding -----------------------------------------------------------------------------------------------

    def _lookup(self, key: Digest) -> Record | None:
        """The usable record of a key: one whose blob is there."""
        get = self._snapshot.get if self._snapshot is not None else self._store.get
        row = get(Table.RECORDS, key)
        if row is None:
            return None
        record = records.loads(row)
        if self._snapshot is not None:
            there = self._snapshot.has(Table.BLOBS, record.blob)
        else:
            there = not self._store.find_missing([record.blob])
        if not there:
            self._gone.add(key)
        return record if there else None

    def _enqueue(self, node: int) -> None:
        """Note what a node that is not settled waits for."""
        state = self._state
        above = set(self._graph.parents_of(node))
        for parent in above:
            one = state.outcomes[parent]
            if one is not None and state.records[parent] is None:
                self._skip(node, f"needs {self._labels[parent]}, which {_PAST[one.status]}")
                return
        missing = [parent for parent in above if state.records[parent] is None]
        for parent in missing:
            state.children.setdefault(parent, []).append(node)
        state.waiting[node] = len(missing)
        if not missing:
            state.ready.append(node)

    def _take(self, nodes: Sequence[int]) -> None:
        """Settle, attach, await or start nodes whose parents are all there."""
        state = self._state
        to_claim: list[tuple[int, Miss]] = []
        for node in nodes:
            if state.outcomes[node] is not None:
                continue
            decision = state.decisions[node]
            if isinstance(decision, Unknown):
                decision = state.decisions[node] = self._planner.decide(node)
            if isinstance(decision, Hit):
                self._take_hit(node, decision.key, decision.record, decision.reason)
                self._after(node)
            elif isinstance(decision, Same):
                self._follow(node, decision)
            elif isinstance(decision, Unknown):
                raise CasRunError("a node is ready whose key is not known\n  -> this is a mistake of cas-run: report it")
            elif decision.forced is not None:
                self._start(node)
            elif not self._take_by_content(node, decision):
                to_claim.append((node, decision))
        self._claim(to_claim)

    def _claim(self, wanted: Sequence[tuple[int, Miss]]) -> None:
        if not wanted:
            return
        holders = self._store.claim([miss.key for _, miss in wanted], self._holder)
        for (node, miss), holder in zip(wanted, holders, strict=True):
            if holder is not None:
                self._state.awaited.add(node)
                continue
            self._claimed.add(miss.key)
            # Between the look-up and the claim somebody may have finished it.
            record = None if node in self._state.again else self._lookup(miss.key)
            if record is not None:
                self._planner.settle(node, miss.key, record)
                self._take_hit(node, miss.key, record, "computed meanwhile by another dispatch")
                self._unclaim(miss.key)
                self._after(node)
            else:
                self._start(node)

    def _follow(self, node: int, decision: Same) -> None:
        state = self._state
        record = state.records[decision.first]
        first = state.outcomes[decision.first]
        if record is not None:
            self._planner.settle(node, decision.key, record)
            self._take_hit(node, decision.key, record, f"same call as {self._labels[decision.first]}")
            self._after(node)
        elif first is not None:
            self._skip(node, f"same call as {self._labels[decision.first]}, which {_PAST[first.status]}")
        else:
            state.followers.setdefault(decision.first, []).append(node)

    def _take_by_content(self, node: int, miss: Miss) -> bool:
        """Early cutoff: the inputs came out as in an earlier call, whatever they were made by."""
        if self._graph.row_of(node).stochastic or node in self._state.again:
            return False
        row = self._store.get(Table.CONTENTS, self._content_key(node))
        if row is None:
            return False
        record = records.loads(row)
        if self._store.find_missing([record.blob]):
            return False
        self._pending.append(self._store.submit([Insert(Table.RECORDS, miss.key, row)]))
        self._planner.settle(node, miss.key, record)
        self._take_hit(node, miss.key, record, "its inputs came out the same")
        self._after(node)
        return True

    def _content_key(self, node: int) -> Digest:
        graph, found = self._graph, self._state.records
        template = graph.template(node)
        above = graph.parents_of(node)

        def digest_of_slot(ref: Any) -> Digest:  # noqa: ANN401
            record = found[above[ref.slot]]
            assert record is not None  # noqa: S101 - a ready node's parents have results
            part = record.parts.at(ref.path[0][1]) if ref.path and ref.path[0][0] == "item" else None
            if part is None:
                return keys.part_of(record.value, ref)
            return keys.part_of(part, type(ref)(ref.slot, ref.path[1:]))

        waits = [found[parent] for parent in above[template.slots :]]
        return keys.content_key(
            self._s.prefixes[graph.electron_of[node]],
            template,
            frozenset(graph.row_of(node).ignore),
            digest_of_slot,
            [record.value for record in waits if record is not None],
        )

    # Running ------------------------------------------------------------------------------------------------

    def _start(self, node: int, attempt: int = 0) -> None:
        row = self._graph.row_of(node)
        if row.is_lattice and self._nested_running >= _NESTED:
            self._nested_queue.append(node)
            return
        deadline = None if row.timeout is None else time.monotonic() + row.timeout
        self._state.running[node] = _Running(attempt, deadline)
        if attempt == 0:
            self._tell(NodeStarted(self._s.dispatch_id, node, self._labels[node], row.slot))
        inbox = self._inbox

        def report(answer: Answer) -> None:
            inbox.put((node, attempt, answer))

        if row.is_lattice:
            self._nested_running += 1
            self._s.nested.start(node, row, self._task(node), report)
        else:
            runner: Runner = shared_threads() if row.timeout is not None else self._s.runner_for(row)
            runner.start(Job(self._task(node), self._store, self._s.live.get(row.capsule)), report)

    def _task(self, node: int) -> Task:
        row = self._graph.row_of(node)
        template = self._graph.template(node)
        args, kwargs = call_arguments(template)
        found = [self._state.records[parent] for parent in self._graph.parents_of(node)[: template.slots]]
        slots = tuple(record.blob for record in found if record is not None)
        return Task(row.name, row.capsule, tuple(args), tuple(kwargs.items()), slots)

    def _on_answer(self, node: int, attempt: int, answer: Answer) -> None:
        row = self._graph.row_of(node)
        if row.is_lattice:
            self._nested_running -= 1
            if self._nested_queue:
                self._start(self._nested_queue.popleft())
        call = self._state.running.get(node)
        if call is None or call.attempt != attempt:
            return  # a call that ran out of time, or was cancelled, and came back all the same
        del self._state.running[node]
        if isinstance(answer, StoreError):
            raise answer
        if isinstance(answer, BaseException):
            answer = Done(Raised(f"{type(answer).__name__}: {answer}", 0.0), None)
        reply = answer.reply
        if isinstance(reply, Returned):
            self._finish(node, reply, answer)
        elif isinstance(reply, InputGone):
            self._recover(node, reply.blob)
        elif attempt < row.retries:
            self._start(node, attempt + 1)
        else:
            self._fail(node, reply.error, reply.seconds)

    def _out_of_time(self, node: int) -> None:
        row = self._graph.row_of(node)
        call = self._state.running.pop(node)
        runner = shared_threads()
        if isinstance(runner, Threads):
            runner.abandon()
        if call.attempt < row.retries:
            self._start(node, call.attempt + 1)
        else:
            self._fail(node, f"electron `{row.name}` took longer than timeout={row.timeout:g} s", row.timeout or 0.0)

    # Settling -----------------------------------------------------------------------------------------------

    def _finish(self, node: int, reply: Returned, done: Done) -> None:
        assert done.blob is not None  # noqa: S101 - what returned was written down
        row = self._graph.row_of(node)
        decision = self._state.decisions[node]
        assert isinstance(decision, Miss)  # noqa: S101 - only misses run
        before = self._recorded(decision) if not row.stochastic else None
        differs = before is not None and before.value != reply.value
        record = Record(
            value=reply.value,
            blob=done.blob.digest,
            seconds=reply.seconds,
            created=time.time(),
            size=done.blob.size,
            is_sample=row.stochastic or differs or (before is not None and before.is_sample),
            parts=reply.parts,
            electron=row.name,
            dispatch=self._s.dispatch_id,
        )
        extra = {"warning": _NOT_REPEATED} if differs else {}
        inner = self._s.nested.dispatch_of(node) if row.is_lattice else ""
        if inner:
            extra["dispatch"] = inner
        reason = decision.forced or self._why(node, decision)
        one = _settled(NodeStatus.RAN, reason, decision.key, record, extra)
        self._write(node, decision, record, one, done, differs=differs)
        self._state.records[node] = record
        self._planner.settle(node, decision.key, record)
        self._settle(node, one)
        self._after(node)

    def _write(
        self, node: int, miss: Miss, record: Record, one: NodeOutcome, done: Done, *, differs: bool
    ) -> None:
        assert done.blob is not None  # noqa: S101
        row = records.dumps(record)
        writes: list[Write] = [PutBlob(done.blob), Put(Table.RECORDS, miss.key, row)]
        if not record.is_sample:
            writes.append(Put(Table.CONTENTS, self._content_key(node), row))
        if differs:
            # What was made from the value that did not repeat must not answer for a whole lattice any more.
            writes.append(Put(Table.META, EPOCH, str(time.time()).encode()))
        writes.append(Put(Table.NODES, self._node_row(node), outcome.row_dumps(one)))
        future = self._store.submit(writes)
        self._pending.append(future)
        durable, key = self._durable, miss.key
        future.add_done_callback(lambda _: durable.put(key))
        while len(self._pending) > _BATCH and self._pending[0].done():
            self._pending.popleft().result()

    def _recorded(self, miss: Miss) -> Record | None:
        """What the store has for the key of a node that was forced to run."""
        if miss.forced is None:
            return None
        row = self._store.get(Table.RECORDS, miss.key)
        return None if row is None else records.loads(row)

    def _why(self, node: int, miss: Miss) -> str:
        return "its result is gone from the store" if miss.key in self._gone else self._s.why(node)

    def _take_hit(self, node: int, key: Digest, record: Record, reason: str) -> None:
        self._state.records[node] = record
        extra = {"dispatch": record.dispatch} if self._graph.row_of(node).is_lattice else {}
        self._settle(node, _settled(NodeStatus.HIT, reason, key, record, extra), first_pass=not self._is_counting())

    def _is_counting(self) -> bool:
        return self._snapshot is None

    def _settle(self, node: int, one: NodeOutcome, *, first_pass: bool = False) -> None:
        self._state.outcomes[node] = one
        if first_pass:
            return
        self._state.unsettled -= 1
        self._state.waiting.pop(node, None)
        self._tell_finished(node, one)

    def _after(self, node: int) -> None:
        """A node has its result: free those that waited for it."""
        state = self._state
        for child in state.children.pop(node, ()):
            if child in state.waiting:
                state.waiting[child] -= 1
                if state.waiting[child] == 0:
                    state.ready.append(child)
        for follower in state.followers.pop(node, ()):
            decision = state.decisions[follower]
            assert isinstance(decision, Same)  # noqa: S101 - only those follow
            self._follow(follower, decision)

    def _fail(self, node: int, error: str, seconds: float) -> None:
        decision = self._state.decisions[node]
        assert isinstance(decision, Miss)  # noqa: S101 - only misses run
        self._unclaim(decision.key)
        extra = {"error": error}
        inner = self._s.nested.dispatch_of(node) if self._graph.row_of(node).is_lattice else ""
        if inner:
            extra["dispatch"] = inner
        reason = decision.forced or self._why(node, decision)
        one = NodeOutcome(
            NodeStatus.FAILED, reason, decision.key, NO_DIGEST, NO_DIGEST, 0, False, seconds, time.time(), extra
        )
        self._pending.append(self._store.submit([Put(Table.NODES, self._node_row(node), outcome.row_dumps(one))]))
        self._settle(node, one)
        self._skip_below(node, "failed")

    def _skip_below(self, node: int, what: str) -> None:
        todo = [(node, what)]
        while todo:
            above, how = todo.pop()
            below = self._state.children.pop(above, [])
            for child in [*below, *self._state.followers.pop(above, ())]:
                if self._state.outcomes[child] is None:
                    self._settle(child, _nothing(NodeStatus.SKIPPED, f"needs {self._labels[above]}, which {how}"))
                    todo.append((child, "was skipped"))

    def _skip(self, node: int, reason: str) -> None:
        self._settle(node, _nothing(NodeStatus.SKIPPED, reason))
        self._skip_below(node, "was skipped")

    def _cancel(self) -> None:
        for node, one in enumerate(self._state.outcomes):
            if one is None:
                self._settle(node, _nothing(NodeStatus.CANCELLED, "the dispatch was cancelled"))
        self._state.running.clear()

    # Mending ------------------------------------------------------------------------------------------------

    def _recover(self, node: int, blob: Digest) -> None:
        """An input's blob is gone: compute it again, then take the node up again."""
        givers = [
            parent
            for parent in set(self._graph.parents_of(node))
            if (record := self._state.records[parent]) is not None and record.blob == blob
        ]
        if not givers:
            what = "the code of" if blob == self._graph.row_of(node).capsule else "a recorded argument of"
            self._fail(node, f"{what} electron `{self._graph.row_of(node).name}` is gone from the store", 0.0)
            return
        self._reopen(givers)
        self._enqueue(node)

    def _reopen(self, nodes: Iterable[int]) -> None:
        state = self._state
        for node in nodes:
            one = state.outcomes[node]
            if one is None:
                continue
            state.outcomes[node], state.records[node] = None, None
            state.unsettled += 1
            state.again.add(node)
            state.decisions[node] = Miss(one.key, None)
            self._gone.add(one.key)
            self._enqueue(node)

    def _reopen_damaged_output(self) -> bool:
        """Whether something that the lattice returns has to be computed again, its blob being gone."""
        bad = []
        for node in set(self._graph.output_parents):
            record = self._state.records[node]
            if record is None:
                continue
            try:
                self._store.get_blob(record.blob)
            except (BlobMissing, BlobDamaged):
                bad.append(node)
        self._reopen(bad)
        return bool(bad)

    # Small things -------------------------------------------------------------------------------------------

    def _unclaim(self, key: Digest) -> None:
        if key in self._claimed:
            self._claimed.discard(key)
            self._store.release([key], self._holder)

    def _release_durable(self) -> None:
        # Not before the record can be seen: whoever waits for the key would compute it again.
        keys_done = []
        while not self._durable.empty():
            keys_done.append(self._durable.get())
        mine = [key for key in keys_done if key in self._claimed]
        if mine:
            self._claimed.difference_update(mine)
            self._store.release(mine, self._holder)

    def _cancel_asked(self) -> bool:
        return self._s.cancelled.is_set()

    def _node_row(self, node: int) -> bytes:
        return self._holder + node.to_bytes(4, "big")

    def _tell(self, event: Any) -> None:  # noqa: ANN401
        if self._s.observer is not None:
            self._s.observer(event)

    def _tell_finished(self, node: int, one: NodeOutcome) -> None:
        if self._s.observer is not None:
            row = self._graph.row_of(node)
            hit = one.status is NodeStatus.HIT
            self._tell(
                NodeFinished(
                    self._s.dispatch_id,
                    node,
                    self._labels[node],
                    row.slot,
                    one.status.word,
                    one.reason,
                    0.0 if hit else one.seconds,
                    one.seconds if hit else 0.0,
                )
            )


_PAST = {
    NodeStatus.FAILED: "failed",
    NodeStatus.SKIPPED: "was skipped",
    NodeStatus.CANCELLED: "was cancelled",
}
_NOT_REPEATED = "it came out different from its recorded result, though nothing that its key knows of has changed"


def _settled(
    status: NodeStatus, reason: str, key: Digest, record: Record, extra: dict[str, str]
) -> NodeOutcome:
    return NodeOutcome(
        status,
        reason,
        key,
        record.value,
        record.blob,
        record.size,
        record.is_sample,
        record.seconds,
        record.created,
        extra,
    )


def _nothing(status: NodeStatus, reason: str) -> NodeOutcome:
    return NodeOutcome(status, reason, NO_DIGEST, NO_DIGEST, NO_DIGEST, 0, False, 0.0, 0.0, {})
