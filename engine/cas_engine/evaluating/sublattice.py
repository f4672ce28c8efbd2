"""Evaluates lattices that are nodes of a lattice, each as a dispatch of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from cas_engine import files
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.explain import Baseline
from cas_engine.bookkeeping.kept import kept_samples, outcomes_of
from cas_engine.calling.worker import InputGone, Raised, Task, returned, trimmed
from cas_engine.capsules import codec
from cas_engine.capsules.frames import Blob
from cas_engine.capsules.unchanged import Code, FunctionOf, RecordedCode, calling
from cas_engine.errors import UnknownDispatch
from cas_engine.executors import Answer, finished
from cas_engine.graphs.bindings import Const, Template, materialize
from cas_engine.graphs.graph import Graph, Row
from cas_engine.graphs.tracing import trace
from cas_engine.plans import keys
from cas_engine.plans.manifest import Manifest
from cas_engine.plans.outcome import NodeOutcome, NodeStatus
from cas_engine.plans.outcomes import having_extras
from cas_engine.preparing.inputs import bind_inputs
from cas_engine.preparing.preparation import Prepared, as_lattice, environment_of
from cas_engine.preparing.recorder import Recorder
from cas_engine.values import FileContent
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing, CasRunError
from cas_store.store import Store

# Evaluates a lattice as a dispatch within another. The second argument hears its id as soon as it has one, with what
# cancels it; the third its id, once something in it is printed.
EvaluateInner = Callable[
    [Prepared, Callable[[str, Callable[[], None]], None], Callable[[str], None]],
    tuple[ledger.Entry, Sequence[NodeOutcome]],
]


class Sublattices:
    """The sublattices of one dispatch. Replacements and what is forced hold in them too."""

    def __init__(self, store: Store, outer: Prepared, evaluate_inner: EvaluateInner) -> None:
        self._store = store
        self._prepared = outer
        self._evaluate_inner = evaluate_inner
        self._dispatches: dict[int, str] = {}
        self._cancels: dict[int, Callable[[], None]] = {}
        self._unwanted: set[int] = set()
        self._before: dict[str, str] | None = None
        self._recorded: dict[Digest, RecordedCode] = {}

    def dispatch_of(self, node: int) -> str:
        """The dispatch that a sublattice was evaluated as, "" if it was not."""
        return self._dispatches.get(node, "")

    def stop(self, node: int) -> None:
        """Nobody waits for it any more."""
        self._unwanted.add(node)
        if (cancel := self._cancels.get(node)) is not None:
            cancel()

    def start(
        self, node: int, row: Row, task: Task, report: Callable[[Answer], None], prints: Callable[[str], None]
    ) -> None:
        """Evaluate one in a thread of its own, so that a pool of one cannot wait for itself."""
        self._unwanted.discard(node)
        self._cancels.pop(node, None)

        def work() -> None:
            try:
                report(self._evaluate(node, row, task, prints))
            except BaseException as problem:  # noqa: BLE001 - reported, whatever it was
                report(problem)

        here = copy_context()
        threading.Thread(target=here.run, args=(work,), name=f"cas-run sublattice {row.slot}", daemon=True).start()

    def _evaluate(self, node: int, row: Row, task: Task, prints: Callable[[str], None]) -> Answer:
        started = time.perf_counter()

        def begun(dispatch_id: str, cancel: Callable[[], None]) -> None:
            self._dispatches[node], self._cancels[node] = dispatch_id, cancel
            if node in self._unwanted:
                cancel()

        try:
            prepared = self._prepare(node, row, task)
        except (BlobMissing, BlobDamaged) as gone:
            return finished(InputGone(gone.digest), self._store)
        except CasRunError as problem:
            return finished(Raised(str(problem), 0.0), self._store)
        except Exception as error:  # noqa: BLE001 - the user's lattice function may raise anything
            return finished(Raised(trimmed(error), 0.0), self._store)
        entry, nodes = self._evaluate_inner(prepared, begun, prints)
        if entry.status is not ledger.Status.COMPLETED:
            return finished(Raised(entry.error, time.perf_counter() - started), self._store)
        graph = prepared.manifest.graph
        blobs = [nodes[parent].blob for parent in graph.output_parents]
        value = materialize(
            graph.output,
            lambda const: codec.decode(self._bytes(const)),
            lambda slot: codec.decode(self._store.get_pieces(blobs[slot])),
        )
        seconds = time.perf_counter() - started
        reply = returned(value, seconds, task.picks, lambda const: codec.decode(self._bytes(const)))
        named = files.from_json([*entry.files, *entry.made])
        if prepared.manifest.names_files:
            named = (*named, files.NEVER_THE_SAME)
        return finished(replace(reply, files=tuple({*reply.files, *named})), self._store)

    def _prepare(self, node: int, row: Row, task: Task) -> Prepared:
        def const(one: Const) -> Any:
            return codec.decode(self._bytes(one))

        def slot(at: int) -> Any:
            return codec.decode(self._store.get_pieces(task.slots[at]))

        args = [materialize(binding, const, slot) for binding in task.args]
        kwargs = {name: materialize(binding, const, slot) for name, binding in task.kwargs}
        blob = self._store.get_blob(row.capsule)
        replaced = {one.slot: one for one in self._prepared.manifest.replaced}

        def traced(
            function: FunctionOf,
        ) -> tuple[Recorder, Template, tuple[tuple[str, str], ...], set[FileContent], Graph]:
            lattice = as_lattice(function(lambda: blob))
            recorder = Recorder(self._store)
            inputs, previews = bind_inputs(recorder, row, args, kwargs)
            recorder.live.update(self._prepared.recorder.live)
            given = set(recorder.files)
            return recorder, inputs, previews, given, trace(lattice, args, kwargs, recorder, replaced)

        live = self._prepared.recorder.live.get(row.capsule)
        code: Code = self._recorded.setdefault(row.capsule, RecordedCode()) if live is None else live
        (recorder, inputs, previews, given, graph), _ = calling(code, traced)
        before = self._dispatch_before(node)
        kept, baseline = None, None
        if before:
            try:
                entry = ledger.get(self._store, before)
                kept = kept_samples(self._store, entry)
                baseline = Baseline(load_manifest(self._store, entry), outcomes_of(self._store, entry))
            except (UnknownDispatch, BlobMissing, BlobDamaged):
                kept, baseline = None, None  # removed since: nothing to compare with, nothing to keep
        rows = tuple(replaced.values())
        ordinal = self._prepared.manifest.graph.ordinal_of[node]
        return Prepared(
            lattice_key=keys.lattice_key(row, self._prepared.effective, rows, inputs.digest),
            manifest=Manifest(
                lattice=row,
                inputs=inputs,
                previews=previews,
                graph=graph,
                replaced=rows,
                environment=environment_of(row, graph),
                files=tuple(recorder.files),
                names_files=recorder.files != given,
            ),
            policy=self._prepared.policy,
            kept=kept,
            baseline=baseline,
            recorder=recorder,
            parent=before,
            effective=self._prepared.effective,
            executors={**self._prepared.executors, **recorder.executors},
            repetition=self._prepared.repetition + b"/%d" % ordinal,
        )

    def _dispatch_before(self, node: int) -> str:
        """What this sublattice was evaluated as in the dispatch that the outer one compares with, "" if nothing."""
        if self._before is None:
            self._before = {}
            baseline = self._prepared.baseline
            if baseline is not None:
                some, nodes = having_extras(baseline.nodes), baseline.nodes
                for label, one in zip(
                    baseline.manifest.graph.names_of(some), map(nodes.__getitem__, some), strict=True
                ):
                    if one.extra.get("dispatch") and one.status is not NodeStatus.SKIPPED:
                        self._before[label] = one.extra["dispatch"]
        return self._before.get(self._prepared.manifest.graph.names_of([node])[0], "")

    def _bytes(self, const: Const) -> Blob:
        if const.blob is not None:
            return self._store.get_pieces(const.blob)
        return const.encoded or b""
