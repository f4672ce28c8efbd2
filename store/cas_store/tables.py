"""The tables of a store, as the engine knows them: bytes to bytes, ordered by key. Pure."""

from __future__ import annotations

from enum import Enum


class Table(str, Enum):
    """One named LMDB database each. Keys are 1 to 511 bytes long."""

    __hash__ = str.__hash__  # an enumeration's own is a call in Python, several times for each row

    RECORDS = "records"  # the action cache: key of a computation -> record of its result
    CONTENTS = "contents"  # content key -> record, for early cutoff
    BLOBS = "blobs"  # the store's own: see blobs.py
    DISPATCHES = "dispatches"
    TIMELINE = "timeline"
    NODES = "nodes"
    LATTICES = "lattices"
    CAPSULES = "capsules"
    META = "meta"
    EVICTED = "evicted"  # the store's own: digests of blobs that a sweep took -> when
    SWEEP = "sweep"  # the store's own: see sweeping.py


KEY_LIMIT = 511  # LMDB's own
