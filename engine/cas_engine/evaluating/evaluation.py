"""Evaluates a graph: takes hits, runs misses, writes what comes of them down.

One thread runs `Evaluation.run`; runners report to its inbox. It sees digests, never the data.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cas_engine.bookkeeping.journal import Journal
from cas_engine.calling.seeding import seed_of
from cas_engine.calling.worker import InputGone, Raised, Returned
from cas_engine.evaluating.calls import Call, Calls, task_of
from cas_engine.evaluating.claiming import Claiming
from cas_engine.evaluating.cutoff import Cutoff
from cas_engine.evaluating.failing import Retries, told_died, told_gone, told_late, tries
from cas_engine.evaluating.recording import failed, returned
from cas_engine.evaluating.regaining import Regaining
from cas_engine.evaluating.setting import Setting
from cas_engine.evaluating.telling import Teller
from cas_engine.executors import Answer, Died, Done
from cas_engine.graphs.graph import Labels
from cas_engine.graphs.picks import Picks
from cas_engine.plans.board import OPEN, Board, with_result
from cas_engine.plans.decisions import MISS, SAME, UNKNOWN, Decisions, Found, Hit, Miss, Same
from cas_engine.plans.outcome import NO_EXTRA, NodeOutcome, NodeStatus
from cas_engine.plans.plan import Planner, collecting_later
from cas_engine.plans.records import Record
from cas_engine.values import FileContent
from cas_store.digest import Digest
from cas_store.errors import CasRunError, StoreError

_IN_FLIGHT = 256  # more than any pool takes at once, few enough that a million ready nodes are not a million futures
_BATCH = 64
_POLL_S = 0.05


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
        self._to_start: deque[int] = deque()
        self._later = Retries()
        self._next_look = 0.0
        self._has_sublattices = any(row.is_lattice for row in setting.graph.rows)
        self._claiming = Claiming(self._board, self._journal, has_sublattices=self._has_sublattices)
        self._picks = Picks(setting.graph)
        self._cutoff = Cutoff(setting, self._board, self._journal, self._planner, self._picks)
        self._regaining = Regaining(setting, self._board, self._journal, self._planner, self._calls, self._cutoff)

    # The way through ----------------------------------------------------------------------------------------

    def run(self) -> Sequence[NodeOutcome]:
        """Evaluate all nodes; what came of each. All results are durable when this returns.

        Raises StoreError when the store takes no more; what had finished by then is kept.
        """
        try:
            self._first_pass()
            self._loop()
            while not self._s.cancelled.is_set() and (damaged := self._regaining.damaged_outputs()):
                self._regaining.reopen(damaged)
                self._loop()
            self._journal.flush()
        finally:
            self._calls.close()
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
            self._regaining.decisions = self._decisions
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
        running = {self._graph.electron_of[node] for kind in (MISS, UNKNOWN) for node in self._decisions.of_kind(kind)}
        rows = [self._graph.rows[at] for at in sorted(running)]
        if recorded := [row for row in rows if not row.is_lattice and row.capsule not in self._s.live]:
            from cas_engine.evaluating.runnable import check_runnable

            check_runnable(self._s.store, recorded)

    def _reopen_what_is_needed(self) -> None:
        """Compute evicted results again that are returned, or that a call needs which is certain to run.

        Others wait: what is above such a call may come out the same, and then it does not run.
        """
        self._regaining.reopen(self._regaining.evicted_among(sorted(set(self._graph.output_parents))))
        for node in reversed(range(len(self._graph))):
            if self._decisions.kinds[node] != MISS or self._board.state[node] != OPEN:
                continue
            decision = self._miss(node)
            above = sorted(set(self._graph.parents_of(node)))
            if not (gone := self._regaining.evicted_among(above)):
                continue
            settled = self._board.have_results(above)
            if decision.forced is not None or (settled and self._take_by_content([node])):
                self._regaining.reopen(gone)

    def _begin_with(self, found: Sequence[Found], reason: str) -> None:
        self._journal.found([record.blob for _, _, record in found])
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
        for node, attempt in self._later.due():
            if self._board.state[node] == OPEN:
                self._start(node, attempt)
        if self._awaited:
            again, self._awaited = sorted(self._awaited), set()
            self._take(again)
        idle = not (self._to_start or self._later or self._awaited or self._board.ready) and self._calls.are_idle()
        # Once it is cancelled an answer may have been dropped: what waited for it is settled as cancelled.
        if idle and self._board.unsettled and not self._s.cancelled.is_set():
            raise CasRunError("nodes are left that nothing will settle\n  -> this is a mistake of cas-run: report it")

    # Deciding -----------------------------------------------------------------------------------------------

    def _take(self, nodes: Sequence[int]) -> None:
        """Settle, attach, await or start nodes whose parents are all there."""
        decisions, board = self._decisions, self._board
        missing: list[int] = []
        for node in nodes:
            if board.state[node] != OPEN or node in self._calls:
                continue
            if self._regaining.is_under_way and not board.have_results(self._graph.parents_of(node)):
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
        journal, gone = self._journal, self._regaining.values
        keys = [key for node in nodes if (key := self._decisions.keys[node]) is not None]
        new = journal.not_claimed(keys)
        if not new:  # most were claimed ahead
            self._to_start += nodes
            return
        known = self._claiming.claim(new, keys, self._decisions, gone)
        for node, key in zip(nodes, keys, strict=True):  # misses have keys
            if not journal.has_claimed(key):
                self._awaited.add(node)
                continue
            record = known.pop(key, None) if known else None
            if record is not None and not self._planner.may_have(node):
                record = None
            if record is None or (node in gone and not self._regaining.is_back(node, record)):
                self._to_start.append(node)
            else:
                journal.unclaim(key)
                self._take_hit(node, key, record, "computed meanwhile by another dispatch")

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
        """Early cutoff. Gives those that run."""
        found = self._cutoff.find(nodes, self._decisions, self._regaining.values)
        for node, record in found.items():
            key = self._decisions.keys[node]
            assert key is not None  # noqa: S101 - it is a miss
            self._take_hit(node, key, record, "its inputs came out the same")
        return [node for node in nodes if node not in found] if found else nodes

    # Running ------------------------------------------------------------------------------------------------

    def _start(self, node: int, attempt: int = 0) -> None:
        if (self._regaining.is_under_way or self._journal.evicted) and self._has_to_wait(node):
            return
        row, so_far = self._graph.row_of(node), self._board.so_far
        draw, seed, by_content = 0, None, None
        if row.stochastic:
            draw = self._next_draw(node)
            seed = seed_of(self._key(node), draw)
        else:
            by_content = self._cutoff.take_key(node)
        task = task_of(self._graph, node, so_far.blob, so_far.files, seed)
        if self._picks.are_there:
            task.picks = self._picks.of(node, *self._board.followers_of(node))
            if by_content is not None and self._picks.any_in(node):
                task.takes = self._cutoff.unknown_parts(node)
        self._calls.start(node, task, attempt, draw, by_content)
        if attempt == 0:
            self._teller.started(node)

    def _has_to_wait(self, node: int) -> bool:
        """Whether something that it takes has to be computed again first."""
        above = self._graph.parents_of(node)
        gone = self._regaining.evicted_among(sorted(set(above))) if self._journal.evicted else []
        if gone or not self._board.have_results(above):
            self._wait_for_again(node, gone)
            return True
        return False

    def _next_draw(self, node: int) -> int:
        """Which draw of its key this is. A sample whose blob is gone is drawn again, not anew."""
        before = self._journal.recorded(self._key(node))
        return 0 if before is None else before.draw + self._decisions.is_forced(node)

    def _on_answer(self, node: int, call: Call, answer: Answer) -> None:
        if not isinstance(answer, Done):
            if isinstance(answer, StoreError):
                raise answer
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
        self._fail(node, told_died(self._graph.row_of(node), died), died.seconds, call)

    def _out_of_time(self, node: int, call: Call) -> None:
        row = self._graph.row_of(node)
        if not self._is_tried_again(node, call):
            self._fail(node, told_late(row), row.timeout or 0.0, call)

    def _is_tried_again(self, node: int, call: Call, at_least: int = 0) -> bool:
        row = self._graph.row_of(node)
        if call.attempt >= max(at_least, row.retries):
            return False
        if row.retry_delay:
            self._later.add(node, row, call.attempt + 1)
        else:
            self._start(node, call.attempt + 1)
        return True

    def _recover(self, node: int, blob: Digest) -> None:
        """An input's blob is gone: compute it again, then take the node up again."""
        givers = self._regaining.givers(node, blob)
        if givers:
            self._wait_for_again(node, givers)
        else:
            self._fail(node, told_gone(self._graph.row_of(node), blob), 0.0)

    def _wait_for_again(self, node: int, givers: Sequence[int]) -> None:
        self._journal.unclaim(self._key(node))
        self._regaining.reopen(givers)
        self._board.enqueue(node)

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
        row, key, regaining = self._graph.row_of(node), self._key(node), self._regaining
        extra = {**self._inner(node), **tries(call)} if call.attempt or row.is_lattice else {}
        before = None
        forced = self._decisions.forced(node)
        if not row.stochastic and (forced is not None or node in regaining.values):
            before = self._journal.recorded(key)
        dispatch = extra.get("dispatch", self._s.dispatch_id)
        record, warning = returned(row, reply, done.blob, call.draw, dispatch, before)
        if warning:
            extra["warning"] = warning
        reason = forced or self._reason(node, key)
        one = with_result(NodeStatus.RAN, reason, key, record, extra or NO_EXTRA)
        differs = before is not None and before.value != record.value
        by_content = [] if record.is_sample or call.by_content is None else [call.by_content]
        if by_content and reply.taken:
            by_content.append(self._cutoff.key_with(node, reply.taken))
        self._journal.enter(node, one, record, done.blob, by_content, differs=differs, told=reply.told)
        self._calls.keep(done.blob)
        if regaining.values and regaining.values.get(node, record.value) != record.value:
            regaining.decide_anew_below(node)
        self._planner.settle(node, key, record)
        self._give(node, one, record)

    def _fail(self, node: int, error: str, seconds: float, call: Call | None = None) -> None:
        key = self._key(node)
        self._journal.unclaim(key)
        extra = {"error": error, **self._inner(node), **tries(call)}
        one = failed(self._decisions.forced(node) or self._reason(node, key), key, seconds, extra)
        self._journal.note(node, one)
        self._board.fail(node, one)

    def _miss(self, node: int) -> Miss:
        decision = self._decisions[node]
        assert isinstance(decision, Miss)  # noqa: S101 - only misses run
        return decision

    def _key(self, node: int) -> Digest:
        """Of a node that runs."""
        key = self._decisions.keys[node]
        assert key is not None and self._decisions.kinds[node] == MISS  # noqa: S101, PT018 - only misses run
        return key

    def _reason(self, node: int, key: Digest) -> str:
        """Why a node that is not forced runs."""
        return self._journal.unusable.get(key) or self._s.why(node)

    def _inner(self, node: int) -> dict[str, str]:
        inner = self._s.nested.dispatch_of(node) if self._graph.row_of(node).is_lattice else ""
        return {"dispatch": inner} if inner else {}

    def _on_settled(self, node: int, one: NodeOutcome) -> None:
        if one.status is NodeStatus.SKIPPED and self._decisions.kinds[node] == MISS:
            key = self._decisions.keys[node]
            if key is not None and self._journal.has_claimed(key):
                self._journal.unclaim(key)
        self._teller.finished(node, one)
