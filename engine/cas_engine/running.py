"""The dispatches that run in this process: started in the background, waited for at exit, cancelled."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cas_engine import budget, files, ledger, outcome
from cas_engine import manifest as manifests
from cas_engine.answers import epoch, latest_key
from cas_engine.bindings import Const, follow, refs_in
from cas_engine.errors import UnknownDispatch
from cas_engine.graph import Graph, Row
from cas_engine.ledger import Entry, Status
from cas_engine.options import ExecutorChoice
from cas_engine.outcome import NodeOutcome, NodeStatus
from cas_engine.preparation import Answered, Prepared
from cas_engine.settings import setting
from cas_store.digest import Digest
from cas_store.errors import BlobMissing, CasRunError, RowMissing, StoreError
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Need, NeedRow, Put, PutBlob, Write

if TYPE_CHECKING:
    from cas_engine import executors
    from cas_engine.evaluation import Evaluation
    from cas_engine.events import Observer
    from cas_engine.excerpt import Excerpt
    from cas_engine.setting import Setting

# What else is to be written of a dispatch, by its id.
Noting = Callable[[str], Sequence[Write]]

_SIGNAL_S = 0.2  # how often to look whether another process asked to cancel


class CancelFlag:
    """Set in this process, by a signal in the store, or by the dispatch that this one is part of."""

    def __init__(self, store: Store, dispatch_id: str, outer: CancelFlag | None = None) -> None:
        self._store = store
        self._name = cancel_signal(dispatch_id)
        self._outer = outer
        self._is_set = False
        self._next_look = time.monotonic() + _SIGNAL_S

    def set(self) -> None:
        """Ask to cancel."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether somebody asked to cancel."""
        if self._is_set or (self._outer is not None and self._outer.is_set()):
            return True
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _SIGNAL_S
            if self._store.get_signal(self._name) is not None:
                self._is_set = True
        return self._is_set


def cancel_signal(dispatch_id: str) -> bytes:
    """The name of the signal that asks a dispatch to stop."""
    return b"cancel:" + bytes.fromhex(dispatch_id)


@dataclass(slots=True)
class Running:
    """A dispatch under way in this process."""

    store: Store
    entry: Entry
    cancel: CancelFlag
    evaluation: Evaluation | None = None
    over: threading.Event = field(default_factory=threading.Event)
    problem: CasRunError | None = None  # what kept it from being written down


_running: dict[str, Running] = {}
_lock = threading.Lock()
_hooked = False


def here(dispatch_id: str) -> Running | None:
    """The dispatch, if it runs in this process."""
    return _running.get(dispatch_id)


def start(
    store: Store,
    prepared: Prepared | Answered,
    executor: ExecutorChoice,
    observer: Observer | None,
    audit: float = 0.0,
    limit: int | None = None,
    noting: Noting | None = None,
) -> str:
    """Write a dispatch down and evaluate it in the background; its id. What is answered already is done at once.

    `audit` is the share of its hits that is run again and compared once it is done. `limit` is what the store may hold:
    when all is done and told, results are evicted until it is no more. `noting` has what is written together with the
    dispatch, so that there is neither without the other.
    """
    if isinstance(prepared, Answered):
        entry = _answer(store, prepared, observer, noting)
        if not audit:
            return entry.id
        from cas_engine import verification  # noqa: F401 - as below

        running = _register(Running(store, entry, CancelFlag(store, entry.id)))
    else:
        # Here, not in the thread: before anything of the user's runs.
        from cas_engine import evaluation, sublattice  # noqa: F401

        running = begin(store, prepared, outer="", cancel=None, noting=noting)

    def work() -> None:
        try:
            if isinstance(prepared, Prepared):
                carry_out(running, prepared, executor, observer)
            if audit and running.entry.status is Status.COMPLETED:
                _audit(running, audit, observer)
        finally:
            unregister(running)
        if limit is not None and isinstance(prepared, Prepared):
            with suppress(CasRunError):  # nobody asked for it: the next dispatch tries again
                budget.keep_within(store, limit)

    # Not a daemon: a script that ends while a dispatch runs waits for it.
    _hook_exit()
    threading.Thread(target=copy_context().run, args=(work,), name=f"cas-run {running.entry.id[:8]}").start()
    return running.entry.id


def _audit(running: Running, share: float, observer: Observer | None) -> None:
    from cas_engine import verification

    try:
        checks = verification.audit(running.store, running.entry.id, share)
    except CasRunError as problem:
        running.problem = problem
        return
    if observer is not None:
        from cas_engine.events import Audited

        different = tuple(check.label for check in checks if check.verdict == "different")
        observer(Audited(running.entry.id, len(checks), different))


