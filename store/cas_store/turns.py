"""Who may write next: one process at a time, by a lock on the data file that the kernel takes from the dead at once.

LMDB has a lock of its own, a mutex in memory that processes share, and that is what keeps the file whole. But where one
of several that wait for it is killed as it is woken, the others may sleep on though it is free, and nobody wakes them.
Who waits here instead meets nobody there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb

T = TypeVar("T")


@contextmanager
def opening(file: Path) -> Iterator[None]:
    """Around opening an environment: one process at a time.

    The first makes LMDB's lock file ready, and others wait for it inside LMDB; if it is killed then, they go on with
    what it left half made. Whoever comes next here is the first itself. A file that is not there yet is founded by one
    process alone.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class Turns:
    """This process's place in the row before one environment. Between its threads the caller sees to the order."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1

    def open(self) -> None:
        """For an environment that was opened just now: the lock belongs to the file, whatever has its name later."""
        self.close()
        self._descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """With the environment. Idempotent; in a forked child the parent's turn goes on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, env: lmdb.Environment, job: Callable[[lmdb.Transaction[bytes]], T]) -> T:
        """Run the job in a write transaction of the environment, when it is its turn. Committed when this returns."""
        descriptor = self._descriptor
        # No call of our own between the lock and its end: Ctrl-C may come with each, and leave it locked.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with env.begin(write=True) as transaction:
                return job(transaction)
        finally:
            # Not left to closing it: a child that is about to become another program has the open file as well.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
