"""Bytes by digest, rows by key; has never heard of electrons."""

from cas_store.blobs import PreparedBlob
from cas_store.digest import Digest, digest_from_hex, digest_of, hex_of
from cas_store.errors import (
    BlobDamaged,
    BlobMissing,
    CasRunError,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreMissing,
    StoreRefused,
    StoreReplaced,
    StoreTooNew,
)
from cas_store.quarantine import Damage
from cas_store.snapshot import Snapshot
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Insert, Put, PutBlob, Write

__all__ = [
    "BlobDamaged",
    "BlobMissing",
    "CasRunError",
    "Damage",
    "Delete",
    "Digest",
    "Insert",
    "PreparedBlob",
    "Put",
    "PutBlob",
    "Snapshot",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreMissing",
    "StoreRefused",
    "StoreReplaced",
    "StoreTooNew",
    "Table",
    "Write",
    "digest_from_hex",
    "digest_of",
    "hex_of",
]