def _register(running: Running) -> Running:
    with _lock:
        _running[running.entry.id] = running
    return running


def unregister(running: Running) -> None:
    """Let those who wait for a dispatch of this process go on: nothing more will come of it."""
    with _lock:
        _running.pop(running.entry.id, None)
    running.over.set()


def begin(
    store: Store, prepared: Prepared, *, outer: str, cancel: CancelFlag | None, noting: Noting | None = None
) -> Running:
    """Write down that a dispatch starts, with all that is needed to take it up again."""
    manifest = prepared.manifest
    blob = store.prepare(*manifests.dumps(manifest))
    dispatch_id = uuid.uuid4().hex
    entry = Entry(
        id=dispatch_id,
        lattice=manifest.lattice.name,
        lattice_key=prepared.lattice_key.hex(),
        status=Status.RUNNING,
        owner=store.owner.hex(),
        started=time.time(),
        finished=0.0,
        parent=prepared.parent,
        outer=outer,
        manifest=blob.digest.hex(),
        outcome="",
        outputs=[],
        files=files.to_json(manifest.files),
        made=[],
        error="",
        inputs=dict(manifest.previews),
        replaced={row.slot: row.name for row in manifest.replaced},
        recompute=prepared.policy.words(),
        reuse=not prepared.policy.everything,
        totals={"nodes": len(manifest.graph)},
        whole_hit=False,
    )
    # A redispatch names what its parent names: it has to be in the history still.
    parent = [NeedRow(Table.DISPATCHES, bytes.fromhex(entry.parent))] if entry.parent and not outer else []
    try:
        noted = () if noting is None else noting(dispatch_id)
        prepared.recorder.commit([*parent, *noted, PutBlob(blob), *ledger.put(entry)])
    except RowMissing:
        raise UnknownDispatch(entry.parent, []) from None
    return _register(Running(store, entry, CancelFlag(store, dispatch_id, cancel)))


def carry_out(
    running: Running,
    prepared: Prepared,
    executor: ExecutorChoice,
    observer: Observer | None,
    on_first_print: Callable[[], None] | None = None,
) -> Sequence[NodeOutcome]:
    """Evaluate a dispatch that has begun, and write down what came of it."""
    from cas_engine.evaluation import Evaluation
    from cas_engine.excerpt import excerpt_of

    store, entry = running.store, running.entry

    status, error = Status.FAILED, ""
    nodes: Sequence[NodeOutcome] = []
    part: Excerpt | None = None
    try:
        setting = _setting(running, prepared, executor, observer, on_first_print)
        part = excerpt_of(store, prepared)
        found = None if part is None else _by_excerpt(running, part.setting(setting, prepared))
        if found is None:
            part, running.evaluation = None, Evaluation(setting)
            found = running.evaluation.run()
        nodes = found
        graph = setting.graph if part is None else part.graph
        status, error = _verdict(nodes, graph, cancelled=running.cancel.is_set())
        if part is not None:
            nodes = part.merged(nodes)
        if status is Status.COMPLETED and (error := _missing_part(store, prepared.manifest.graph, nodes)):
            status = Status.FAILED
    except CasRunError as problem:
        running.problem = problem
        error = str(problem)
        nodes = running.evaluation.outcomes if running.evaluation is not None else []
        nodes = part.merged(nodes) if part is not None and nodes else nodes
    except BaseException as problem:  # noqa: BLE001 - a mistake of ours must not leave it RUNNING for ever
        running.problem = CasRunError(f"the evaluation broke: {type(problem).__name__}: {problem}\n  -> report it")
        running.problem.__cause__ = problem
        error = str(running.problem)
    _finish(running, prepared, status, error, nodes)
    if observer is not None:
        from cas_engine.events import Finished

        observer(Finished(entry.id, status.value))
    return nodes


def _setting(
    running: Running,
    prepared: Prepared,
    executor: ExecutorChoice,
    observer: Observer | None,
    on_first_print: Callable[[], None] | None,
) -> Setting:
    """What an evaluation of it is given."""
    from cas_engine.printed import Writing
    from cas_engine.setting import Setting
    from cas_engine.sublattice import Sublattices

    store, entry = running.store, running.entry

    def evaluate_inner(
        inside: Prepared, begun: Callable[[str, Callable[[], None]], None], prints: Callable[[str], None]
    ) -> tuple[Entry, Sequence[NodeOutcome]]:
        inner = begin(store, inside, outer=entry.id, cancel=running.cancel)
        begun(inner.entry.id, inner.cancel.set)
        try:
            inner_nodes = carry_out(inner, inside, executor, None, lambda: prints(inner.entry.id))
        finally:
            unregister(inner)
        if inner.problem is not None:
            raise inner.problem
        return inner.entry, inner_nodes

    return Setting(
        store=store,
        dispatch_id=entry.id,
        lattice=entry.lattice,
        graph=prepared.manifest.graph,
        prefixes=prepared.prefixes(),
        policy=prepared.policy,
        kept=prepared.kept,
        live=prepared.recorder.live,
        runner_for=_runners(store, prepared, executor),
        nested=Sublattices(store, prepared, evaluate_inner),
        why=prepared.reasons(store).why,
        times=prepared.times,
        observer=observer,
        printed=Writing(store, entry.id, on_first_print),
        cancelled=running.cancel,
    )


