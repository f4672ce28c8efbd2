"""Finding, founding and refusing store folders."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb

from cas_store.database import Database
from cas_store.datafile import check_data_file
from cas_store.digest import DIGEST_SIZE
from cas_store.errors import StoreDamaged, StoreMissing, StoreRefused
from cas_store.faults import translate
from cas_store.ground import check_ground
from cas_store.layout import IDENTITY_KEY, Layout, identity_text, parse_identity, sync_folder, write_durably
from cas_store.rows import Seal
from cas_store.tables import Table

_ID_SIZE = 16
_FIRST_PAGES = 3 * mmap.PAGESIZE  # what LMDB writes before it first syncs
_LEFT_ALONE = "  -> choose another folder, with --store or CAS_RUN_STORE"


class Opened(NamedTuple):
    """A store folder that was found in order."""

    layout: Layout
    id: bytes
    database: Database


def open_folder(path: Path, *, create: bool, map_size: int) -> Opened:
    """Open the store there, or found one. Raises one of the store's errors, and then has changed nothing."""
    layout = Layout(path)
    try:
        _make_root(path, create=create)
        check_ground(path)
        with locked(path):
            return _open_locked(layout, create=create, map_size=map_size)
    except OSError as error:
        raise translate(error, path, "opening it") from error


def _open_locked(layout: Layout, *, create: bool, map_size: int) -> Opened:
    try:
        store_id = parse_identity(layout.identity.read_bytes(), layout.identity)
    except FileNotFoundError:
        return _found(layout, create=create, map_size=map_size)
    if not check_data_file(layout.durable / "data.mdb"):
        raise _emptied(layout)
    for folder in layout.folders():
        folder.mkdir(mode=0o700, exist_ok=True)
    database = _database(layout, map_size)
    try:
        database.open()
        _check_identity(layout, database, store_id)
    except BaseException:
        database.close()
        raise
    return Opened(layout, store_id, database)


def _found(layout: Layout, *, create: bool, map_size: int) -> Opened:
    """A new store: first the rows, last the file that says that it is one."""
    strangers = {entry.name for entry in layout.root.iterdir()} - {folder.name for folder in layout.folders()}
    strangers = {name for name in strangers if not name.startswith(".STORE.")}
    if strangers and create:
        msg = f"{layout.root} is not a store and not empty (it has {min(strangers)!r})\n{_LEFT_ALONE}"
        raise StoreRefused(msg, layout.root)
    if not create:
        msg = f"there is no store at {layout.root}\n  -> name the right folder with --store or CAS_RUN_STORE"
        raise StoreMissing(msg, layout.root)
    layout.root.chmod(0o700)
    for folder in layout.folders():
        folder.mkdir(mode=0o700, exist_ok=True)
    _forget_torn_founding(layout)
    database = _database(layout, map_size)
    try:
        database.open()
        store_id = _enter_identity(layout, database)
        sync_folder(layout.durable)
        sync_folder(layout.root)  # else STORE may survive a power cut, and durable/ not: that would be damage
        write_durably(layout.identity, identity_text(store_id))
        for folder in layout.root.parents:
            # Folders above it may be new, too, and made by somebody who was killed before they were synced.
            if os.access(folder, os.R_OK | os.W_OK):
                sync_folder(folder)
    except BaseException:
        database.close()
        raise
    return Opened(layout, store_id, database)


def _forget_torn_founding(layout: Layout) -> None:
    """Remove a data file that a power cut tore before its first sync, which is before anybody was told anything."""
    file = layout.durable / "data.mdb"
    try:
        check_data_file(file)
    except StoreDamaged:
        # By its first sync it has more pages than these; a store that was ever opened has a folder in scratch/.
        if file.stat().st_size > _FIRST_PAGES or any(layout.scratch.iterdir()) or _has_blobs(layout):
            raise
        file.unlink()


def _enter_identity(layout: Layout, database: Database) -> bytes:
    """The id of the new store; that of a founding that was broken off, if its row is there."""
    wanted = os.urandom(_ID_SIZE)

    def job(transaction: lmdb.Transaction[bytes]) -> bytes:
        handle = database.handles[Table.META]
        row = transaction.get(IDENTITY_KEY, None, handle)
        if row is not None:
            return parse_identity(row[DIGEST_SIZE:], layout.durable)
        if any(transaction.stat(handle)["entries"] for handle in database.handles.values()) or _has_blobs(layout):
            raise _without_identity(layout)
        row = Seal(wanted, Table.META.value).close(IDENTITY_KEY, identity_text(wanted))
        transaction.put(IDENTITY_KEY, row, db=handle)
        return wanted

    return database.write(job, "founding it")


def _check_identity(layout: Layout, database: Database, store_id: bytes) -> None:
    view = database.view()
    try:
        row = view.get(Table.META, IDENTITY_KEY)
    finally:
        view.close()
    seal = Seal(store_id, Table.META.value)
    if row is not None:
        if seal.open(IDENTITY_KEY, row) is not None:
            return
        _check_not_anothers(layout, store_id, row)
    # One damaged row, perhaps in quarantine by now, whose content the STORE file has.
    fresh = seal.close(IDENTITY_KEY, identity_text(store_id))

    def job(transaction: lmdb.Transaction[bytes]) -> None:
        if not any(transaction.stat(handle)["entries"] for handle in database.handles.values()):
            raise _emptied(layout)
        transaction.put(IDENTITY_KEY, fresh, db=database.handles[Table.META])

    database.write(job, "mending the row of its identity")


def _check_not_anothers(layout: Layout, store_id: bytes, row: bytes) -> None:
    try:
        other = parse_identity(row[DIGEST_SIZE:], layout.durable)
    except StoreDamaged:
        return
    if other != store_id and Seal(other, Table.META.value).open(IDENTITY_KEY, row) is not None:
        msg = (
            f"{layout.durable} belongs to another store than {layout.identity}\n"
            f"  -> put back the two that belong together; a store is moved or copied as a whole folder"
        )
        raise StoreDamaged(msg, layout.root)


def _database(layout: Layout, map_size: int) -> Database:
    tables = [table.value for table in Table]
    return Database(layout.durable, tables, root=layout.root, lasting=True, map_size=map_size)


def _has_blobs(layout: Layout) -> bool:
    return any(True for folder in layout.blobs.iterdir() for _ in folder.iterdir())


def _emptied(layout: Layout) -> StoreDamaged:
    return StoreDamaged(
        f"the store at {layout.root} has lost its rows: {layout.durable / 'data.mdb'} is missing or empty\n"
        f"  -> restore it from a backup; or `cas-run doctor --repair` starts afresh with what is left",
        layout.root,
    )


def _without_identity(layout: Layout) -> StoreDamaged:
    return StoreDamaged(
        f"the folder {layout.root} holds the parts of a store, but {layout.identity} is missing\n"
        f"  -> `cas-run doctor --repair` takes it from the rows; or restore the folder from a backup",
        layout.root,
    )


def _make_root(path: Path, *, create: bool) -> None:
    if path.is_dir():
        return
    if path.exists() and not path.is_dir():  # asked again: another process may have made it just now
        msg = f"{path} is not a folder\n{_LEFT_ALONE}"
        raise StoreRefused(msg, path)
    if not create:
        msg = f"there is no store at {path}\n  -> name the right folder with --store or CAS_RUN_STORE"
        raise StoreMissing(msg, path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time: of those that ask for this folder in this way."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
