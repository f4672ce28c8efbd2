"""Earlier dispatches: one that answers the whole, one to compare with."""

from __future__ import annotations

import json

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.explain import Baseline
from cas_engine.bookkeeping.journal import EPOCH
from cas_engine.bookkeeping.kept import in_pieces, outcomes_of
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.files import are_not_edited, are_unchanged, from_json
from cas_engine.plans import manifest as manifests
from cas_engine.plans.manifest import Manifest
from cas_store.digest import Digest, digest_of
from cas_store.errors import BlobDamaged, BlobMissing
from cas_store.store import Store
from cas_store.tables import Table


def answer_of(store: Store, key: Digest) -> Entry | None:
    """The completed dispatch that answers a lattice key, if its results are still there."""
    row = store.get(Table.LATTICES, key)
    if row is None:
        return None
    raw = json.loads(row)
    if raw["epoch"] != epoch(store) or store.get(Table.DISPATCHES, bytes.fromhex(raw["id"])) is None:
        return None
    entry = ledger.get(store, raw["id"])
    return entry if _still_holds(store, entry) else None


def _still_holds(store: Store, entry: Entry) -> bool:
    """Whether the results of a dispatch are there, and the files that it counts by content are as they were."""
    try:
        # Looked into, not only for: what is said to be done must be there to be read.
        for blob in filter(None, (*entry.outputs, entry.manifest, entry.outcome)):
            store.get_pieces(bytes.fromhex(blob))
    except (BlobMissing, BlobDamaged):
        return False
    return are_not_edited(from_json(entry.files)) and are_unchanged(from_json(entry.made))


def epoch(store: Store) -> str:
    """Changes whenever a deterministic electron was seen not to repeat itself."""
    return (store.get(Table.META, EPOCH) or b"").decode()


def answer_again(store: Store, parent: Entry, before: Manifest, key: Digest) -> Entry | None:
    """The parent itself if nothing is new; or another dispatch, where no sample of the parent's has to be kept."""
    if parent.status is Status.COMPLETED and parent.lattice_key == key.hex():
        return parent if _still_holds(store, parent) else None
    samples = any(row.stochastic for row in before.graph.rows)
    return None if samples or epoch(store) else answer_of(store, key)


def latest_of(store: Store, lattice: str) -> Baseline | None:
    """The newest dispatch of a lattice of this name, to compare with."""
    found = store.get(Table.META, latest_key(lattice))
    row = None if found is None else store.get(Table.DISPATCHES, found)
    if found is None or row is None:
        return None
    entry = ledger.get(store, found.hex())
    try:
        return Baseline(load_manifest(store, entry), outcomes_of(store, entry))
    except (BlobMissing, BlobDamaged):
        return None  # it only says why things run


def latest_key(lattice: str) -> bytes:
    """Where META keeps the newest dispatch of a lattice."""
    return b"latest:" + digest_of(lattice.encode("utf-8", "surrogatepass"))


def load_manifest(store: Store, entry: Entry) -> Manifest:
    """What a dispatch evaluated. Raises BlobMissing, BlobDamaged, CapsuleError."""
    return manifests.loads(*in_pieces(store, entry.manifest))
