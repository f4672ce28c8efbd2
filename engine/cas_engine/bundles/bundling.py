"""What of a dispatch goes into a bundle, written so that the same dispatch gives the same bytes wherever it is kept.

A bundle has the dispatches asked for, those that their sublattices were evaluated as, and of one that was broken off
its parents, as far as it took samples over; their records as these dispatches know them; every blob that they name.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.accepted import PREFIX
from cas_engine.bookkeeping.answers import load_manifest
from cas_engine.bookkeeping.kept import outcomes_of
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.bookkeeping.location import StoreChoice, open_store
from cas_engine.bookkeeping.references import named_in
from cas_engine.errors import BadOption, UnknownDispatch
from cas_engine.fingerprint.environment import effective_with
from cas_engine.plans import keys, outcome, records, written
from cas_engine.plans.manifest import Manifest
from cas_engine.plans.outcome import NO_DIGEST, NodeOutcome
from cas_engine.plans.records import Record
from cas_store.bundle import BLOB, IN_PARTS, BundleWriter, Writable, looks_like_one
from cas_store.digest import Digest
from cas_store.errors import BlobDamaged, BlobMissing, BundleError
from cas_store.layout import expanded, sync_folder
from cas_store.store import Store
from cas_store.tables import Table

# What the entries of a bundle are; what their keys are is in docs/format.md.
ABOUT, DISPATCH, NODE, RECORD, CONTENT, ACCEPTED = range(1, 7)

Told = Callable[[int, int], None]  # done, of how many
BundleFile = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `evicted` results are not in the bundle because they were not in the store any more."""

    dispatches: tuple[str, ...]  # those asked for
    inner: int  # those that came with them
    records: int
    blobs: int
    evicted: int
    size: int  # bytes

    def to_json(self) -> dict[str, Any]:
        """As `cas-run export --json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A dispatch, and what it reads as."""

    entry: Entry
    manifest: Manifest
    nodes: Sequence[NodeOutcome]


def export_dispatches(
    dispatch_ids: Sequence[str] | str,
    file: str | os.PathLike[str] | Writable,
    *,
    store: StoreChoice = None,
    told: Told | None = None,
) -> Exported:
    """Write dispatches into one file that another store can import: results, code, inputs, history.

    `file` is a path, where only a bundle is written over, or a binary stream. Raises UnknownDispatch; BundleError for
    one that runs and for a file that cannot be written; BlobMissing, BlobDamaged.
    """
    opened = open_store(store, create=False)
    several = [dispatch_ids] if isinstance(dispatch_ids, str) else dispatch_ids
    asked = sorted({ledger.resolve(opened, text) for text in several})
    if not asked:
        raise BadOption("there is nothing to export\n  -> give the ids of dispatches")
    found = gathered(opened, asked)
    if isinstance(file, (str, os.PathLike)):
        with _replacing(Path(file)) as stream:
            return _write(opened, asked, found, stream, told)
    return _write(opened, asked, found, file, told)


def gathered(store: Store, asked: Iterable[str]) -> list[Recorded]:
    """These dispatches and those that they cannot do without, in order of id."""
    found: dict[str, Recorded] = {}
    todo = list(asked)
    wanted = set(todo)
    while todo:
        one = todo.pop()
        if one in found:
            continue
        try:
            recorded = _recorded(store, one)
        except UnknownDispatch:
            if one in wanted:
                raise
            continue  # removed since: a redispatch does without it
        found[one] = recorded
        todo += [node.extra["dispatch"] for node in recorded.nodes if "dispatch" in node.extra]
        if not recorded.entry.outcome and recorded.entry.parent:
            todo.append(recorded.entry.parent)
    return [found[one] for one in sorted(found)]


