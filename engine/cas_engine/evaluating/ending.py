"""The end of a dispatch: how it ended, and all of it written down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cas_engine import files
from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import epoch, latest_key
from cas_engine.bookkeeping.ledger import Status
from cas_engine.evaluating.underway import Running, cancel_signal
from cas_engine.graphs.bindings import Const, follow, refs_in
from cas_engine.graphs.graph import Graph
from cas_engine.plans import outcomes, written
from cas_engine.plans.outcome import NodeOutcome, NodeStatus
from cas_engine.preparing.preparation import Prepared
from cas_store.errors import BlobMissing, CasRunError
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Need, Put, PutBlob, Write

_MOST_TOLD = 64 << 10  # characters of errors in the row of a dispatch, which every list reads


def verdict(nodes: Sequence[NodeOutcome], graph: Graph, *, cancelled: bool) -> tuple[Status, str]:
    """How a dispatch ended, with what came of its nodes, and why if not well."""
    if outcomes.having(nodes, NodeStatus.CANCELLED) or (cancelled and not nodes):
        return Status.CANCELLED, "it was cancelled"
    failed = outcomes.having(nodes, NodeStatus.FAILED)
    if not failed:
        return Status.COMPLETED, ""
    labels = graph.labels()
    texts: list[str] = []
    left = _MOST_TOLD
    for at, i in enumerate(failed):
        texts.append(f"electron `{labels[i]}` failed:\n{nodes[i].extra['error']}")
        left -= len(texts[-1])
        if left < 0 and at + 1 < len(failed):
            texts.append(f"{len(failed) - at - 1:,} more have failed; each node has its own error")
            break
    return Status.FAILED, "\n\n".join(texts)


def missing_part(store: Store, graph: Graph, nodes: Sequence[NodeOutcome]) -> str:
    """What the lattice returns of a result, and the result does not have; "" if all is there."""
    from cas_engine.capsules import codec

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


def finish(running: Running, prepared: Prepared, status: Status, error: str, nodes: Sequence[NodeOutcome]) -> None:
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
        totals=outcomes.totals(nodes),
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
        from cas_engine.evaluating import owed

        if first in steps:
            running.problem = running.problem or problem
        owed.owe(entry.id, steps, problem)


def _write_down(running: Running, prepared: Prepared, nodes: Sequence[NodeOutcome]) -> None:
    store, entry = running.store, running.entry
    outputs, status = entry.outputs, entry.status
    writes: list[Write] = []
    if nodes:
        blob = store.prepare(*written.dumps(nodes))
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