def _by_excerpt(running: Running, setting: Setting) -> Sequence[NodeOutcome] | None:
    """What came of the nodes of an excerpt; None where the whole graph has to be looked at after all."""
    from cas_engine.evaluation import Evaluation
    from cas_engine.setting import GivenGone

    running.evaluation = Evaluation(setting)
    with suppress(GivenGone):
        nodes = running.evaluation.run()
        # If the parent was removed meanwhile, nothing names the results that are left as they are.
        if running.store.get(Table.DISPATCHES, bytes.fromhex(running.entry.parent)) is not None:
            return nodes
    running.evaluation.let_go()
    return None


def _finish(running: Running, prepared: Prepared, status: Status, error: str, nodes: Sequence[NodeOutcome]) -> None:
    """Write down what came of it: now, or as soon as the store takes it."""
    store, graph = running.store, prepared.manifest.graph
    outputs = []
    if status is Status.COMPLETED:
        outputs = sorted({nodes[parent].blob.hex() for parent in graph.output_parents})
    entry = replace(
        running.entry,
        status=status,
        finished=time.time(),
        error=error,
        totals=outcome.totals(nodes),
        outputs=outputs,
        made=files.to_json(running.evaluation.files if running.evaluation is not None else ()),
    )
    running.entry = entry
    steps: list[Callable[[], object]] = [
        lambda: _write_down(running, prepared, nodes),
        lambda: None if running.evaluation is None else running.evaluation.let_go(),
        lambda: store.clear_signal(cancel_signal(entry.id)),
    ]
    first = steps[0]
    try:
        while steps:
            steps[0]()
            del steps[0]
    except CasRunError as problem:
        from cas_engine import owed

        if first in steps:
            running.problem = running.problem or problem
        owed.owe(entry.id, steps, problem)


def _write_down(running: Running, prepared: Prepared, nodes: Sequence[NodeOutcome]) -> None:
    store, entry = running.store, running.entry
    outputs, status = entry.outputs, entry.status
    writes: list[Write] = []
    if nodes:
        blob = store.prepare(*outcome.dumps(nodes))
        entry = replace(entry, outcome=blob.digest.hex())
        writes.append(PutBlob(blob))
    if status is Status.COMPLETED and not prepared.manifest.names_files:
        answer = {"id": entry.id, "epoch": epoch(store)}
        writes.append(Put(Table.LATTICES, prepared.lattice_key, json.dumps(answer).encode()))
    if not entry.outer:
        writes.append(Put(Table.META, latest_key(entry.lattice), bytes.fromhex(entry.id)))
    if entry.outcome:
        with store.snapshot() as snapshot:
            writes += [Delete(Table.NODES, key) for key, _ in snapshot.scan(Table.NODES, bytes.fromhex(entry.id))]
    # A sweep that is under way is to hear of them: it began when this dispatch did not name them yet.
    needs = [Need(bytes.fromhex(blob)) for blob in outputs]
    try:
        store.commit([*needs, *writes, *ledger.put(entry)])
    except BlobMissing:
        store.commit([*writes, *ledger.put(entry)])  # evicted, or lost, since: the history is true all the same
    running.entry = entry


def _verdict(nodes: Sequence[NodeOutcome], graph: Graph, *, cancelled: bool) -> tuple[Status, str]:
    if outcome.having(nodes, NodeStatus.CANCELLED) or (cancelled and not nodes):
        return Status.CANCELLED, "it was cancelled"
    failed = outcome.having(nodes, NodeStatus.FAILED)
    if not failed:
        return Status.COMPLETED, ""
    labels = graph.labels()
    texts = [f"electron `{labels[i]}` failed:\n{nodes[i].extra['error']}" for i in failed]
    return Status.FAILED, "\n\n".join(texts)


