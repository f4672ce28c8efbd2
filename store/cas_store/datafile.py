"""Whether a data file may be handed to LMDB, which dies where one is cut off, and loops or aborts on a damaged page.

Its headers are looked at each time. Its trees are walked unless a small file beside it, `clean`, says that it is as
the last process left it. That is some milliseconds once after a process was killed, or a store was copied.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cas_store.errors import StoreDamaged
from cas_store.pages import DataFile, Meta, PageFault, Walk
from cas_store.tables import Table

_LEAVES_BELOW = 1 << 15  # pages; in larger files only those that lead to others are read
_SUSPECT = b"suspect\n"
_SAME_TICK_NS = 20_000_000  # a change so soon after another may leave the file with the same time
_TABLES = frozenset(table.value.encode() for table in Table)


def check_data_file(path: Path) -> bool:
    """True when the file can be opened, False when there is none or an empty one. Raises StoreDamaged."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(descriptor).st_size == 0:
            return False
        newest, file = _headers(path, descriptor)
        if any(not tree.is_empty and tree.root > newest.last_page for tree in (newest.free, newest.main)):
            raise damaged(path, "its header names a page that it does not have")
        expected = (newest.last_page + 1) * file.page_size
        if file.size < expected:
            _check_short(path, file, newest, expected)
    finally:
        os.close(descriptor)
    return True


def last_transaction(path: Path) -> int:
    """The number of the transaction that a data file is as of. Raises StoreDamaged. Not for an open one, as above."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        newest, _ = _headers(path, descriptor)
        return newest.transaction
    finally:
        os.close(descriptor)


def check_trees(path: Path) -> None:
    """Raise StoreDamaged if the trees do not hold together. Only for who has the file alone."""
    stamp = path.with_name("clean")
    said = b""
    with suppress(FileNotFoundError):
        said = stamp.read_bytes()
        if said == _stamp_of(path) and _would_show(path.stat(), stamp.stat()):
            return
    faults = faults_of(path, thorough=said == _SUSPECT)
    if faults:
        raise damaged(path, faults[0])
    leave_stamp(path)


def discard_damaged(path: Path) -> None:
    """Remove a file that need not last, unless it is in order. Only for who has it alone."""
    try:
        is_whole = not check_data_file(path) or not faults_of(path, thorough=False, tables=frozenset())
    except StoreDamaged:
        is_whole = False
    if not is_whole:
        path.unlink(missing_ok=True)


def faults_of(path: Path, *, thorough: bool, tables: frozenset[bytes] = _TABLES) -> list[str]:
    """What is wrong with the structure. Thorough: the leaves are read also where they are many."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        newest, file = _headers(path, descriptor)
        walk = Walk(file, newest, leaves=thorough or newest.last_page < _LEAVES_BELOW)
        for _ in walk.run():
            pass
    finally:
        os.close(descriptor)
    return [*map(str, walk.faults), *misnamed(walk, tables)]


def misnamed(walk: Walk, tables: frozenset[bytes] = _TABLES) -> list[str]:
    """A table of ours that is missing beside one that is not ours: its name was hit. New ones are just missing."""
    if not walk.tables.keys() - tables:
        return []
    return [f"the table {name.decode()} is missing" for name in sorted(tables - walk.tables.keys())]


def _would_show(file: os.stat_result, stamp: os.stat_result) -> bool:
    """Whether the file would look otherwise if anything had been written to it since the stamp was."""
    is_set_back = file.st_ctime_ns - file.st_mtime_ns > _SAME_TICK_NS
    return is_set_back or stamp.st_mtime_ns - file.st_ctime_ns > _SAME_TICK_NS


def _set_back(path: Path) -> None:
    """Date the file a little earlier: what is written to it from now on shows, however soon that is.

    Without that, who comes after a process that wrote and ended at once has to walk it: 0.2 s for 200,000 rows.
    """
    with suppress(PermissionError):  # who may write to it and does not own it: see `_would_show`
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_ctime_ns - 2 * _SAME_TICK_NS))


def leave_stamp(path: Path, *, suspect: bool = False) -> None:
    """Say that the file is as it should be, now; or that LMDB could not make sense of it."""
    with suppress(OSError, PageFault):
        _set_back(path)
        # Written over, not emptied first: ext4 takes that for a file being replaced, and waits for the disk.
        descriptor = os.open(path.with_name("clean"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, os.write(descriptor, _SUSPECT if suspect else _stamp_of(path)))
        finally:
            os.close(descriptor)


def damaged(path: Path, why: str) -> StoreDamaged:
    """The store cannot be used as it is."""
    return StoreDamaged(
        f"{path} is damaged: {why}\n  -> `cas-run doctor --repair` saves all that can be read; or restore a backup",
        path,
    )


def _stamp_of(path: Path) -> bytes:
    """What changes with each commit, and when anything else writes to the file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        file = DataFile(descriptor)
        found = os.fstat(descriptor)
        transactions = [meta.transaction for meta in file.metas()]
    finally:
        os.close(descriptor)
    # The time of change too: the other one can be set back, by whoever restores it.
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {transactions}\n".encode()


def _headers(path: Path, descriptor: int) -> tuple[Meta, DataFile]:
    """The newest header. Both have to be there, of two transactions in a row."""
    try:
        file = DataFile(descriptor)
        while True:
            metas = file.metas()
            if len(metas) == 2 and metas[0].transaction - metas[1].transaction in (0, 1):
                break
            again = file.metas()  # a living writer may have come in between
            if again == metas:
                raise damaged(path, "its two headers contradict each other")
    except PageFault as fault:
        raise damaged(path, str(fault)) from fault
    file = DataFile(descriptor)  # its size after the headers: a living file only grows
    newest, other = metas
    if newest.transaction == other.transaction and newest.transaction:
        raise damaged(path, "its two headers contradict each other")
    return newest, file


def _check_short(path: Path, file: DataFile, newest: Meta, expected: int) -> None:
    """A free page at the very end may never have been written; anything else that is missing is damage."""
    walk = Walk(file, newest, leaves=True)
    for _ in walk.run():
        pass
    if walk.faults:
        raise damaged(path, f"it was cut off: {file.size} of {expected} bytes are left")
