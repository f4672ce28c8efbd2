"""What a bundle holds, parsed and found in order: whatever somebody made up ends in one kind of error.

Nothing in it is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TypeVar

from cas_engine.bookkeeping import ledger
from cas_engine.bookkeeping.ledger import Entry, Status
from cas_engine.bundles.bundling import ABOUT, ACCEPTED, CONTENT, DISPATCH, NODE, RECORD, Recorded, Told
from cas_engine.graphs import templates
from cas_engine.graphs.graph import Graph
from cas_engine.graphs.index import COLUMNS as INDEXED
from cas_engine.graphs.index import Index
from cas_engine.inspecting.acceptance import Acceptance
from cas_engine.plans import manifest as manifests
from cas_engine.plans import records, written
from cas_engine.plans.outcome import NO_DIGEST, NOT_YET, NodeOutcome, NodeStatus
from cas_engine.plans.records import Record
from cas_store.bundle import BLOB, IN_PARTS, BundleReader
from cas_store.digest import DIGEST_SIZE, Digest
from cas_store.errors import BundleError
from cas_store.transit import Staging

_T = TypeVar("_T")


@dataclass(slots=True)
class Rows:
    """The rows of a bundle as they stand in it, and its blobs where they wait."""

    name: str
    staging: Staging
    asked: tuple[str, ...] = ()
    entries: dict[str, Entry] = field(default_factory=dict)
    nodes: dict[str, dict[int, NodeOutcome]] = field(default_factory=dict)
    records: dict[Digest, Record] = field(default_factory=dict)
    contents: dict[Digest, Digest] = field(default_factory=dict)
    accepted: dict[Digest, bytes] = field(default_factory=dict)
    size: int = 0


def read_rows(reader: BundleReader, staging: Staging, name: str, told: Told | None, length: int | None) -> Rows:
    read = Rows(name, staging)
    for entry in reader:
        if entry.kind == BLOB:
            if len(entry.key) != DIGEST_SIZE or not staging.take(entry.key, entry.size, entry.pieces):
                raise odd(name, "a blob does not have its digest")
        elif entry.kind == IN_PARTS:
            if not staging.take_in_parts(entry.key, entry.value()):
                raise odd(name, "a blob in parts is not what its digest says")
        else:
            value = entry.value()
            parsed(name, lambda kind=entry.kind, key=entry.key: _take_row(read, kind, key, value))  # type: ignore[misc]  # noqa: B023
        read.size = reader.at
        if told is not None:
            told(reader.at, length or reader.at)
    read.size = reader.at
    if not read.asked:
        raise odd(name, "it names no dispatch")
    return read


def _take_row(read: Rows, kind: int, key: bytes, value: bytes) -> None:
    if kind == ABOUT and not key:
        read.asked = tuple(bytes.fromhex(one).hex() for one in json.loads(value)["dispatches"])
    elif kind == DISPATCH:
        entry = ledger.loads(value)
        _check_entry(entry, key, value)
        read.entries[entry.id] = entry
    elif kind == NODE:
        require(len(key) == 20, "the row of a node has a key of another length")
        read.nodes.setdefault(key[:16].hex(), {})[int.from_bytes(key[16:], "big")] = written.row_loads(value)
    elif kind == RECORD:
        require(len(key) == DIGEST_SIZE, "a record has a key of another length")
        read.records[key] = record = records.loads(value)
        require(records.dumps(record) == value, "a record is written in an odd way")
    elif kind == CONTENT:
        require(len(key) == len(value) == DIGEST_SIZE, "a content key has another length")
        read.contents[key] = value
    elif kind == ACCEPTED:
        made = Acceptance(**json.loads(value))
        require(bytes.fromhex(made.new) == key, "an acceptance stands under another fingerprint")
        require(len(bytes.fromhex(made.old)) == DIGEST_SIZE, "an acceptance of nothing")
        require(all(isinstance(one, (str, float, int)) for one in asdict(made).values()), "an odd acceptance")
        read.accepted[key] = value
    else:
        require(False, f"it has an entry of kind {kind}, which this version does not know")  # noqa: FBT003


_TYPES: dict[str, type | tuple[type, ...]] = {"float": (float, int), "Status": Status, "bool": bool, "str": str}


def _check_entry(entry: Entry, key: bytes, value: bytes) -> None:
    for one in fields(entry):
        kind = str(one.type)
        expected = _TYPES.get(kind) or {"d": dict, "l": list}[kind[0]]
        require(isinstance(getattr(entry, one.name), expected), f"`{one.name}` of a dispatch is no {kind}")
    require(entry.status.is_final, "a dispatch is still running")
    require(bytes.fromhex(entry.id) == key and len(key) == 16, "a dispatch stands under another id")
    for text in (entry.manifest, entry.outcome, *entry.outputs, entry.lattice_key, entry.parent, entry.outer):
        require(isinstance(text, str) and len(bytes.fromhex(text)) in (0, 16), "a dispatch names what is no digest")
    require(bool(entry.manifest), "a dispatch has no manifest")
    require(all(isinstance(t, str) for pair in entry.inputs.items() for t in pair), "an input is no text")
    require(all(isinstance(t, str) for pair in entry.replaced.items() for t in pair), "a replacement is no text")
    require(all(isinstance(t, str) for t in entry.recompute), "what is recomputed is no text")
    for path, digest in (*entry.files, *entry.made):
        require(isinstance(path, str) and isinstance(digest, str), "a file is no text")
    require(0 <= entry.started < 1 << 43, "a dispatch began at no moment there is")
    require(ledger.dumps(entry) == value, "a dispatch is written in an odd way")


def load_dispatch(rows: Rows, entry: Entry) -> Recorded:
    """What a dispatch evaluated and what came of it, found in order."""

    def load() -> Recorded:
        manifest = manifests.loads(_pieces(rows, entry.manifest))
        _check_graph(manifest.graph)
        if entry.outcome:
            nodes: Sequence[NodeOutcome] = written.loads(_pieces(rows, entry.outcome))
        else:
            nodes = [NOT_YET] * len(manifest.graph)
            for i, node in rows.nodes.get(entry.id, {}).items():
                nodes[i] = node
        require(len(nodes) in (0, len(manifest.graph)), "a dispatch has other nodes than its graph")
        for node in nodes:
            _check_node(node)
        return Recorded(entry, manifest, nodes)

    return parsed(rows.name, load)


def _pieces(rows: Rows, digest: str) -> list[memoryview]:
    key = bytes.fromhex(digest)
    require(key in rows.staging, "a blob that it names is not in it")
    return [memoryview(rows.staging.read(one)) for one in rows.staging.members_of(key) or (key,)]


def _check_graph(graph: Graph) -> None:
    n = len(graph.electron_of)
    require(len(graph.template_of) == len(graph.ordinal_of) == n and len(graph.first_parent) == n + 1, "odd columns")
    graph, firsts = graph.flat(), graph.first_parent
    require(firsts[0] == 0 and firsts[-1] == len(graph.parents), "its graph has other parents than it says")
    require(all(e < len(graph.rows) for e in graph.electron_of), "a node is of no electron")
    require(all(t < len(graph.templates) for t in graph.template_of), "a node has no template")
    require(all(0 <= parent < n for parent in graph.output_parents), "its output is of no node")
    for node in range(n):
        require(firsts[node] <= firsts[node + 1], "its parents are not in order")
        above = graph.parents_of(node)
        require(all(parent < node for parent in above), "a node hangs on one that comes after it")
        template = graph.template(node)
        require(0 <= template.key_slots <= template.slots <= len(above), "a node has fewer parents than slots")
    templates.check(graph.templates)
    made = Index(len(graph.rows), graph.electron_of, firsts, graph.parents)
    for name in INDEXED:
        require(list(getattr(graph.index, name)) == list(getattr(made, name)), "its index is of another graph")


def _check_node(node: NodeOutcome) -> None:
    require(isinstance(node.reason, str) and isinstance(node.extra, dict), "the outcome of a node is odd")
    require(all(isinstance(t, str) for pair in node.extra.items() for t in pair), "the outcome of a node is odd")
    done = node.status in (NodeStatus.HIT, NodeStatus.RAN)
    require(done or node.blob == NO_DIGEST, "a node has a result that it cannot have")
    require(len(bytes.fromhex(node.extra.get("dispatch", ""))) in (0, 16), "a node names what is no dispatch")


def require(true: bool, why: str) -> None:
    if not true:
        raise ValueError(why)


def parsed(name: str, work: Callable[[], _T]) -> _T:
    try:
        return work()
    except BundleError:
        raise
    except Exception as error:  # whatever a parser makes of bytes that somebody made up
        raise odd(name, str(error).partition("\n")[0] or type(error).__name__) from error


def odd(name: str, why: str) -> BundleError:
    return BundleError(f"{name} does not hold what it should: {why}\n  -> have it exported again")