def _recorded(store: Store, dispatch_id: str) -> Recorded:
    entry = ledger.get(store, dispatch_id)
    short = entry.id[:12]
    if entry.status is Status.RUNNING:
        raise BundleError(f"dispatch {short} is running\n  -> export it when it is over, or cancel it first")
    try:
        return Recorded(entry, load_manifest(store, entry), outcomes_of(store, entry))
    except (BlobMissing, BlobDamaged) as error:
        raise _incomplete(entry, "what it evaluated is damaged or gone") from error


def _incomplete(entry: Entry, why: str) -> BundleError:
    return BundleError(
        f"dispatch {entry.id[:12]} cannot be exported: {why}\n"
        "  -> `cas-run doctor` tells what else is; a dispatch that runs it again can be exported"
    )


def _write(
    store: Store, asked: Sequence[str], found: Sequence[Recorded], stream: Writable, told: Told | None
) -> Exported:
    blobs: set[Digest] = set()
    lasting: dict[Digest, Entry] = {}
    rows: dict[Digest, Record] = {}
    contents: dict[Digest, Digest] = {}
    acceptances: dict[Digest, bytes] = {}
    for one in found:
        named = named_in(one.entry, one.manifest, one.nodes)
        blobs |= named.blobs()
        lasting.update(dict.fromkeys(named.lasting, one.entry))
        in_force = _acceptances(store, one)
        acceptances.update(in_force)
        _add_records(store, one.nodes, rows)
        _add_contents(store, one, in_force, rows, contents)
    holder = os.urandom(16)
    store.hold(holder, sorted(blobs))  # no garbage collection comes in between
    try:
        missing = store.find_missing(blobs)
        for digest in sorted(missing & lasting.keys()):
            raise _incomplete(lasting[digest], "code, an input or a sample of it is damaged or gone")
        writer = BundleWriter(stream)
        writer.row(ABOUT, b"", json.dumps({"dispatches": list(asked)}, separators=(",", ":")).encode())
        _write_rows(writer, found)
        for kind, table in ((RECORD, {key: records.dumps(rows[key]) for key in rows}), (CONTENT, contents)):
            for key in sorted(table):
                writer.row(kind, key, table[key])
        for key in sorted(acceptances):
            writer.row(ACCEPTED, key, acceptances[key])
        count = _write_blobs(store, writer, blobs - missing, told)
        writer.end()
    finally:
        store.let_go(holder)
    return Exported(tuple(asked), len(found) - len(asked), len(rows), count, len(missing), writer.size)


def _write_rows(writer: BundleWriter, found: Sequence[Recorded]) -> None:
    for one in found:
        writer.row(DISPATCH, bytes.fromhex(one.entry.id), ledger.dumps(one.entry))
    for one in found:
        for i, node in enumerate(one.nodes if not one.entry.outcome else ()):
            if node is not outcome.NOT_YET:
                writer.row(NODE, bytes.fromhex(one.entry.id) + i.to_bytes(4, "big"), written.row_dumps(node))


def _write_blobs(store: Store, writer: BundleWriter, blobs: set[Digest], told: Told | None) -> int:
    in_parts = {digest: row for digest in blobs if (row := store.in_parts(digest)) is not None}
    plain = sorted(store.made_of(blobs) - in_parts.keys())
    for i, digest in enumerate(plain):
        size, pieces = store.pieces(digest)
        writer.entry(BLOB, digest, size, pieces)
        if told is not None:
            told(i + 1, len(plain))
    for digest in sorted(in_parts):
        writer.row(IN_PARTS, digest, in_parts[digest])
    return len(plain) + len(in_parts)


def _add_records(store: Store, nodes: Sequence[NodeOutcome], rows: dict[Digest, Record]) -> None:
    """The store's records of these nodes where they say what the nodes say, with the cost as the nodes have it."""
    with_result = [node for node in nodes if node.blob != NO_DIGEST]
    with store.snapshot() as snapshot:
        for node, row in zip(
            with_result, snapshot.get_many(Table.RECORDS, [node.key for node in with_result]), strict=True
        ):
            if row is None:
                continue
            record = records.loads(row)
            if record.value != node.value:
                continue  # drawn anew, or not repeated, since: it is not this dispatch's
            known = rows.get(node.key)
            if known is None or (node.created, node.blob) < (known.created, known.blob):
                rows[node.key] = record._replace(
                    blob=node.blob, seconds=node.seconds, created=node.created, size=node.size
                )


