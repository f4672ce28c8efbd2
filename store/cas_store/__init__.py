"""Bytes by digest, rows by key; has never heard of electrons."""

from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest, digest_from_hex, digest_of, hex_of
from cas_store.errors import (
    BlobDamaged,
    BlobEvicted,
    BlobMissing,
    BundleError,
    CasRunError,
    CompressionMissing,
    RowMissing,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreRefused,
    StoreReplaced,
    StoreTooNew,
    SweepUnderWay,
)
from cas_store.quarantine import Damage
from cas_store.snapshot import Snapshot
from cas_store.stamps import Verify
from cas_store.store import Store
from cas_store.sweeping import OldRow, Victim
from cas_store.tables import Table
from cas_store.writes import Delete, Insert, Need, NeedRow, Put, PutBlob, Write

__all__ = [
    "BlobDamaged",
    "BlobEvicted",
    "BlobMissing",
    "BundleError",
    "CasRunError",
    "CompressionMissing",
    "Damage",
    "Delete",
    "Digest",
    "Insert",
    "Need",
    "NeedRow",
    "OldRow",
    "PreparedBlob",
    "Put",
    "PutBlob",
    "RowMissing",
    "Snapshot",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreMissing",
    "StoreRefused",
    "StoreReplaced",
    "StoreTooNew",
    "SweepUnderWay",
    "Table",
    "Verify",
    "Victim",
    "Write",
    "digest_from_hex",
    "digest_of",
    "hex_of",
]
