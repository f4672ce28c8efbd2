"""Everything that can go wrong in cas-run, as one tree with its root here.

A message says what happened, to which thing, why, and what to do next (after ``->``).
"""

from __future__ import annotations

from pathlib import Path


class CasRunError(Exception):
    """The root: catch this to catch everything that cas-run raises on purpose."""


class StoreError(CasRunError):
    """Something about the store; the leaves below say what. ``path`` is the store or the file in it."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.path)


class StoreMissing(StoreError):
    """There is no store where one was expected."""


class StoreDamaged(StoreError):
    """The store as a whole cannot be trusted (single damaged rows and blobs are misses instead)."""


class StoreFull(StoreError):
    """No room: disk, quota or address space. Nothing acknowledged is lost; it goes on when there is room."""


class StoreReplaced(StoreError):
    """The folder is no longer the one that was opened: removed, moved or replaced."""


class StoreTooNew(StoreError):
    """Written by a later format than this version of cas-run knows."""


class StoreRefused(StoreError):
    """Will not be opened: permissions, not a store, a network file system, another pid namespace."""


class CompressionMissing(StoreError):
    """A blob is there, compressed by what this Python has not got."""


class BundleError(StoreError):
    """A bundle cannot be read, written or taken in; nothing was changed. ``path`` is the bundle's, None for a pipe."""


class BlobMissing(StoreError):
    """No blob has this digest: evicted, never stored, or quarantined."""

    def __init__(self, digest: bytes, path: Path | None = None) -> None:
        super().__init__(f"blob {digest.hex()[:12]} is not in the store\n  -> compute it again", path)
        self.digest = digest

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.digest, self.path)


class BlobEvicted(BlobMissing):
    """A blob that was given up to keep the store small; what it was the result of can be computed again."""

    def __init__(self, digest: bytes, path: Path | None = None) -> None:
        super().__init__(digest, path)
        self.args = (f"blob {digest.hex()[:12]} was evicted to keep the store small\n  -> compute it again",)


class RowMissing(StoreError):
    """A row that a batch needs is not there any more."""

    def __init__(self, table: str, key: bytes, path: Path | None = None) -> None:
        super().__init__(f"a row of {table} was removed meanwhile: {key.hex()[:12]}\n  -> try again", path)
        self.table = table
        self.key = key

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.table, self.key, self.path)


class RowChanged(StoreError):
    """A row is no longer what a batch expects it to be."""

    def __init__(self, table: str, key: bytes, path: Path | None = None) -> None:
        super().__init__(f"a row of {table} was changed meanwhile: {key.hex()[:12]}\n  -> try again", path)
        self.table = table
        self.key = key

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.table, self.key, self.path)


class SweepUnderWay(StoreError):
    """Another sweep of the store has not come to its end."""


class BlobDamaged(StoreError):
    """A blob's bytes no longer have its digest; they are in quarantine by the time this is raised."""

    def __init__(self, digest: bytes, path: Path | None = None) -> None:
        super().__init__(
            f"blob {digest.hex()[:12]} is damaged and was put into quarantine\n"
            f"  -> compute it again; a damaged disk shows in the system's log",
            path,
        )
        self.digest = digest

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.digest, self.path)
