"""What is wrong with a store, as findings: its folder, structure, seals and blobs. Changes nothing.

All is read as plain bytes, past LMDB, which a damaged file would take along.
"""

from __future__ import annotations

import os
import random
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from xxhash import xxh3_128

from cas_store.datafile import check_data_file, misnamed
from cas_store.digest import DIGEST_SIZE, Digest, digest_of
from cas_store.errors import StoreDamaged, StoreMissing
from cas_store.layout import Layout, parse_identity
from cas_store.pages import DataFile, PageFault, Walk
from cas_store.rows import Seal
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.tenancy import alone

_FILE, _PARTS = b"\x01", b"\x02"  # what follows the digest in the keys of blobs that are no rows
_SIZE = 8
_PIECE = 1 << 20
_MODE = 0o400
_FAULTS = 20  # of one file that are told one by one
_AGAIN = "what it held is computed again when it is needed"


class Kind(str, Enum):
    """What is wrong, in a word."""

    IDENTITY = "identity"  # STORE does not say which store this is
    STRUCTURE = "structure"  # the file of the rows does not hold together
    ROW = "row"  # does not bear the seal of its place
    BLOB = "blob"  # is not what its digest says, or is not there
    MODE = "mode"  # others may read or write it
    INDEX = "index"  # an entry that finds something is missing, or leads nowhere
    RESULT = "result"  # a record whose result is not there
    HISTORY = "history"  # a dispatch has lost something that nothing can bring back


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `then` says what that means, or what to do."""

    kind: Kind
    what: str
    why: str
    then: str
    table: str = ""  # of rows: where they are
    key: bytes = b""  # of rows and blobs


@dataclass(slots=True)
class Checkup:
    """What was looked at, and what was found."""

    findings: list[Finding] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    blobs: int = 0  # whose bytes were read
    bytes_read: int = 0
    is_readable: bool = True  # whether the store can be opened as it is


def examine(path: Path, *, share: float = 1.0) -> Checkup:
    """Look at a store, reading that share of its large blobs. Raises StoreMissing, StoreRefused, StoreTooNew."""
    found = Checkup()
    layout = Layout(path)
    store_id = _identity(layout, found)
    files = _Files(layout, found, share)
    try:
        with _walk_of(layout, found) as walk:
            _check_rows(walk, store_id, found, files.row)
            faults = [*map(str, walk.faults), *misnamed(walk)]
            for why in faults[:_FAULTS]:
                found.findings.append(_structure(layout, why))
            if len(faults) > _FAULTS:
                found.findings.append(_structure(layout, f"and {len(faults) - _FAULTS:,} faults more"))
    except StoreDamaged as damage:
        found.is_readable = False
        if len(found.findings) == sum(found.rows.values()):
            found.findings.clear()  # not a row has its seal: it is the seal that is another
        said, _, _ = str(damage).partition("\n")
        found.findings.append(_structure(layout, said.partition(" is damaged: ")[2] or said))
    except PageFault as fault:
        found.findings.append(_structure(layout, str(fault)))
    files.check()
    found.is_readable &= not any(each.kind in (Kind.STRUCTURE, Kind.IDENTITY) for each in found.findings)
    return found


def _structure(layout: Layout, why: str) -> Finding:
    then = "`--repair` makes a new file of all rows that can be read"
    return Finding(Kind.STRUCTURE, str((layout.durable / "data.mdb").relative_to(layout.root)), why, then)


def _identity(layout: Layout, found: Checkup) -> bytes | None:
    try:
        return parse_identity(layout.identity.read_bytes(), layout.identity)
    except FileNotFoundError:
        why = "it is missing"
    except StoreDamaged as damage:
        why = str(damage).partition("\n")[0].partition(": ")[2] or str(damage)
    then = "`--repair` takes it from the rows, which have it too"
    found.findings.append(Finding(Kind.IDENTITY, layout.identity.name, why, then))
    return None


@contextmanager
def _walk_of(layout: Layout, found: Checkup) -> Iterator[Walk]:
    """All pages of one moment: of the store in use, or of a file that nobody has open."""
    store = problem = None
    if not found.findings:
        try:
            store = Store.open(layout.root, create=False)
        except StoreDamaged as damage:
            problem = damage
    if store is not None:
        with store.walk() as walk:
            yield walk
        if walk.faults:
            store.close()
        return
    path = layout.durable / "data.mdb"
    if not path.exists() or not path.stat().st_size:
        raise StoreDamaged(f"{path} is damaged: it is missing or empty", path)
    with alone(layout.durable, "checking a damaged store"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            file = DataFile(descriptor)
            walk = Walk(file, file.metas()[0], leaves=True)
            yield walk
        finally:
            os.close(descriptor)
        if not walk.faults and not misnamed(walk):
            check_data_file(path)  # what is wrong with its headers
            if problem is not None:
                raise problem


def _check_rows(walk: Walk, store_id: bytes | None, found: Checkup, told: Callable[[bytes, bytes], None]) -> None:
    seals = {} if store_id is None else {table.value: Seal(store_id, table.value) for table in Table}
    counts = found.rows
    for name, key, row in walk.run():
        table = name.decode(errors="replace")
        seal = seals.get(table)
        if seal is None:
            continue  # of a later version, or there is no telling
        counts[table] += 1
        value = seal.open(key, row)
        if value is None:
            what = f"{table} {key[:DIGEST_SIZE].hex()}"
            found.findings.append(Finding(Kind.ROW, what, "its seal does not fit", f"{_OF_TABLE[table]}", table, key))
        elif table == Table.BLOBS.value:
            told(key, value)


_OF_TABLE = {
    **{table.value: _AGAIN for table in Table},
    Table.DISPATCHES.value: "this dispatch is lost to the history; its results are still hits",
    Table.TIMELINE.value: "`--repair` enters it anew",
    Table.NODES.value: "what a dispatch had done that did not come to its end is looked up by key",
    Table.META.value: "what it held (an acceptance, the trust of checks, which dispatch is the newest) is forgotten",
}


class _Files:
    """The blobs: those in rows as they come along, those in files after that."""

    def __init__(self, layout: Layout, found: Checkup, share: float) -> None:
        self._layout = layout
        self._found = found
        self._share = share
        self._markers: dict[Digest, bytes] = {}
        self._parts: dict[Digest, tuple[Digest, ...]] = {}
        self._rows: set[Digest] = set()
        self._dice = random.Random()  # noqa: S311  (another share each time)

    def row(self, key: bytes, value: bytes) -> None:
        """One intact row of the table of blobs."""
        digest, kind = key[:DIGEST_SIZE], key[DIGEST_SIZE:]
        if kind == _FILE:
            self._markers[digest] = value
        elif kind == _PARTS:
            members = value[_SIZE:]
            self._parts[digest] = tuple(members[at : at + DIGEST_SIZE] for at in range(0, len(members), DIGEST_SIZE))
        elif not kind:
            self._rows.add(digest)
            self._found.blobs += 1
            self._found.bytes_read += len(value)
            if digest_of(value) != digest:
                self._blob(digest, "its bytes do not have its digest", Table.BLOBS.value)

    def check(self) -> None:
        """The files, and that blobs in parts have all of them."""
        for digest, marker in self._markers.items():
            if self._share >= 1 or self._dice.random() < self._share:
                self._read(digest, marker)
            else:
                self._look(digest, marker)
        there = self._rows | self._markers.keys()
        for digest, members in self._parts.items():
            gone = [member for member in members if member not in there]
            if gone:
                self._blob(digest, f"{len(gone)} of its {len(members)} parts are not there", Table.BLOBS.value)

    def _blob(self, digest: Digest, why: str, table: str = "") -> None:
        self._found.findings.append(Finding(Kind.BLOB, f"blob {digest.hex()}", why, _AGAIN, table, digest))

    def _look(self, digest: Digest, marker: bytes) -> os.stat_result | None:
        path = self._layout.blob(digest)
        try:
            file = path.lstat()
        except FileNotFoundError:
            self._blob(digest, "its file is missing")
            return None
        except OSError as error:
            self._blob(digest, f"its file cannot be looked at: {error.strerror}")
            return None
        if not stat.S_ISREG(file.st_mode) or file.st_size != int.from_bytes(marker[:_SIZE], "big"):
            self._blob(digest, f"its file has {file.st_size:,} bytes, not {int.from_bytes(marker[:_SIZE], 'big'):,}")
            return None
        if stat.S_IMODE(file.st_mode) != _MODE:
            why = f"its mode is {stat.S_IMODE(file.st_mode):o}, not {_MODE:o}"
            then = "`--repair` sets it: what may be written to may be changed by accident"
            self._found.findings.append(Finding(Kind.MODE, f"blob {digest.hex()}", why, then, "", digest))
        return file

    def _read(self, digest: Digest, marker: bytes) -> None:
        file = self._look(digest, marker)
        if file is None:
            return
        self._found.blobs += 1
        self._found.bytes_read += file.st_size
        why = fault_of_file(self._layout.blob(digest), digest, marker)
        if why:
            self._blob(digest, why)


def fault_of_file(path: Path, digest: Digest, marker: bytes) -> str:
    """What is wrong with the bytes in the file of a blob, "" if nothing, or if it is not to be told."""
    expected = marker[-DIGEST_SIZE:] if len(marker) > _SIZE else digest  # of what is in it, if that is compressed
    state = xxh3_128()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while piece := os.read(descriptor, _PIECE):
                state.update(piece)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, PermissionError):
        return ""  # swept meanwhile; or its mode is a finding already
    except OSError as error:
        return f"its file cannot be read: {error.strerror}"
    return "" if state.digest() == expected else "its bytes do not have its digest"


def check_is_there(path: Path) -> None:
    """Raise StoreMissing unless a folder is a store, or has the parts of one."""
    layout = Layout(path)
    if not layout.identity.exists() and not (layout.durable / "data.mdb").exists():
        msg = f"there is no store at {path}\n  -> name the right folder with --store or CAS_RUN_STORE"
        raise StoreMissing(msg, path)
