"""What need not outlive a boot: who computes what right now, and signals between processes.

An LMDB environment that never syncs: cheap, and worthless after a power cut. So each boot has one of its own,
in a folder named for the boot, and never opens another's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import lmdb

from cas_store.database import Database
from cas_store.digest import digest_of
from cas_store.owners import Owners
from cas_store.rows import Seal

_ID = 16
_CLAIMS, _SIGNALS = "claims", "signals"


class Scratch:
    """Claims and signals of one store."""

    def __init__(self, folder: Path, store_id: bytes, owners: Owners, root: Path, map_size: int) -> None:
        self._owners = owners
        here = folder / boot_name()
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other != here:
                _remove(other)
        self._database = Database(here, (_CLAIMS, _SIGNALS), root=root, lasting=False, map_size=map_size)
        self._claim_seal = Seal(store_id, _CLAIMS)
        self._signal_seal = Seal(store_id, _SIGNALS)

    def claim(self, keys: Sequence[bytes], holder: bytes) -> list[bytes | None]:
        """For each key None when it is now the holder's, else the living holder that has it."""
        own = self._owners.own
        seal = self._claim_seal
        mine = holder + own

        def job(transaction: lmdb.Transaction[bytes]) -> list[bytes | None]:
            handle = self._database.handles[_CLAIMS]
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
    import shutil  # noqa: PLC0415  (once in a boot)

    shutil.rmtree(folder, ignore_errors=True)


def _boot_name_elsewhere() -> str:
    import subprocess  # noqa: PLC0415  (not on Linux)
    import uuid  # noqa: PLC0415

    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout  # noqa: S603
    return str(uuid.getnode())  # no better sign; claims of the dead are taken over all the same