def _add_contents(
    store: Store,
    one: Recorded,
    in_force: dict[Digest, bytes],
    rows: dict[Digest, Record],
    contents: dict[Digest, Digest],
) -> None:
    """Which of the nodes answer by content, as the store has it: for early cutoff where the bundle goes."""
    there = content_keys(one, in_force, rows)
    with store.snapshot() as snapshot:
        for content, row in zip(there, snapshot.get_many(Table.CONTENTS, list(there)), strict=True):
            if row is not None and records.loads(row).value == rows[there[content]].value:
                contents[content] = min(there[content], contents.get(content, there[content]))


def content_keys(one: Recorded, in_force: dict[Digest, bytes], rows: dict[Digest, Record]) -> dict[Digest, Digest]:
    """The content keys of a dispatch's deterministic nodes, each with the key of such a node."""
    environment = dict(one.manifest.environment)

    def effective(code: Digest, packages: tuple[str, ...]) -> Digest:
        fingerprint = effective_with(code, packages, environment)
        while fingerprint in in_force:
            fingerprint = bytes.fromhex(json.loads(in_force[fingerprint])["old"])
        return fingerprint

    graph, nodes = one.manifest.graph, one.nodes
    prefixes = [keys.prefix_of(row, effective, one.manifest.replaced) for row in graph.rows]
    found: dict[Digest, Digest] = {}
    for i, node in enumerate(nodes):
        record = rows.get(node.key)
        if record is None or record.is_sample or any(nodes[parent].key not in rows for parent in graph.parents_of(i)):
            continue
        content = keys.content_key_of(
            graph,
            i,
            prefixes[graph.electron_of[i]],
            lambda parent: rows[nodes[parent].key].value,
            lambda parent: rows[nodes[parent].key].parts,
            lambda parent: _identity(nodes[parent]),
        )
        found[content] = min(node.key, found.get(content, node.key))
    return found


def _identity(node: NodeOutcome) -> Digest:
    return keys.sample_identity(node.key, node.value) if node.is_sample else node.key


def _acceptances(store: Store, one: Recorded) -> dict[Digest, bytes]:
    """What had been accepted when a dispatch began: its keys were made with that."""
    environment = dict(one.manifest.environment)
    found: dict[Digest, bytes] = {}
    for row in (one.manifest.lattice, *one.manifest.graph.rows, *one.manifest.replaced):
        fingerprint = effective_with(row.code, row.packages, environment)
        while fingerprint not in found and (made := store.get(Table.META, PREFIX + fingerprint)) is not None:
            raw = json.loads(made)
            if raw["when"] >= one.entry.started:
                break
            found[fingerprint] = made
            fingerprint = bytes.fromhex(raw["old"])
    return found


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that is there as a whole, or not at all. Only a bundle is written over."""
    path = expanded(path)
    try:
        if _is_stream(path):
            with path.open("wb") as stream:
                yield stream
            return
        _check_target(path)
        path = Path(os.path.realpath(path))  # a link stays one
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}"[-255:])
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        advice = "name a file in a folder that is there, where there is room and you may write"
        msg = f"{path} cannot be written: {error.strerror}\n  -> {advice}"
        raise BundleError(msg, path) from error


def _is_stream(path: Path) -> bool:
    """A pipe, a terminal, /dev/null: what is written goes there, and nothing takes its place."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise BundleError(f"{path} is a folder\n  -> name a file", path)
    if path.exists():
        with path.open("rb") as file:
            start = file.read(32)
        if start and not looks_like_one(start):
            raise BundleError(
                f"{path} is there already and is not a bundle\n  -> name another file, or remove it", path
            )
