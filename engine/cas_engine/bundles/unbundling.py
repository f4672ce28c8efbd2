"""Takes a bundle in: all of it is read and checked before anything can be seen, then all of it can, or nothing.

Nothing in it is unpickled here. What is in it counts as code to be run all the same, so it has to be trusted first.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.accepted import PREFIX
from cas_engine.bookkeeping.answers import epoch, latest_key
from cas_engine.bookkeeping.journal import EPOCH
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.bookkeeping.references import named_in
from cas_engine.bundles.bundled import Rows, load_dispatch, odd, parsed, read_rows
from cas_engine.bundles.bundling import BundleFile, Told
from cas_engine.capsules import capsule
from cas_engine.errors import UnknownDispatch, UsageError
from cas_engine.fingerprint.environment import version_of
from cas_engine.inspecting.acceptance import Acceptance, answers_withdrawn
from cas_engine.plans import records
from cas_engine.plans.outcome import NodeStatus
from cas_engine.plans.records import Record
from cas_engine.plans.written import item_dumps
from cas_store.bundle import BundleReader
from cas_store.digest import Digest
from cas_store.errors import BlobMissing, BundleError, StoreMissing
from cas_store.layout import expanded
from cas_store.store import Store
from cas_store.tables import Table
from cas_store.writes import Append, Insert, Need, Put, Write

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Carried:
    """One dispatch in a bundle. `is_here`: the store has it already."""

    dispatch_id: str
    lattice: str
    status: str
    started: float
    nodes: int
    inputs: dict[str, str]
    outer: str
    is_here: bool


@dataclass(frozen=True, slots=True)
class Code:
    """One piece of recorded code in a bundle, as whoever loads it would run it."""

    name: str
    module: str
    qualname: str
    modules: tuple[str, ...]  # the user's own that came with it
    python: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle carries, and what became of it here.

    `packages` are those that its keys count, each with the version there and the one here. `kept` are nodes (electron
    and key) for which the store has another result, which stays.
    """

    dispatches: tuple[Carried, ...]
    code: tuple[Code, ...]
    packages: dict[str, tuple[str, str]]
    accepted: tuple[Acceptance, ...]
    records: int
    new_records: int
    blobs: int
    size: int
    kept: tuple[str, ...]
    imported: bool

    def to_json(self) -> dict[str, Any]:
        """As `cas-run import --json` prints it."""
        return asdict(self)


class TrustNeeded(UsageError):
    """A bundle was found in order, and nobody has said that what is in it may run here. `bundle` says what that is."""

    def __init__(self, message: str, bundle: Bundle) -> None:
        super().__init__(message)
        self.bundle = bundle

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.bundle)


def import_bundle(
    file: BundleFile, *, trust: bool = False, store: StoreChoice = None, told: Told | None = None
) -> Bundle:
    """Take the dispatches of a bundle into a store, with all they need to be shown and redispatched there.

    `file` is a path or a binary stream. What the store has already stays as it is. Raises BundleError for what is not
    an intact bundle, TrustNeeded without `trust`, StoreError; nothing has changed then.
    """
    name = str(file) if isinstance(file, (str, os.PathLike)) else "the bundle"
    try:
        opened = open_store(store, create=False)
    except StoreMissing as missing:
        return _into_a_new_store(file, name, trust, missing.path, store, told)
    return _import(file, name, trust, opened, told)


def _into_a_new_store(
    file: BundleFile,
    name: str,
    trust: bool,
    place: Path | None,
    store: StoreChoice,
    told: Told | None,
) -> Bundle:
    """A store is not founded for the sake of something that turns out not to be a bundle, or is only looked at."""
    if not trust and place is not None:
        around = next(folder for folder in place.parents if folder.is_dir())
        with tempfile.TemporaryDirectory(prefix=".cas-run-", dir=around) as folder, Store.open(folder) as empty:
            return _import(file, name, trust, empty, told)
    if isinstance(file, (str, os.PathLike)) and not expanded(file).is_fifo():  # which can be read but once
        with _opened(file, name) as (stream, length):
            for _ in BundleReader(stream, name, length):
                pass
    return _import(file, name, trust, open_store(store), told)


