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
                f"the store at {folder.parent} is in use by {_holders(descriptor)}, and {doing} needs it alone\n"
                f"  -> stop what uses it (dispatches, servers, notebooks), then try again"
            )
            raise StoreRefused(msg, folder.parent) from None
        yield
    finally:
        os.close(descriptor)


def _holders(descriptor: int) -> str:
    """Who has the lock, where the system tells (Linux)."""
    inode = f":{os.fstat(descriptor).st_ino}"
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        holders = {int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(inode)}
    except (OSError, ValueError, IndexError):
        holders = set()
    told = [_told(process) for process in sorted(holders) if process > 0]
    return " and ".join(told[:3]) or "another process"


def _told(process: int) -> str:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        words = []
    return f"process {process} ({' '.join(words)[:60]})" if words else f"process {process}"


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
