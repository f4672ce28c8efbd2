"""Where damaged things go: out of the way of readers, kept to be looked at, noted for the user."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import lmdb

from cas_store.database import Database, Job
from cas_store.digest import DIGEST_SIZE
from cas_store.errors import StoreError
from cas_store.layout import Layout
from cas_store.rows import Seal


class Damage(NamedTuple):
    """One damaged row or blob that was found by reading. ``kept`` is None when it could not be moved away."""

    table: str
    key: bytes
    why: str
    kept: Path | None


class Quarantine:
    """Moves damaged things inside a write transaction: whoever has since put an intact one there keeps it."""

    def __init__(self, layout: Layout, database: Database, found: list[Damage]) -> None:
        self._layout = layout
        self._database = database
        self._found = found

    def row(self, table: str, key: bytes, seal: Seal) -> None:
        """Take a row away, if it is damaged still."""

        def job(transaction: lmdb.Transaction[bytes]) -> Path | None:
            handle = self._database.handles[table]
            row = transaction.get(key, None, handle)
            if row is None or seal.open(key, row) is not None:
                return None
            kept = self._place(f"row-{table}-{key[:16].hex()}")
            head = json.dumps({"table": table, "key": key.hex(), "found": time.time()})
            kept.write_bytes(head.encode() + b"\n" + row)
            transaction.delete(key, b"", handle)
            return kept

        self._perform(Damage(table, key, "its digest does not fit", None), job)

    def file(self, digest: bytes, identity: tuple[int, int], marker: bytes, told: bytes) -> None:
        """Take a large blob away, if its file is still the one that was found damaged, and its row says still what
        it should be: put there anew, it may be compressed or not be so any more.
        """

        def job(transaction: lmdb.Transaction[bytes]) -> Path | None:
            path = self._layout.blob(digest)
            row = transaction.get(marker, None, self._database.handles["blobs"])
            if row is not None and row[DIGEST_SIZE:] != told:
                return None
            try:
                found = path.stat()
            except FileNotFoundError:
                return None
            if (found.st_dev, found.st_ino) != identity:
                return None
            kept = self._place(f"blob-{digest.hex()}")
            path.rename(kept)
            transaction.delete(marker, b"", self._database.handles["blobs"])
            return kept

        self._perform(Damage("blobs", digest, "its bytes do not have its digest", None), job)

    def _place(self, name: str) -> Path:
        self._layout.quarantine.mkdir(mode=0o700, exist_ok=True)
        return self._layout.quarantine / f"{name}.{os.urandom(4).hex()}"

    def _perform(self, damage: Damage, job: Job[Path | None]) -> None:
        kept = None
        with suppress(StoreError):  # it is a miss for the reader even so; the next one tries again
            kept = self._database.write(job, "putting something damaged into quarantine")
        damage = Damage(damage.table, damage.key, damage.why, kept)
        if damage not in self._found:  # one that cannot be moved away is found again and again
            self._found.append(damage)
