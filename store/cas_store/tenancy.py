"""Who has the rows open: many who share them, or one who replaces the file. By a lock on their folder.

LMDB's own lock file does not tell: it must not even be opened twice in a process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cas_store.errors import StoreRefused


class Tenancy:
    """This process's share in a folder of rows, for as long as it has them open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def enter(self) -> bool:
        """Whether nobody else is there, until :meth:`share`. Waits for who replaces the file."""
        if self._descriptor < 0:
            self._descriptor = _opened(self._folder)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            return False
        return True

    def share(self) -> None:
        """Let others in."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Not there any more. Idempotent; in a forked child the parent stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Have the rows to oneself. Raises StoreRefused if a process has them open."""
    descriptor = _opened(folder)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = (
                f"the store at {folder.parent} is in use by another process, and {doing} needs it alone\n"
                f"  -> stop what uses it (dispatches, servers, notebooks), then try again"
            )
            raise StoreRefused(msg, folder.parent) from None
        yield
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
