"""What need not outlive a boot: claims, holds, signals between processes, and which files were verified.

An LMDB environment that never syncs: cheap, and worthless after a power cut. So each boot has one of its own,
in a folder named for the boot, and never opens another's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import lmdb

from cas_store.database import Database
from cas_store.digest import digest_of
from cas_store.errors import StoreError
from cas_store.owners import Owners
from cas_store.rows import Seal

_ID = 16
_CLAIMS, _HOLDS, _SIGNALS, _STAMPS = _TABLES = "claims", "holds", "signals", "stamps"


class Scratch:
    """Claims, holds, signals and stamps of one store."""

    def __init__(self, folder: Path, store_id: bytes, owners: Owners, root: Path, map_size: int) -> None:
        self._owners = owners
        here = folder / boot_name()
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other != here:
                _remove(other)
        self._database = Database(here, _TABLES, root=root, lasting=False, map_size=map_size)
        self._claim_seal = Seal(store_id, _CLAIMS)
        self._signal_seal = Seal(store_id, _SIGNALS)
        self._stamp_seal = Seal(store_id, _STAMPS)
        self._hold_seal = Seal(store_id, _HOLDS)
        self._held: tuple[dict[bytes, int], set[bytes]] = {}, set()

    def claim(self, keys: Sequence[bytes], holder: bytes) -> list[bytes | None]:
        """For each key None when it is now the holder's, else the living holder that has it."""
        own = self._owners.own
        seal = self._claim_seal
        mine = holder + own
        rows = [(key, seal.close(key, mine)) for key in keys]

        def job(transaction: lmdb.Transaction[bytes]) -> list[bytes | None]:
            handle = self._database.handles[_CLAIMS]
            with transaction.cursor(handle) as cursor:
                _, added = cursor.putmulti(rows, overwrite=False)
            if added == len(keys):  # mostly nobody has any: one by one takes twice as long
                return [None] * len(keys)
            answers: list[bytes | None] = []
            for key in keys:
                row = transaction.get(key, None, handle)
                value = seal.open(key, row) if row is not None else None
                if value is not None and value[:-_ID] != holder and self._owners.is_alive(value[-_ID:]):
                    answers.append(value[:-_ID])
                    continue
                if value != mine:
                    transaction.put(key, seal.close(key, mine), db=handle)
                answers.append(None)
            return answers

        return self._database.write(job, "claiming")

    def release(self, keys: Sequence[bytes], holder: bytes) -> None:
        """Give up the claims among these that are the holder's."""
        seal = self._claim_seal

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            handle = self._database.handles[_CLAIMS]
            for key in keys:
                row = transaction.get(key, None, handle)
                if row is None:
                    continue
                value = seal.open(key, row)
                if value is None or value[:-_ID] == holder:
                    transaction.delete(key, b"", handle)

        self._database.write(job, "releasing claims")

    def hold(self, holder: bytes, digests: Sequence[bytes]) -> None:
        """No sweep is to take these blobs for as long as the holder wants them and this process lives."""
        value = self._owners.own + b"".join(digests)

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            key = holder + os.urandom(8)
            transaction.put(key, self._hold_seal.close(key, value), db=self._database.handles[_HOLDS])

        self._database.write(job, "holding results")

    def let_go(self, holder: bytes) -> None:
        """The holder wants nothing any more."""

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            with transaction.cursor(self._database.handles[_HOLDS]) as cursor:
                while cursor.set_range(holder) and cursor.key().startswith(holder):
                    cursor.delete()

        self._database.write(job, "letting results go")

    def held(self) -> set[bytes]:
        """All that living processes hold."""
        rows: dict[bytes, tuple[bytes, bytes]] = {}
        dead = []
        view = self._database.view()
        try:
            for key, row in view.scan(_HOLDS, b"", reverse=False):
                value = self._hold_seal.open(key, row)
                if value is None or not self._owners.is_alive(value[:_ID]):
                    dead.append(key)
                else:
                    rows[key] = value[:_ID], value[_ID:]
        finally:
            view.close()
        with suppress(StoreError):  # on a full disk: whoever asks may be about to make room
            for key in dead:
                self.let_go(key)
        sizes = {key: len(value) for key, (_, value) in rows.items()}
        if sizes != self._held[0]:  # a row is written once
            held = {value[at : at + _ID] for _, value in rows.values() for at in range(0, len(value), _ID)}
            self._held = sizes, held
        return self._held[1]

    def set_signal(self, name: bytes, value: bytes) -> None:
        """Seen by all processes at once."""
        row = self._signal_seal.close(name, value)

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            transaction.put(name, row, db=self._database.handles[_SIGNALS])

        self._database.write(job, "setting a signal")

    def get_signal(self, name: bytes) -> bytes | None:
        """The value, or None."""
        view = self._database.view()
        try:
            row = view.get(_SIGNALS, name)
        finally:
            view.close()
        return None if row is None else self._signal_seal.open(name, row)

    def clear_signal(self, name: bytes) -> None:
        """Idempotent."""

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            transaction.delete(name, b"", self._database.handles[_SIGNALS])

        self._database.write(job, "clearing a signal")

    def get_stamp(self, name: bytes) -> bytes | None:
        """What a file looked like when it was last known to be intact, or None."""
        view = self._database.view()
        try:
            row = view.get(_STAMPS, name)
        finally:
            view.close()
        return None if row is None else self._stamp_seal.open(name, row)

    def set_stamps(self, stamps: Mapping[bytes, bytes]) -> None:
        """One transaction for all."""
        rows = [(name, self._stamp_seal.close(name, stamp)) for name, stamp in stamps.items()]

        def job(transaction: lmdb.Transaction[bytes]) -> None:
            handle = self._database.handles[_STAMPS]
            for name, row in rows:
                transaction.put(name, row, db=handle)

        self._database.write(job, "noting which files are intact")

    def close(self) -> None:
        """Give the environment back."""
        self._database.close()


def boot_name() -> str:
    """A name for the time since the machine started."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        text = _boot_name_elsewhere()
    return digest_of(text.strip().encode()).hex()


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _boot_name_elsewhere() -> str:
    import subprocess
    import uuid

    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout  # noqa: S603
    return str(uuid.getnode())  # no better sign; claims of the dead are taken over all the same
