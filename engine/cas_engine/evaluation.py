"""Evaluates a graph: takes hits, runs misses, writes what comes of them down.

One thread runs `Evaluation.run`; runners report to its inbox. It sees digests, never the data.
"""

from __future__ import annotations

import heapq
import math
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cas_engine.board import OPEN, Board, with_result
from cas_engine.calls import Call, Calls, task_of
from cas_engine.decisions import MISS, SAME, UNKNOWN, Decisions, Found, Hit, Miss, Same, Unknown
from cas_engine.executors import Answer, Died, Done
from cas_engine.graph import Labels
from cas_engine.journal import BLOB_GONE, EVICTED, Journal
from cas_engine.keys import content_key_of
from cas_engine.outcome import NO_DIGEST, NO_EXTRA, NodeOutcome, NodeStatus
from cas_engine.plan import Planner, collecting_later
from cas_engine.records import Record
from cas_engine.seeding import seed_of
from cas_engine.setting import GivenGone, Setting
from cas_engine.telling import Teller
from cas_engine.values import FileContent
from cas_engine.worker import InputGone, Raised, Returned
from cas_store.digest import Digest
from cas_store.errors import CasRunError, StoreError

_IN_FLIGHT = 256  # more than any pool takes at once, few enough that a million ready nodes are not a million futures
_BATCH = 64
_POLL_S = 0.05
_LONGEST_DELAY_S = 3600.0  # before an electron is tried again
_QUICK_S = 0.001  # a call: those that take longer are claimed as they come


