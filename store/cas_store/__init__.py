"""Bytes by digest, rows by key; has never heard of electrons.

The names are looked up when first used (PEP 562), so that a module of this package can be imported without all others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas_store.blobs import PreparedBlob
    from cas_store.digest import Digest, digest_from_hex, digest_of, hex_of
    from cas_store.errors import (
        BlobDamaged,
        BlobEvicted,
        BlobMissing,
        BundleError,
        CasRunError,
        CompressionMissing,
        RowChanged,
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
    from cas_store.writes import Append, Delete, Expect, Insert, Need, NeedRow, Put, PutBlob, Write

_HOMES = {
    "cas_store.blobs": ("PreparedBlob",),
    "cas_store.digest": ("Digest", "digest_from_hex", "digest_of", "hex_of"),
    "cas_store.errors": (
        "BlobDamaged",
        "BlobEvicted",
        "BlobMissing",
        "BundleError",
        "CasRunError",
        "CompressionMissing",
        "RowChanged",
        "RowMissing",
        "StoreDamaged",
        "StoreError",
        "StoreFull",
        "StoreMissing",
        "StoreRefused",
        "StoreReplaced",
        "StoreTooNew",
        "SweepUnderWay",
    ),
    "cas_store.quarantine": ("Damage",),
    "cas_store.snapshot": ("Snapshot",),
    "cas_store.stamps": ("Verify",),
    "cas_store.store": ("Store",),
    "cas_store.sweeping": ("OldRow", "Victim"),
    "cas_store.tables": ("Table",),
    "cas_store.writes": ("Append", "Delete", "Expect", "Insert", "Need", "NeedRow", "Put", "PutBlob", "Write"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Append",
    "BlobDamaged",
    "BlobEvicted",
    "BlobMissing",
    "BundleError",
    "CasRunError",
    "CompressionMissing",
    "Damage",
    "Delete",
    "Digest",
    "Expect",
    "Insert",
    "Need",
    "NeedRow",
    "OldRow",
    "PreparedBlob",
    "Put",
    "PutBlob",
    "RowChanged",
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


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
