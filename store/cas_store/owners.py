"""Who is alive: each process holds a lock on a file of its own for as long as it lives.

Process ids are reused and clocks jump; the kernel drops a flock when its holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from cas_store import forks
from cas_store.faults import translate

_OWNER_SIZE = 16
_FRESH_S = 60.0  # between being made and being locked a file belongs to nobody; leave it that long


class Owners:
    """This process's own name, and the question whether another's is still held."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._own: bytes | None = None
        self._descriptor = -1
        self._dead: set[bytes] = set()  # who is dead stays dead
        forks.watch(self)

    @property
    def own(self) -> bytes:
        """16 random bytes that name this process. Made at first use."""
        own = self._own
        return own if own is not None else self._announce()

    def is_alive(self, owner: bytes) -> bool:
        """Whether the process of that name still runs, on this machine. Some 10 µs."""
        if owner == self._own:
            return True
        if owner in self._dead:
            return False
        if self._is_locked(self._folder / owner.hex()):
            return True
        self._dead.add(owner)
        return False

    def sweep(self) -> None:
        """Remove the files that dead processes left."""
        for path in self._folder.iterdir():
            # By a shared lock: an exclusive one would make the dead look alive to whoever asks meanwhile.
            if not self._is_locked(path) and not _is_fresh(path):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop being alive as far as this store goes."""
        with self._lock:
            if self._own is None:
                return
            (self._folder / self._own.hex()).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._own, self._descriptor = None, -1

    def _announce(self) -> bytes:
        with self._lock:
            if self._own is not None:
                return self._own
            own = os.urandom(_OWNER_SIZE)
            path = self._folder / own.hex()
            # Locked before it has its name: a file that can be found and isn't locked has no living holder.
            early = self._folder / f".{own.hex()}"
            try:
                descriptor = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                early.rename(path)
            except OSError as error:
                raise translate(error, self._folder.parent, "announcing this process") from error
            self._own, self._descriptor = own, descriptor
            return own

    @staticmethod
    def _is_locked(path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        if self._own is not None:
            # The lock belongs to the open file, which the child shares: it would outlive the parent.
            os.close(self._descriptor)
            self._own, self._descriptor = None, -1
        self._lock = threading.Lock()


def _is_fresh(path: Path) -> bool:
    try:
        return path.name.startswith(".") and time.time() - path.stat().st_mtime < _FRESH_S
    except FileNotFoundError:
        return True
