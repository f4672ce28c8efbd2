"""What an earlier dispatch leaves for its children: the outcome of its nodes, samples, versions of absent packages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.journal import EPOCH
from cas_engine.bookkeeping.ledger import Entry
from cas_engine.capsules.frames import FrameError
from cas_engine.errors import CapsuleError, EnvironmentMismatch, UnknownDispatch
from cas_engine.fingerprint.environment import MISSING, version_of
from cas_engine.graphs.graph import Row
from cas_engine.plans import outcomes, written
from cas_engine.plans.manifest import Manifest, loads
from cas_engine.plans.outcome import NOT_YET, NodeOutcome, NodeStatus
from cas_engine.plans.records import NO_PARTS, Record
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import items_in

if TYPE_CHECKING:
    from cas_engine.fingerprint import Fingerprinter


_NODE_KEY = 20  # bytes of the key of a row with one node, as they were written before 0.1


def outcomes_of(store: Store, entry: Entry) -> Sequence[NodeOutcome]:
    """What came of a dispatch's nodes, so far if it is not over."""
    if entry.outcome:
        return written.loads(*in_pieces(store, entry.outcome))
    graph = loads(*in_pieces(store, entry.manifest)).graph
    nodes = [NOT_YET] * len(graph)
    with store.snapshot() as snapshot:
        for key, row in snapshot.scan(Table.NODES, bytes.fromhex(entry.id)):
            if len(key) == _NODE_KEY:
                nodes[int.from_bytes(key[16:], "big")] = written.row_loads(row)
                continue
            for item in items_in(row):
                number, one = written.item_loads(item)
                nodes[number] = one
    return nodes


def in_pieces(store: Store, hexed: str) -> tuple[tuple[memoryview, ...], tuple[Digest, ...]]:
    """A manifest or an outcome: its head and its parts, if it has any; and the digests of these."""
    digest = bytes.fromhex(hexed)
    return store.get_pieces(digest), store.members_of(digest)


class Kept(Mapping[Digest, Record]):
    """As `kept_samples`, looked for when somebody asks: who looks at a part of the graph alone never does."""

    def __init__(self, store: Store, entry: Entry, nodes: Sequence[NodeOutcome]) -> None:
        self._of = store, entry, nodes

    @cached_property
    def _found(self) -> dict[Digest, Record]:
        return kept_samples(*self._of)

    def __getitem__(self, key: Digest) -> Record:
        return self._found[key]

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def kept_samples(store: Store, entry: Entry, nodes: Sequence[NodeOutcome] | None = None) -> dict[Digest, Record]:
    """The results of a dispatch that are not functions of their keys, by key: its children keep them.

    What did not repeat itself later, but had not done so by then, is among them, so that the children of an old
    dispatch agree with it. `nodes`: what came of its nodes, if somebody knows already.
    """
    kept: dict[Digest, Record] = {}
    if not entry.outcome and entry.parent:
        # It ended before it wrote down what it had taken over.
        with contextlib.suppress(UnknownDispatch):  # removed since
            kept = kept_samples(store, ledger.get(store, entry.parent))
    nodes = outcomes_of(store, entry) if nodes is None else nodes
    return _there(store, {**kept, **_kept_of(store, nodes, entry.id)})


def kept_among(store: Store, nodes: Sequence[NodeOutcome], dispatch_id: str) -> dict[Digest, Record]:
    """The same of some nodes of a dispatch that wrote down what it has taken over."""
    return _there(store, _kept_of(store, nodes, dispatch_id))


def _kept_of(store: Store, nodes: Sequence[NodeOutcome], dispatch_id: str) -> dict[Digest, Record]:
    unsure = bool(store.get(Table.META, EPOCH))
    return {
        node.key: record_from(node, dispatch_id)
        for node in (nodes if unsure or outcomes.having_samples(nodes) else ())
        if node.status in (NodeStatus.HIT, NodeStatus.RAN) and (node.is_sample or unsure)
    }


def _there(store: Store, kept: Mapping[Digest, Record]) -> dict[Digest, Record]:
    """Those whose blobs have not been lost."""
    missing = store.find_missing([record.blob for record in kept.values()])
    lost = {blob for blob in missing if not store.is_evicted(blob)}
    return {key: record for key, record in kept.items() if record.blob not in lost}


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


def versions_of_absent(store: Store, before: Manifest) -> dict[Digest, dict[str, str]]:
    """By code that can't be loaded here for want of packages: the versions of these that were recorded.

    Such code can't give another result here, so the recorded one stands. Where code gets by without a package, its
    absence is a change like any other.
    """
    absent = {name: was for name, was in before.environment if was != MISSING and version_of(name) == MISSING}
    found: dict[Digest, dict[str, str]] = {}
    if absent:
        from cas_engine.fingerprint import Fingerprinter

        session = Fingerprinter()
        for row in {row.code: row for row in (before.lattice, *before.graph.rows)}.values():
            versions = {name: absent[name] for name in row.packages if name in absent}
            if versions and not loads_here(store, row, session):
                found[row.code] = versions
    return found


def loads_here(store: Store, row: Row, session: Fingerprinter) -> bool:
    """Whether recorded code can be loaded, as far as packages and Python go."""
    from cas_engine.capsules import capsule

    try:
        capsule.load(store.get_blob(row.capsule), session)
    except EnvironmentMismatch:
        return False
    except (CapsuleError, FrameError, BlobMissing, BlobDamaged):
        pass  # for another reason, which it tells once it is to run
    return True