class Evaluation:
    """One evaluation of one graph."""

    def __init__(self, setting: Setting) -> None:
        self._s = setting
        self._graph = setting.graph
        labels = Labels(setting.graph)
        self._teller = Teller(setting, labels)
        self._board = Board(setting.graph, labels, self._on_settled)
        self._journal = Journal(setting.store, setting.dispatch_id, setting.numbers)
        look = self._journal.lookup
        self._planner = Planner(setting.graph, setting.prefixes, setting.policy, look, setting.kept, setting.given)
        self._decisions = Decisions(0)
        self._calls = Calls(setting)
        self._awaited: set[int] = set()  # somebody else computes their key
        self._again: dict[int, Digest] = {}  # their blob is gone, so no look-up can help; the value that it had
        self._looked_up: dict[int, Digest] = {}  # content keys without a record, while inputs stay
        self._is_reopened = False  # a result may have been taken away since a node was ready
        self._to_start: deque[int] = deque()
        self._later: list[tuple[float, int, int]] = []  # when to try again, which node, for the how manieth time
        self._next_look = 0.0
        self._has_sublattices = any(row.is_lattice for row in setting.graph.rows)
        self._to_claim = 0  # the node up to which claims were made ahead
        self._last_claim = (-math.inf, 0)  # when, and of how many keys

    # The way through ----------------------------------------------------------------------------------------

    def run(self) -> Sequence[NodeOutcome]:
        """Evaluate all nodes; what came of each. All results are durable when this returns.

        Raises StoreError when the store takes no more; what had finished by then is kept.
        """
        try:
            self._first_pass()
            self._loop()
            while not self._s.cancelled.is_set() and self._reopen_damaged_output():
                self._loop()
            self._journal.flush()
        finally:
            with suppress(StoreError):  # else when it lets go
                self._journal.release_all()
        return self._board.so_far

    def let_go(self) -> None:
        """What came of it is written down: sweeps may take what it counted on, and others compute what it had not."""
        self._board.close()
        self._journal.release_all()
        self._journal.let_go()

    @property
    def files(self) -> set[FileContent]:
        """The files that results name, with what is in them."""
        return {file for record in self._board.so_far.records_with_files() for file in record.files}

    @property
    def outcomes(self) -> Sequence[NodeOutcome]:
        """What came of each node so far."""
        return self._board.so_far

    def _first_pass(self) -> None:
        """Decide all that can be decided before anything runs."""
        with self._journal.one_look(), collecting_later():
            self._decisions = self._planner.decide_all(self._journal.lookup_many, self._begin_with)
            self._begin_with_same()
            self._planner.let_go(self._decisions)
        board = self._board
        if self._journal.evicted:
            self._reopen_what_is_needed()
        self._check_runnable()
        self._teller.planned(self._board.so_far)
        board.open()
        if board.unsettled:
            self._journal.hold()

    def _check_runnable(self) -> None:
        """Raise EnvironmentMismatch before anything runs if something that has to run cannot."""
        electrons = {
            self._graph.electron_of[node] for kind in (MISS, UNKNOWN) for node in self._decisions.of_kind(kind)
        }
        rows = [self._graph.rows[at] for at in sorted(electrons)]
        recorded = [row for row in rows if not row.is_lattice and row.capsule not in self._s.live]
        if recorded:
            from cas_engine.runnable import check_runnable

            check_runnable(self._s.store, recorded)

    def _reopen_what_is_needed(self) -> None:
        """Compute evicted results again that are returned, or that a call needs which is certain to run.

        Others wait: what is above such a call may come out the same, and then it does not run.
        """
        self._reopen(self._evicted_among(sorted(set(self._graph.output_parents))))
        for node in reversed(range(len(self._graph))):
            if self._decisions.kinds[node] != MISS or self._board.state[node] != OPEN:
                continue
            decision = self._miss(node)
            above = sorted(set(self._graph.parents_of(node)))
            if not (gone := self._evicted_among(above)):
                continue
            settled = self._board.have_results(above)
            if decision.forced is not None or (settled and self._take_by_content([node])):
                self._reopen(gone)

    def _begin_with(self, found: Sequence[Found], reason: str) -> None:
        self._journal.found(record.blob for _, _, record in found)
        extras: Mapping[int, Mapping[str, str]] = {}
        if self._has_sublattices:
            row_of = self._graph.row_of
            extras = {node: {"dispatch": record.dispatch} for node, _, record in found if row_of(node).is_lattice}
        self._board.begin_with(found, reason, extras)

    def _begin_with_same(self) -> None:
        board, decisions = self._board, self._decisions
        for node in decisions.of_kind(SAME):
            first, key = decisions.other[node], decisions.keys[node]
            if (record := board.record(first)) is not None and key is not None:
                self._begin_with([(node, key, record)], f"same call as {board.labels[first]}")

    def _loop(self) -> None:
        board = self._board
        while board.unsettled:
            if self._s.cancelled.is_set():
                self._calls.give_up()
                self._to_start.clear()
                self._later.clear()
                board.cancel()
                return
            has_room = len(self._calls) < _IN_FLIGHT
            if has_room and not self._to_start and board.ready:
                self._take([board.ready.popleft() for _ in range(min(_BATCH, len(board.ready)))])
                self._journal.hold()
            if has_room and self._to_start:
                # One by one: a runner may make the call at once, and its answer is to be written down before the next.
                self._start(self._to_start.popleft())
            is_busy = has_room and (self._to_start or board.ready)
            waits = bool(board.unsettled) and not is_busy
            for node, call, answer in self._calls.answers(_POLL_S if waits else None):
                self._on_answer(node, call, answer)
            self._journal.release_durable()
            self._journal.hold()
            self._look_around()

    def _look_around(self) -> None:
        """Now and then: calls out of time, keys that somebody else was computing."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _POLL_S
        for node, call in self._calls.overdue():
            self._out_of_time(node, call)
        while self._later and self._later[0][0] <= now:
            _, node, attempt = heapq.heappop(self._later)
            if self._board.state[node] == OPEN:
                self._start(node, attempt)
        if self._awaited:
            again, self._awaited = sorted(self._awaited), set()
            self._take(again)
        idle = not (self._to_start or self._later or self._awaited or self._board.ready) and self._calls.are_idle()
        if idle and self._board.unsettled:
            raise CasRunError("nodes are left that nothing will settle\n  -> this is a mistake of cas-run: report it")

    # Deciding -----------------------------------------------------------------------------------------------

    def _take(self, nodes: Sequence[int]) -> None:
        """Settle, attach, await or start nodes whose parents are all there."""
        decisions, board = self._decisions, self._board
        missing: list[int] = []
        for node in nodes:
            if board.state[node] != OPEN or node in self._calls:
                continue
            if not board.have_results(self._graph.parents_of(node)):
                board.enqueue(node)  # a parent's result was found to be gone meanwhile
                continue
            if decisions.kinds[node] == UNKNOWN:
                decisions[node] = self._planner.decide(node)
            if decisions.kinds[node] == MISS:
                if decisions.is_forced(node):
                    self._to_start.append(node)
                else:
                    missing.append(node)
                continue
            match decisions[node]:
                case Hit(key, record, reason):
                    self._take_hit(node, key, record, reason)
                case Same() as same:
                    self._follow(node, same)
                case _:
                    raise CasRunError("a ready node has no key\n  -> this is a mistake of cas-run: report it")
        if missing and (to_claim := self._take_by_content(missing)):
            self._claim(to_claim)

    def _claim(self, nodes: Sequence[int]) -> None:
        journal, keys = self._journal, self._decisions.keys
        wanted = [(node, key) for node in nodes if (key := keys[node]) is not None]
        new = {key: node for node, key in wanted if not journal.has_claimed(key)}
        known: dict[Digest, Record] = {}
        if new:
            new |= self._next_to_claim(_BATCH - len(new))
            journal.claim(sorted(new))
            self._last_claim = time.monotonic(), len(new)
            # Between the look-up and the claim somebody may have finished it.
            known = journal.lookup_now([key for key in new if journal.has_claimed(key)])
        for node, key in wanted:
            if not journal.has_claimed(key):
                self._awaited.add(node)
                continue
            record = known.pop(key, None) if known else None
            if record is not None and not self._planner.may_have(node):
                record = None
            if record is None or (node in self._again and not self._is_again(node, record)):
                self._to_start.append(node)
            else:
                journal.unclaim(key)
                self._take_hit(node, key, record, "computed meanwhile by another dispatch")
        for key in known:
            journal.unclaim(key)

    def _next_to_claim(self, count: int) -> dict[Digest, int]:
        """Nodes that are going to run, by key, where calls take less than a claim: a chain of these is claimed at once.

        Not around sublattices, which claim for themselves: what waits for one would keep it waiting.
        """
        when, how_many = self._last_claim
        if self._has_sublattices or time.monotonic() - when > _QUICK_S * how_many:
            return {}
        found: dict[Digest, int] = {}
        decisions, state = self._decisions, self._board.state
        while len(found) < count:
            node = self._to_claim = decisions.kinds.find(MISS, self._to_claim)
            if node < 0:
                self._to_claim = len(self._graph)
                break
            self._to_claim += 1
            key = decisions.keys[node]
            if key is not None and state[node] == OPEN and not decisions.other[node] and node not in self._again:
                found[key] = node
        return {key: node for key, node in found.items() if not self._journal.has_claimed(key)}

    def _is_again(self, node: int, record: Record) -> bool:
        """Whether a result that had to be computed again has been, by somebody else."""
        return record.value == self._again[node] and self._journal.is_readable(record.blob)

    def _follow(self, node: int, decision: Same) -> None:
        board = self._board
        record = board.record(decision.first)
        if record is not None:
            self._take_hit(node, decision.key, record, f"same call as {board.labels[decision.first]}")
        elif board.state[decision.first] != OPEN:
            board.skip_same(node, decision.first)
        else:
            board.follow(node, decision.first)

    def _take_by_content(self, nodes: Sequence[int]) -> Sequence[int]:
        """Early cutoff: the inputs came out as in an earlier call, whatever they were made by. Gives those that run."""
        wanted: dict[int, Digest] = {}
        for node in nodes:
            if node not in self._again and not self._graph.row_of(node).stochastic:
                wanted[node] = self._looked_up[node] = self._content_key(node)
        rows = self._journal.by_content(list(wanted.values())) if wanted else {}
        if not rows:
            return nodes
        left = []
        for node in nodes:
            key, row = self._decisions.keys[node], rows.get(wanted.get(node, b""))
            record = None if key is None or row is None else self._journal.take_by_content(row, key)
            if key is None or record is None:
                left.append(node)
                continue
            del self._looked_up[node]
            self._take_hit(node, key, record, "its inputs came out the same")
        return left

    def _content_key(self, node: int) -> Digest:
        prefix, identity_of = self._s.prefixes[self._graph.electron_of[node]], self._planner.identities.__getitem__
        so_far = self._board.so_far
        return content_key_of(self._graph, node, prefix, so_far.value, so_far.parts, identity_of)

    # Running ------------------------------------------------------------------------------------------------

    def _start(self, node: int, attempt: int = 0) -> None:
        if (self._is_reopened or self._journal.evicted) and self._has_to_wait(node):
            return
        row, so_far = self._graph.row_of(node), self._board.so_far
        draw, seed, by_content = 0, None, None
        if row.stochastic:
            draw = self._next_draw(node)
            seed = seed_of(self._miss(node).key, draw)
        else:
            by_content = self._looked_up.pop(node, b"") or self._content_key(node)
        task = task_of(self._graph, node, so_far.blob, so_far.files, seed)
        self._calls.start(node, task, attempt, draw, by_content)
        if attempt == 0:
            self._teller.started(node)

    def _has_to_wait(self, node: int) -> bool:
        """Whether something that it takes has to be computed again first."""
        above = self._graph.parents_of(node)
        gone = self._evicted_among(sorted(set(above))) if self._journal.evicted else []
        if gone or not self._board.have_results(above):
            self._wait_for_again(node, gone)
            return True
        return False

    def _next_draw(self, node: int) -> int:
        """Which draw of its key this is. A sample whose blob is gone is drawn again, not anew."""
        miss = self._miss(node)
        before = self._journal.recorded(miss.key)
        return 0 if before is None else before.draw + (miss.forced is not None)

    def _on_answer(self, node: int, call: Call, answer: Answer) -> None:
        if isinstance(answer, StoreError):
            raise answer
        if isinstance(answer, BaseException):
            answer = Done(Raised(f"{type(answer).__name__}: {answer}", 0.0), None)
        reply = answer.reply
        if not isinstance(reply, Returned) and self._s.cancelled.is_set():
            return  # it may have failed because of that; it is settled as cancelled with all that is left
        if isinstance(reply, Returned):
            self._finish(node, reply, answer, call)
        elif isinstance(reply, InputGone):
            self._recover(node, reply.blob)
        elif isinstance(reply, Died):
            self._died(node, call, reply)
        elif not reply.again or not self._is_tried_again(node, call):
            self._fail(node, reply.error, reply.seconds, call)

    def _died(self, node: int, call: Call, died: Died) -> None:
        """Once more at least: it may have been killed for what others did, if the system was short of memory."""
        if self._is_tried_again(node, call, at_least=1):
            return
        why = f"electron `{self._graph.row_of(node).name}`: the worker process that ran it {died.how}"
        by_system = "if nobody killed it, the system was short of memory: give it less to do at once"
        hint = by_system if "SIGKILL" in died.how else "call the function by itself to see what ends it"
        self._fail(node, f"{why}\n  -> {hint}", died.seconds, call)

    def _out_of_time(self, node: int, call: Call) -> None:
        row = self._graph.row_of(node)
        if not self._is_tried_again(node, call):
            what = f"electron `{row.name}` took longer than timeout={row.timeout:g} s"
            self._fail(node, what, row.timeout or 0.0, call)

    def _is_tried_again(self, node: int, call: Call, at_least: int = 0) -> bool:
        row = self._graph.row_of(node)
        if call.attempt >= max(at_least, row.retries):
            return False
        if row.retry_delay:
            # Not all at the same moment: what they wait for may have failed because there were so many.
            delay = min(row.retry_delay * 2.0**call.attempt, _LONGEST_DELAY_S) * (1 + os.urandom(1)[0] / 1024)
            heapq.heappush(self._later, (time.monotonic() + delay, node, call.attempt + 1))
        else:
            self._start(node, call.attempt + 1)
        return True

    # Settling -----------------------------------------------------------------------------------------------

    def _take_hit(self, node: int, key: Digest, record: Record, reason: str) -> None:
        self._planner.settle(node, key, record)
        self._journal.found([record.blob])
        extra = {"dispatch": record.dispatch} if self._graph.row_of(node).is_lattice else NO_EXTRA
        self._give(node, with_result(NodeStatus.HIT, reason, key, record, extra), record)

    def _give(self, node: int, one: NodeOutcome, record: Record) -> None:
        for follower in self._board.give(node, one, record):
            decision = self._decisions[follower]
            assert isinstance(decision, Same)  # noqa: S101 - only those follow
            self._follow(follower, decision)

    def _finish(self, node: int, reply: Returned, done: Done, call: Call) -> None:
        assert done.blob is not None  # noqa: S101 - what returned was written down
        row, miss, blob = self._graph.row_of(node), self._miss(node), done.blob
        extra = {**self._inner(node), **_tries(call)} if call.attempt or row.is_lattice else {}
        before = None
        if not row.stochastic and (miss.forced is not None or node in self._again):
            before = self._journal.recorded(miss.key)
        differs = before is not None and before.value != reply.value
        if differs:
            extra["warning"] = _NOT_REPEATED
        if reply.warning:
            extra["warning"] = "; ".join(filter(None, (extra.get("warning"), reply.warning)))
        is_sample = row.stochastic or differs or (before is not None and before.is_sample)
        dispatch = extra.get("dispatch", self._s.dispatch_id)
        record = Record(
            *(reply.value, blob.digest, reply.seconds, time.time(), blob.size, is_sample, call.draw, reply.parts),
            *(reply.files, row.name, dispatch),
        )
        one = with_result(NodeStatus.RAN, self._reason(node, miss), miss.key, record, extra or NO_EXTRA)
        by_content = None if is_sample else call.by_content
        self._journal.enter(node, one, record, blob, by_content, differs=differs, told=reply.told)
        self._calls.keep(blob)
        if self._again and self._again.get(node, record.value) != record.value:
            self._decide_anew_below(node)
        self._planner.settle(node, miss.key, record)
        self._give(node, one, record)

    def _fail(self, node: int, error: str, seconds: float, call: Call | None = None) -> None:
        miss = self._miss(node)
        self._journal.unclaim(miss.key)
        one = NodeOutcome(
            status=NodeStatus.FAILED,
            reason=self._reason(node, miss),
            key=miss.key,
            value=NO_DIGEST,
            blob=NO_DIGEST,
            size=0,
            is_sample=False,
            seconds=seconds,
            created=time.time(),
            extra={"error": error, **self._inner(node), **_tries(call)},
        )
        self._journal.note(node, one)
        self._board.fail(node, one)

    def _miss(self, node: int) -> Miss:
        decision = self._decisions[node]
        assert isinstance(decision, Miss)  # noqa: S101 - only misses run
        return decision

    def _reason(self, node: int, miss: Miss) -> str:
        if miss.forced is not None:
            return miss.forced
        return self._journal.unusable.get(miss.key) or self._s.why(node)

    def _inner(self, node: int) -> dict[str, str]:
        inner = self._s.nested.dispatch_of(node) if self._graph.row_of(node).is_lattice else ""
        return {"dispatch": inner} if inner else {}

    def _on_settled(self, node: int, one: NodeOutcome) -> None:
        if one.status is NodeStatus.SKIPPED and self._decisions.kinds[node] == MISS:
            key = self._decisions.keys[node]
            if key is not None and self._journal.has_claimed(key):
                self._journal.unclaim(key)
        self._teller.finished(node, one)

    # Mending ------------------------------------------------------------------------------------------------

    def _recover(self, node: int, blob: Digest) -> None:
        """An input's blob is gone: compute it again, then take the node up again."""
        found = self._board.record
        givers = [
            parent
            for parent in sorted(set(self._graph.parents_of(node)))
            if (record := found(parent)) is not None and record.blob == blob
        ]
        if not givers:
            name = self._graph.row_of(node).name
            what = "the recorded code" if blob == self._graph.row_of(node).capsule else "a recorded argument"
            advice = "redispatch with a replacement for it, or dispatch the workflow from its code"
            self._journal.unclaim(self._miss(node).key)
            self._fail(node, f"{what} of electron `{name}` is gone from the store\n  -> {advice}", 0.0)
            return
        self._wait_for_again(node, givers)

    def _wait_for_again(self, node: int, givers: Sequence[int]) -> None:
        self._journal.unclaim(self._miss(node).key)
        self._reopen(givers)
        self._board.enqueue(node)

    def _evicted_among(self, nodes: Sequence[int]) -> list[int]:
        """Those whose results were taken away on purpose, and are needed now."""
        evicted = self._journal.evicted
        found = [(node, record.blob) for node in nodes if (record := self._board.record(node)) is not None]
        # It may be there again by now, computed by another dispatch or for another node.
        return [node for node, blob in found if blob in evicted and not self._journal.is_there(blob)]

    def _reopen(self, nodes: Sequence[int]) -> None:
        """Compute results again. Of equal calls the first runs, and the others have it from there. Raises GivenGone."""
        if not self._s.given.keys().isdisjoint(nodes):
            self._calls.give_up()
            raise GivenGone
        self._looked_up.clear()  # what comes back may come back as something else
        decisions = self._decisions
        firsts = {first for node in nodes if (first := decisions.first_of(node)) is not None}
        self._is_reopened = self._is_reopened or bool(nodes)
        for node in sorted({*nodes, *firsts}):
            if (record := self._board.record(node)) is None:
                continue  # under way already
            one = self._board.reopen(node)
            if decisions.kinds[node] == SAME:
                continue
            self._again.setdefault(node, one.value)
            decisions[node] = Miss(one.key, None)
            self._journal.unusable[one.key] = EVICTED if self._journal.was_evicted(record.blob) else BLOB_GONE

    def _decide_anew_below(self, node: int) -> None:
        """Another sample than the one that all below was decided with, hits included."""
        self._looked_up.clear()
        self._is_reopened = True
        cone = {node}
        for below in range(node + 1, len(self._graph)):
            if cone.isdisjoint(self._graph.parents_of(below)):
                continue
            cone.add(below)
            key = self._decisions.keys[below]
            if key is not None and below not in self._calls and self._journal.has_claimed(key):
                self._journal.unclaim(key)
            self._decisions[below] = Unknown(node)
            self._planner.identities[below] = None
            if self._board.state[below] != OPEN:
                self._board.reopen(below)

    def _reopen_damaged_output(self) -> bool:
        """Whether something that the lattice returns has to be computed again, its blob being gone."""
        bad = [
            node
            for node in sorted(set(self._graph.output_parents))
            if (record := self._board.record(node)) is not None and not self._journal.is_readable(record.blob)
        ]
        self._reopen(bad)
        return bool(bad)


def _tries(call: Call | None) -> dict[str, str]:
    """What is kept of a node that was tried more than once."""
    return {"tries": str(call.attempt + 1)} if call is not None and call.attempt else {}


_NOT_REPEATED = "it came out different from its recorded result, though nothing that its key knows of has changed"
