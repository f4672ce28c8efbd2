"""Answers from the store alone: lists, dispatches, lattices, results as far as is told without loading them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, NamedTuple

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.answers import latest_key
from cas_engine.bookkeeping.known import KnownElectrons
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.bookkeeping.previews import told_of
from cas_engine.calling.printed import logs
from cas_engine.errors import NotFound, ResultEvicted, UnknownDispatch
from cas_engine.evaluating.result import NodeResult, Result
from cas_engine.graphs.bindings import Ref
from cas_engine.graphs.signatures import Signature
from cas_run.phrases import become_of
from cas_run.server import limits, schema
from cas_run.server.problems import Field, Problem
from cas_store.digest import Digest
from cas_store.errors import BlobEvicted
from cas_store.store import Store
from cas_store.tables import Table

ID = re.compile(r"[0-9a-f]{4,32}")


def full_id(store: Store, text: str) -> str:
    """The id that a text is, or begins. Raises UnknownDispatch."""
    text = text.lower()
    if ID.fullmatch(text) is None:
        raise UnknownDispatch(text[:40])
    if len(text) == 32:
        if store.get(Table.DISPATCHES, bytes.fromhex(text)) is None:
            raise UnknownDispatch(text)
        return text
    even = text[: len(text) & ~1]
    with store.snapshot() as snapshot:
        rows = snapshot.scan(Table.DISPATCHES, bytes.fromhex(even))
        found = [key.hex() for key, _ in islice(rows, 1000) if key.hex().startswith(text)]
    if len(found) != 1:
        raise UnknownDispatch(text, found[:5], ambiguous=len(found) > 1)
    return found[0]


def page(store: Store, lattice: str | None, status: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
    """Dispatches, the newest first, from a cursor on. Raises Problem for one that is none."""
    before = _position(cursor)
    found: list[Entry] = []
    looked = 0
    last = b""
    for key, entry in ledger.newest_before(store, before):
        if len(found) == limit or looked == limits.SCANNED:
            break
        looked, last = looked + 1, key
        if lattice is not None and entry.lattice != lattice:
            continue
        if status is not None and entry.status.value.lower() != status:
            continue
        found.append(entry)
    else:
        last = b""
    rows = [Result(store, entry).to_json(nodes=False) for entry in found]
    return {"dispatches": rows, "next_cursor": last.hex() or None}


def _position(cursor: str | None) -> bytes | None:
    if cursor is None:
        return None
    try:
        position = binascii.unhexlify(cursor)
    except (ValueError, UnicodeError):
        position = b""
    if len(position) != ledger.POSITION:
        message = "`cursor` is none that this server gave"
        raise Problem(400, "BadRequest", message, [Field("cursor", "it is to be the `next_cursor` of a page before")])
    return position


def dispatch(store: Store, entry: Entry, start: int, count: int) -> dict[str, Any]:
    """All about one, with some of its nodes."""
    result = Result(store, entry)
    told = result.to_json(nodes=False)
    graph = result.manifest.graph
    nodes = [
        {**node.to_json(), "parents": sorted(set(graph.parents_of(node.index)))}
        for node in result.nodes_from(start, count)
    ]
    total = len(graph)
    end = start + len(nodes)
    return {
        **told,
        "node_count": total,
        "nodes": nodes,
        "nodes_next": end if nodes and end < total else None,
        "lattice_inputs": schema.of_signature(result.manifest.lattice.signature),
    }


def signature(store: Store, entry: Entry) -> Signature:
    """That of the lattice that a dispatch recorded."""
    return Result(store, entry).manifest.lattice.signature


def lattices(store: Store) -> list[dict[str, Any]]:
    """Each lattice with its newest dispatch, the one dispatched last first."""
    entries = []
    with store.snapshot() as snapshot:
        ids = [row.hex() for _, row in snapshot.scan(Table.META, b"latest:")]
    for one in ids:
        try:
            entries.append(ledger.get(store, one))
        except NotFound:
            continue
    entries.sort(key=lambda entry: -entry.started)
    return [
        {"name": entry.lattice, "latest": entry.id, "status": entry.status.value, "started": entry.started}
        for entry in entries
    ]


def latest(store: Store, lattice: str) -> Entry:
    """The newest dispatch of a lattice. Raises Problem (404)."""
    found = store.get(Table.META, latest_key(lattice))
    try:
        if found is not None:
            return ledger.get(store, found.hex())
    except NotFound:
        pass
    known = [one["name"] for one in lattices(store)]
    near = schema.nearest(lattice, known)
    message = f"there is no dispatch of a lattice `{lattice[:80]}`\n  -> {near or 'GET /api/v1/lattices lists them'}"
    raise Problem(404, "UnknownLattice", message)


def electrons(known: KnownElectrons, name: str | None) -> list[dict[str, Any]]:
    """What could stand in for others."""
    return [
        {
            "name": one.row.name,
            "fingerprint": one.fingerprint,
            "signature": str(one.row.signature),
            "stochastic": one.row.stochastic,
            "dispatch_id": one.dispatch_id,
        }
        for one in known.all()
        if name is None or one.row.name == name
    ]


class Found(NamedTuple):
    """A result: where its bytes lie, if in one place, and what is told of it, if that can be told without loading."""

    blob: Digest | None
    size: int
    told: Mapping[str, Any] | None


def found(store: Store, entry: Entry, node: str | None) -> tuple[Found, NodeResult | None]:
    """The result of a dispatch, or of a node. Raises Problem (409) if there is none, NotFound, ResultEvicted."""
    result = Result(store, entry)
    one: NodeResult | None = None
    if node is not None:
        one = result.node(node)
        if not one.has_result:
            raise _none(f"node {one.label} of {entry.id[:12]}", one.status, one.error)
    elif entry.status is not Status.COMPLETED:
        raise _none(f"dispatch {entry.id[:12]}", entry.status.value, result.error)
    else:
        graph = result.manifest.graph
        if not (isinstance(graph.output, Ref) and not graph.output.path):
            return Found(None, 0, None), None
        one = result.nodes_from(graph.output_parents[graph.output.slot], 1)[0]
    try:
        told = told_of(store, one.blob)
        store.get_pieces(one.blob)
    except BlobEvicted as gone:
        again = f"POST /api/v1/dispatches/{entry.id}/redispatch"
        raise ResultEvicted(gone.digest, f"of `{one.label}`", entry.id, again) from None
    return Found(one.blob, one.size, told), one if node is not None else None


def printed(store: Store, entry: Entry, node: str | None, since: float) -> dict[str, Any]:
    """What electrons printed from then on, as much as goes into one answer. Raises UnknownNode."""
    # The status was read before: if it says that all is over, all is there.
    found = sorted(
        (one for one in logs(entry.id, node, store=store) if one.at >= since), key=lambda one: (one.at, one.node)
    )
    size = 0
    told: list[dict[str, Any]] = []
    for one in found:
        size += len(one.text)
        if len(told) == limits.MOST_NODES or (told and size > limits.RESULT):
            break
        told.append(asdict(one))
    return {
        "dispatch_id": entry.id,
        "status": entry.status.value,
        "more": len(told) < len(found),
        "printed": told,
    }


def _none(what: str, status: str, error: str | None) -> Problem:
    message = f"{what} {become_of(status)}, so it has no result"
    if error:
        message += f"\n{error.rstrip()}"
    problem = Problem(409, "NoResult", message)
    problem.more["status"] = status
    return problem


def pieces(store: Store, blob: Digest) -> Sequence[memoryview]:
    """The stored bytes, as they lie there."""
    return store.get_pieces(blob)