def _missing_part(store: Store, graph: Graph, nodes: Sequence[NodeOutcome]) -> str:
    """What the lattice returns of a result, and the result does not have; "" if all is there."""
    from cas_engine import codec

    values: dict[int, Any] = {}

    def load(const: Const) -> Any:
        return codec.decode(store.get_pieces(const.blob) if const.blob is not None else const.encoded or b"")

    for ref in refs_in(graph.output):
        node = graph.output_parents[ref.slot]
        if not ref.path:
            continue
        if node not in values:
            values[node] = codec.decode(store.get_pieces(nodes[node].blob))
        try:
            follow(values[node], ref.path, load)
        except Exception as problem:  # noqa: BLE001 - the user's own class may raise anything
            part = f"a part of the result of `{graph.labels()[node]}` that it does not have"
            return f"the lattice returns {part}\n{type(problem).__name__}: {problem}"
    return ""


def _answer(store: Store, answered: Answered, observer: Observer | None, noting: Noting | None) -> Entry:
    now = time.time()
    by = answered.by
    n = by.totals.get("nodes", 0)
    saved = by.totals.get("ran_s", 0.0) + by.totals.get("saved_s", 0.0)
    entry = replace(
        by,
        id=uuid.uuid4().hex,
        lattice_key=answered.lattice_key.hex(),
        owner=store.owner.hex(),
        started=now,
        finished=now,
        parent=answered.parent,
        outer="",
        inputs=dict(answered.inputs),
        replaced=dict(answered.replaced),
        recompute=[],
        reuse=True,
        totals={**by.totals, "nodes": n, "hits": n, "ran": 0, "ran_s": 0.0, "saved_s": saved},
        whole_hit=True,
    )
    latest = Put(Table.META, latest_key(entry.lattice), bytes.fromhex(entry.id))
    # The history may have lost it, or a sweep its results, since it was looked at.
    history = NeedRow(Table.DISPATCHES, bytes.fromhex(by.id))
    results = [Need(bytes.fromhex(blob)) for blob in by.outputs]
    noted = () if noting is None else noting(entry.id)
    store.commit([history, *results, *noted, *ledger.put(entry), latest])
    if observer is not None:
        from cas_engine.events import Finished, Planned

        observer(Planned(entry.id, entry.lattice, n, n, 0.0))
        observer(Finished(entry.id, entry.status.value))
    return entry


_PATCHES = "the script has put something into a package that it uses"


def _fault_of(store: Store, code: Digest) -> str:
    from cas_engine import capsule

    try:
        return capsule.header(store.get_blob(code)).fault
    except StoreError:
        return ""  # whoever needs it finds out


def _runners(store: Store, prepared: Prepared, executor: ExecutorChoice) -> Callable[[Row], executors.Runner]:
    """The runner of each electron: what it says itself, else the dispatch, else the lattice, else what is set."""
    from cas_engine import executors

    made: dict[Any, executors.Runner] = {}
    staying: dict[Digest, executors.Runner | None] = {}
    default = setting("executor")
    lattice_choice = prepared.manifest.lattice.executor

    def named(name: str | None) -> str | Executor | None:
        # A live executor recorded by another process is not here: the default stands in.
        return prepared.executors.get(name) if name is not None and name.startswith("live:") else name

    def runner_for(row: Row) -> executors.Runner:
        choice = named(row.executor) or executor or named(lattice_choice) or default
        if row.timeout is not None and choice in (None, "inline"):
            # A call in this very thread could not be watched, and one in any thread not be stopped.
            choice = "thread" if choice == "inline" else "process"
        if choice == "process" and (stays := must_stay(row)) is not None:
            return stays
        if choice not in made:
            made[choice] = executors.runner_for(choice)
        return made[choice]

    def must_stay(row: Row) -> executors.Runner | None:
        """What runs a function that is here, and needs what cannot be recorded."""
        if row.capsule not in staying:
            live = prepared.recorder.live.get(row.capsule)
            fault = "" if live is None else _PATCHES if live.needs_program else _fault_of(store, row.capsule)
            staying[row.capsule] = executors.Staying(fault) if fault else None
        return staying[row.capsule]

    return runner_for


# The end of the process ---------------------------------------------------------------------------------------


def cancel_all() -> None:
    """Ask every dispatch of this process to stop."""
    for running in list(_running.values()):
        running.cancel.set()


def _hook_exit() -> None:
    global _hooked  # noqa: PLW0603
    with _lock:
        if _hooked:
            return
        _hooked = True
    # Runs before the interpreter joins threads, and before the standard library's executors, which a dispatch may use,
    # stop taking work. There is no public name for it; without it the threads are joined all the same.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(_wait_at_exit)


def _wait_at_exit() -> None:
    if getattr(sys, "last_type", None) is KeyboardInterrupt:
        cancel_all()
    for running in list(_running.values()):
        try:
            running.over.wait()
        except KeyboardInterrupt:
            cancel_all()
            running.over.wait(5)


def _forget() -> None:
    # What ran in the parent does not run in a forked child.
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
