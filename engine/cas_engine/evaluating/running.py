"""Dispatches from their first row to their last: written down, evaluated in the background, audited."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING

from cas_engine import files
from cas_engine.bookkeeping import budget, ledger
from cas_engine.bookkeeping.answers import latest_key
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.errors import UnknownDispatch
from cas_engine.evaluating.underway import CancelFlag, Running, register, unregister, wait_at_exit
from cas_engine.graphs.options import ExecutorChoice
from cas_engine.plans import manifest as manifests
from cas_engine.plans.outcome import NodeOutcome
from cas_engine.preparing.preparation import Answered, Prepared
from cas_store.errors import CasRunError, RowMissing
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Need, NeedRow, Put, PutBlob, Write

if TYPE_CHECKING:
    from cas_engine.evaluating.events import Observer
    from cas_engine.evaluating.excerpt import Excerpt
    from cas_engine.evaluating.setting import Setting

# What else is to be written of a dispatch, by its id.
Noting = Callable[[str], Sequence[Write]]


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
        from cas_engine.evaluating import verification  # noqa: F401 - as below

        running = register(Running(store, entry, CancelFlag(store, entry.id)))
    else:
        # Here, not in the thread: before anything of the user's runs.
        from cas_engine.evaluating import evaluation, sublattice  # noqa: F401

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
    wait_at_exit()
    threading.Thread(target=copy_context().run, args=(work,), name=f"cas-run {running.entry.id[:8]}").start()
    return running.entry.id


def _audit(running: Running, share: float, observer: Observer | None) -> None:
    from cas_engine.evaluating import verification

    try:
        checks = verification.audit(running.store, running.entry.id, share)
    except CasRunError as problem:
        running.problem = problem
        return
    if observer is not None:
        from cas_engine.evaluating.events import Audited

        different = tuple(check.label for check in checks if check.verdict == "different")
        observer(Audited(running.entry.id, len(checks), different))


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
    return register(Running(store, entry, CancelFlag(store, dispatch_id, cancel)))


def carry_out(
    running: Running,
    prepared: Prepared,
    executor: ExecutorChoice,
    observer: Observer | None,
    on_first_print: Callable[[], None] | None = None,
) -> Sequence[NodeOutcome]:
    """Evaluate a dispatch that has begun, and write down what came of it."""
    from cas_engine.evaluating import ending
    from cas_engine.evaluating.evaluation import Evaluation
    from cas_engine.evaluating.excerpt import excerpt_of

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
        status, error = ending.verdict(nodes, graph, cancelled=running.cancel.is_set())
        if part is not None:
            nodes = part.merged(nodes)
        if status is Status.COMPLETED and (error := ending.missing_part(store, prepared.manifest.graph, nodes)):
            status = Status.FAILED
    except CasRunError as problem:
        running.problem = problem
        error = str(problem)
        nodes = running.evaluation.outcomes if running.evaluation is not None else []
        nodes = part.merged(nodes) if part is not None and nodes else nodes
    except BaseException as problem:  # noqa: BLE001 - a mistake of ours must not leave it RUNNING for ever
        running.problem = CasRunError(_broken(problem))
        running.problem.__cause__ = problem
        error = str(running.problem)
    ending.finish(running, prepared, status, error, nodes)
    if observer is not None:
        from cas_engine.evaluating.events import Finished

        observer(Finished(entry.id, status.value))
    return nodes


def _broken(problem: BaseException) -> str:
    told = f"{type(problem).__name__}: {problem}"
    # Python has no class of its own for the last of these.
    if isinstance(problem, (MemoryError, OSError)) or "start new thread" in told:
        advice = "raise the limits of this process (ulimit -a): files, memory, threads"
        return f"the evaluation can't go on, as the system gives no more: {told}\n  -> {advice}"
    return f"the evaluation broke: {told}\n  -> report it"


def _setting(
    running: Running,
    prepared: Prepared,
    executor: ExecutorChoice,
    observer: Observer | None,
    on_first_print: Callable[[], None] | None,
) -> Setting:
    """What an evaluation of it is given."""
    from cas_engine.calling.printed import Writing
    from cas_engine.evaluating.runners import runners_of
    from cas_engine.evaluating.setting import Setting
    from cas_engine.evaluating.sublattice import Sublattices

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
        runner_for=runners_of(store, prepared, executor),
        nested=Sublattices(store, prepared, evaluate_inner),
        why=prepared.reasons(store).why,
        times=prepared.times,
        observer=observer,
        printed=Writing(store, entry.id, on_first_print),
        cancelled=running.cancel,
    )


def _by_excerpt(running: Running, setting: Setting) -> Sequence[NodeOutcome] | None:
    """What came of the nodes of an excerpt; None where the whole graph has to be looked at after all."""
    from cas_engine.evaluating.evaluation import Evaluation
    from cas_engine.evaluating.setting import GivenGone

    running.evaluation = Evaluation(setting)
    with suppress(GivenGone):
        nodes = running.evaluation.run()
        # If the parent was removed meanwhile, nothing names the results that are left as they are.
        if running.store.get(Table.DISPATCHES, bytes.fromhex(running.entry.parent)) is not None:
            return nodes
    running.evaluation.let_go()
    return None


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
        from cas_engine.evaluating.events import Finished, Planned

        observer(Planned(entry.id, entry.lattice, n, n, 0.0))
        observer(Finished(entry.id, entry.status.value))
    return entry
