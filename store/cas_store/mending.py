"""Puts a store in order, after its findings: what is damaged goes into quarantine, what can be made again is made.

Nothing is invented, and each step may be the last: the next time goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from xxhash import xxh3_128

from cas_store.checkup import Checkup, Kind, fault_of_file
from cas_store.compression import made_of
from cas_store.digest import DIGEST_SIZE, Digest
from cas_store.errors import StoreDamaged
from cas_store.largefiles import Kept
from cas_store.layout import IDENTITY_KEY, Layout, identity_text, parse_identity, write_durably
from cas_store.pages import DataFile, PageFault, Walk, leaf_rows
from cas_store.rows import Seal
from cas_store.salvage import Salvage, salvage
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Delete, Put, Write

_FILE, _PARTS = b"\x01", b"\x02"
_AT_ONCE = 512
_PIECE = 1 << 18  # bytes


def make_readable(path: Path) -> list[str]:
    """Make a store one that can be opened; what was done, as sentences. Raises StoreDamaged if nothing tells its id."""
    layout = Layout(path)
    done = _mend_identity(layout)
    report = salvage(layout, parse_identity(layout.identity.read_bytes(), layout.identity))
    return [*done, *_told(report)]


def mend(store: Store, found: Checkup) -> list[str]:
    """Take what is damaged out of an open store; what was done, as sentences."""
    layout = Layout(store.path)
    done = []
    writes: list[Write] = []
    for each in found.findings:
        if each.kind is Kind.ROW:
            store.get(Table(each.table), each.key)  # whoever reads it puts it aside
            done.append(f"{each.what}: put aside")
        elif each.kind is Kind.BLOB:
            if each.table:
                writes += [Delete(Table.BLOBS, each.key), Delete(Table.BLOBS, each.key + _PARTS)]
            else:
                _take_file(store, layout, each.key)
            done.append(f"{each.what}: put aside")
        elif each.kind is Kind.MODE:
            with suppress(FileNotFoundError):
                layout.blob(each.key).chmod(0o400)
                done.append(f"{each.what}: made read-only")
    store.commit(writes)
    return done


def enter_strays(store: Store) -> int:
    """Enter intact files of blobs whose rows were lost; how many."""
    layout = Layout(store.path)
    intact: list[tuple[Path, Put]] = []
    for digest in list(store.stray_blobs()):
        path = layout.blob(digest)
        with suppress(OSError):
            kept = None if path.is_symlink() else _kept_in(path, digest)
            if kept is not None:
                intact.append((path, Put(Table.BLOBS, digest + _FILE, kept.to_row())))
    entered = 0
    for start in range(0, len(intact), _AT_ONCE):
        some = intact[start : start + _AT_ONCE]
        store.commit([row for _, row in some])
        gone = [row.key for path, row in some if not path.exists()]  # a sweep beside us came before the row
        store.commit([Delete(Table.BLOBS, key) for key in gone])
        entered += len(some) - len(gone)
    return entered


def _kept_in(path: Path, digest: Digest) -> Kept | None:
    """How a blob lies in its file, None if the file has not got it whole."""
    with path.open("rb") as file:
        size, found = os.fstat(file.fileno()).st_size, xxh3_128()
        for piece in _pieces(file):
            found.update(piece)
        if found.digest() == digest:
            return Kept(size)
        file.seek(0)
        plain = made_of(_pieces(file))
    return Kept(plain[0], (size, found.digest())) if plain is not None and plain[1] == digest else None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE), b"")


def _take_file(store: Store, layout: Layout, digest: Digest) -> None:
    """Looked at once more: somebody may have computed it again since."""
    path = layout.blob(digest)
    marker = store.get(Table.BLOBS, digest + _FILE)
    if marker is None:
        return
    try:
        file = path.lstat()
    except FileNotFoundError:
        store.commit([Delete(Table.BLOBS, digest + _FILE)])
        return
    if file.st_size != int.from_bytes(marker[:8], "big") or fault_of_file(path, digest, marker):
        store.put_aside(digest, (file.st_dev, file.st_ino), marker)


def _mend_identity(layout: Layout) -> list[str]:
    """The rows have the id too, and their seals prove it: theirs counts."""
    stated: bytes | None = None
    with suppress(FileNotFoundError, StoreDamaged):
        stated = parse_identity(layout.identity.read_bytes(), layout.identity)
    proved = _identity_in(layout.durable / "data.mdb", layout)
    if proved is None and stated is None:
        msg = (
            f"nothing tells which store {layout.root} is: {layout.identity.name} and the row that repeats it are lost\n"
            f"  -> restore {layout.identity.name} from a backup"
        )
        raise StoreDamaged(msg, layout.root)
    if proved is None or proved == stated:
        return []
    if layout.identity.exists():
        layout.quarantine.mkdir(mode=0o700, exist_ok=True)
        layout.identity.rename(layout.quarantine / f"STORE.{os.urandom(4).hex()}")
    write_durably(layout.identity, identity_text(proved))
    return ["STORE: written anew, from the row that repeats it"]


def _identity_in(path: Path, layout: Layout) -> bytes | None:
    """The id in a row that its own seal proves to be this store's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        file = DataFile(descriptor)
        for meta in file.likely_metas():
            for _, key, row in Walk(file, meta, leaves=True).run():
                if key == IDENTITY_KEY and (found := _proved(row, layout)):
                    return found
        for number in range(2, file.size // file.page_size):
            for key, row in leaf_rows(file, number):
                if key == IDENTITY_KEY and (found := _proved(row, layout)):
                    return found
    except PageFault:
        pass
    finally:
        os.close(descriptor)
    return None


def _proved(row: bytes, layout: Layout) -> bytes | None:
    try:
        store_id = parse_identity(row[DIGEST_SIZE:], layout.durable)
    except StoreDamaged:
        return None
    return store_id if Seal(store_id, Table.META.value).open(IDENTITY_KEY, row) is not None else None


def _told(report: Salvage) -> list[str]:
    rows = sum(report.rows.values())
    done = [f"data.mdb: made anew with {rows:,} rows, {report.found_beside:,} of them from pages that nothing led to"]
    if report.unreadable:
        done.append(f"data.mdb: {report.unreadable:,} rows did not bear their seals, and were left")
    if report.is_behind:
        done.append("data.mdb: its newest header was lost, and with it perhaps what was written last")
    if report.kept is not None:
        done.append(f"data.mdb: the damaged one is kept as quarantine/{report.kept.name}")
    return done
