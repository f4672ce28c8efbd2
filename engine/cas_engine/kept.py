"""What an earlier dispatch leaves for its children: the outcome of its nodes, the samples that they keep."""

from __future__ import annotations

import contextlib

from cas_engine import ledger, outcome
from cas_engine.errors import UnknownDispatch
from cas_engine.journal import EPOCH
from cas_engine.ledger import Entry
from cas_engine.manifest import loads
from cas_engine.outcome import NOT_YET, NodeOutcome, NodeStatus
from cas_engine.records import NO_PARTS, Record
from cas_store.digest import Digest
from cas_store.store import Store
from cas_store.tables import Table


def outcomes_of(store: Store, entry: Entry) -> list[NodeOutcome]:
    """What came of a dispatch's nodes, so far if it is not over."""
    if entry.outcome:
        return outcome.loads(store.get_blob(bytes.fromhex(entry.outcome)))
    graph = loads(store.get_blob(bytes.fromhex(entry.manifest))).graph
    nodes = [NOT_YET] * len(graph)
    with store.snapshot() as snapshot:
        for key, row in snapshot.scan(Table.NODES, bytes.fromhex(entry.id)):
            nodes[int.from_bytes(key[16:], "big")] = outcome.row_loads(row)
    return nodes


def kept_samples(store: Store, entry: Entry) -> dict[Digest, Record]:
    """The results of a dispatch that are not functions of their keys, by key: its children keep them.

    What did not repeat itself later, but had not done so by then, is among them, so that the children of an old
    dispatch agree with it.
    """
    kept: dict[Digest, Record] = {}
    if not entry.outcome and entry.parent:
        # It ended before it wrote down what it had taken over.
        with contextlib.suppress(UnknownDispatch):  # removed since
            kept = kept_samples(store, ledger.get(store, entry.parent))
    unsure = bool(store.get(Table.META, EPOCH))
    for node in outcomes_of(store, entry):
        if node.status in (NodeStatus.HIT, NodeStatus.RAN) and (node.is_sample or unsure):
            kept[node.key] = record_from(node, entry.id)
    missing = store.find_missing([record.blob for record in kept.values()])
    return {key: record for key, record in kept.items() if record.blob not in missing}


def record_from(node: NodeOutcome, dispatch_id: str) -> Record:
    """The result of a node as its dispatch had it, whatever the store has for its key by now."""
    return Record(
        value=node.value,
        blob=node.blob,
        seconds=node.seconds,
        created=node.created,
        size=node.size,
        is_sample=node.is_sample,
        draw=0,
        parts=NO_PARTS,
        files=(),
        electron="",
        dispatch=node.extra.get("dispatch", dispatch_id),
    )