def _import(file: BundleFile, name: str, trust: bool, opened: Store, told: Told | None) -> Bundle:
    with _opened(file, name) as (stream, length), opened.staging() as staging:
        read = read_rows(BundleReader(stream, name, length), staging, name, told, length)
        checked = _Checked(opened, read)
        if not trust:
            raise TrustNeeded(
                f"{name} carries code and pickles, which run what they say; nothing was imported\n"
                "  -> if you trust whoever made it, import it with --trust (trust=True)",
                checked.summary(imported=False),
            )
        checked.enter()
        return checked.summary(imported=True)


@contextmanager
def _opened(file: BundleFile, name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if not isinstance(file, (str, os.PathLike)):
        yield file, None
        return
    path = expanded(file)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise BundleError(f"{name} cannot be read: {error.strerror}\n  -> name a bundle", path) from error
    with stream:
        yield stream, path.stat().st_size if path.is_file() else None


class _Checked:
    """A bundle that holds together, and what there is to do about it in one store."""

    def __init__(self, store: Store, read: Rows) -> None:
        self._store = store
        self._read = read
        self._recorded = [load_dispatch(read, entry) for _, entry in sorted(read.entries.items())]
        self._headers: dict[Digest, capsule.CapsuleHeader] = {}
        self._check_names()
        self._here = {one for one in read.entries if self._is_here(read.entries[one])}
        self._decide()

    def _check_names(self) -> None:
        """All that is named is there; and nothing that is not."""
        read = self._read
        blobs: set[Digest] = set()
        results: dict[Digest, set[tuple[Digest, Digest]]] = {}
        for one in self._recorded:
            named = parsed(read.name, lambda one=one: named_in(one.entry, one.manifest, one.nodes))  # type: ignore[misc]
            if any(digest not in read.staging for digest in named.lasting):
                raise odd(read.name, f"dispatch {one.entry.id[:12]} is not complete")
            blobs |= named.blobs()
            for node in named.results:
                results.setdefault(node.key, set()).add((node.value, node.blob))
            rows = (one.manifest.lattice, *one.manifest.graph.rows, *one.manifest.replaced)
            for digest in {row.capsule for row in rows} - self._headers.keys():
                content = read.staging.read(digest)
                self._headers[digest] = parsed(read.name, lambda content=content: capsule.header(content))  # type: ignore[misc]
        if any((record.value, record.blob) not in results.get(key, ()) for key, record in read.records.items()):
            raise odd(read.name, "a record is of no node of its dispatches")
        if any(key not in read.records for key in read.contents.values()):
            raise odd(read.name, "a content key is that of no record")
        self._absent = {digest for digest in blobs if digest not in read.staging}
        blobs = read.staging.made_of(blobs)
        if any(digest not in blobs for digest in read.staging.digests()):
            raise odd(read.name, "a blob is named by nothing in it")
        if any(one not in read.entries for one in read.asked) or not read.nodes.keys() <= read.entries.keys():
            raise odd(read.name, "a dispatch is not in it")

    def _is_here(self, entry: Entry) -> bool:
        try:
            ours = ledger.get(self._store, entry.id)
        except UnknownDispatch:
            return False
        if ledger.dumps(ours) != ledger.dumps(entry):
            raise BundleError(
                f"dispatch {entry.id[:12]} is in this store already, and is another one than in {self._read.name}\n"
                f"  -> `cas-run show {entry.id[:12]}` shows it; import into another store, with --store"
            )
        return True

    def _decide(self) -> None:
        """Which records are new here, which stay as they are, which differ."""
        read, store = self._read, self._store
        keys = sorted(read.records)
        with store.snapshot() as snapshot:
            rows = snapshot.get_many(Table.RECORDS, keys)
        ours = {key: records.loads(row) for key, row in zip(keys, rows, strict=True) if row is not None}
        gone = store.find_missing([record.blob for record in ours.values()])
        self._new: dict[Digest, Record] = {}
        self._differs: dict[Digest, Record] = {}
        for key in keys:
            theirs, mine = read.records[key], ours.get(key)
            if mine is not None and mine.value != theirs.value:
                self._differs[key] = mine
            elif mine is None or (mine.blob in gone and theirs.blob in read.staging):
                self._new[key] = theirs

    def enter(self) -> None:
        """Publish the blobs, which nothing names yet; then, in one commit, all that names them."""
        for attempt in range(_TRIES):
            self._read.staging.publish(self._store.commit)
            try:
                self._store.commit([*map(Need, self._read.staging.digests()), *self._rows()])
            except BlobMissing:
                # Taken away by a garbage collection between the two.
                if attempt == _TRIES - 1:
                    raise
            else:
                return

    def _rows(self) -> Iterator[Write]:
        read, store = self._read, self._store
        now = repr(time.time())
        # A computation that came out different elsewhere does not repeat itself: as where that is seen in a run.
        unsteady = any(not mine.is_sample for mine in self._differs.values())
        for one, entry in read.entries.items():
            if one not in self._here:
                yield from ledger.put(entry)
                for i, node in read.nodes.get(one, {}).items():
                    yield Append(Table.NODES, bytes.fromhex(one), item_dumps(i, node))
        for key, record in self._new.items():
            yield Put(Table.RECORDS, key, records.dumps(record))
        for content, key in read.contents.items():
            if key not in self._differs:
                yield Insert(Table.CONTENTS, content, records.dumps(read.records[key]))
        fresh = {key: value for key, value in read.accepted.items() if store.get(Table.META, PREFIX + key) is None}
        if fresh:
            yield from answers_withdrawn(store)
        for key, value in fresh.items():
            yield Insert(Table.META, PREFIX + key, value)
        for digest in sorted(store.find_missing(self._absent)):
            yield Insert(Table.EVICTED, digest, struct.pack("<d", time.time()))
        if unsteady:
            yield Put(Table.META, EPOCH, now.encode())
        yield from self._answers(now if unsteady else epoch(store))
        yield from self._latest()

    def _answers(self, now: str) -> Iterator[Write]:
        """The workflows that may be answered as a whole: where node by node they would be answered the same."""
        for one in self._recorded:
            entry = one.entry
            if entry.status is Status.COMPLETED and entry.lattice_key and not one.manifest.names_files:
                steady = all(
                    node.status in (NodeStatus.HIT, NodeStatus.RAN)
                    and node.key not in self._differs
                    and node.key in self._read.records
                    for node in one.nodes
                )
                if steady:
                    answer = json.dumps({"id": entry.id, "epoch": now}).encode()
                    yield Insert(Table.LATTICES, bytes.fromhex(entry.lattice_key), answer)

    def _latest(self) -> Iterator[Write]:
        newest: dict[str, Entry] = {}
        for entry in self._read.entries.values():
            if not entry.outer and (entry.lattice not in newest or newest[entry.lattice].started < entry.started):
                newest[entry.lattice] = entry
        for lattice, entry in newest.items():
            ours = self._store.get(Table.META, latest_key(lattice))
            with contextlib.suppress(UnknownDispatch):
                if ours is not None and ledger.get(self._store, ours.hex()).started >= entry.started:
                    continue
            yield Put(Table.META, latest_key(lattice), bytes.fromhex(entry.id))

    def summary(self, *, imported: bool) -> Bundle:
        """As the user is told."""
        packages: dict[str, tuple[str, str]] = {}
        for one in self._recorded:
            for package, version in one.manifest.environment:
                packages.setdefault(package, (version, version_of(package)))
        dispatches = sorted(self._recorded, key=lambda one: (one.entry.outer != "", one.entry.started, one.entry.id))
        heads = [self._headers[digest] for digest in sorted(self._headers)]
        code = {Code(h.name, h.script or h.module, h.qualname, tuple(h.modules), h.python) for h in heads}
        return Bundle(
            dispatches=tuple(
                Carried(
                    dispatch_id=one.entry.id,
                    lattice=one.entry.lattice,
                    status=one.entry.status.value,
                    started=one.entry.started,
                    nodes=len(one.manifest.graph),
                    inputs=one.entry.inputs,
                    outer=one.entry.outer,
                    is_here=one.entry.id in self._here,
                )
                for one in dispatches
            ),
            code=tuple(sorted(code, key=lambda c: (c.module, c.name, c.qualname, c.modules, c.python))),
            packages=dict(sorted(packages.items())),
            accepted=tuple(Acceptance(**json.loads(self._read.accepted[key])) for key in sorted(self._read.accepted)),
            records=len(self._read.records),
            new_records=len(self._new),
            blobs=len(self._read.staging),
            size=self._read.size,
            kept=tuple(f"{self._read.records[key].electron} {key.hex()[:12]}" for key in sorted(self._differs)),
            imported=imported,
        )
