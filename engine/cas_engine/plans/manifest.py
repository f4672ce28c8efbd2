"""The lasting record of what a dispatch evaluates: lattice, inputs, graph. Read without unpickling anything."""

from __future__ import annotations

import json
import struct
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cas_engine import files
from cas_engine.errors import CapsuleError
from cas_engine.graphs import bindings, signatures
from cas_engine.graphs.bindings import Binding, Template
from cas_engine.graphs.columns import Column, Patched, views
from cas_engine.graphs.columns import dumps as dump
from cas_engine.graphs.graph import Graph, Reached, Row
from cas_engine.graphs.index import COLUMNS as INDEXED
from cas_engine.graphs.index import Index
from cas_engine.graphs.templates import (
    ROW,
    Indexed,
    MoreTemplates,
    Recorded,
    at_bottom,
    laid_out,
    lines_of,
    naming_blobs,
    rows_of,
    some,
    text_of,
)
from cas_engine.values import FileContent
from cas_store.digest import Digest

MAGIC = b"cas-run manifest 1\n"
IN_PARTS = b"cas-run manifest 2\n"
_LENGTHS = struct.Struct("<II")
_COLUMNS = ("electron_of", "template_of", "ordinal_of", "first_parent", "parents")
_PATCHED = ("template_of", "ordinal_of", "parents")
_LARGE = 64 << 10  # bytes of columns and templates: more lie in parts, which a child shares


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was asked for: the lattice and its inputs, the graph they gave, and what was replaced in it.

    `lattice` is the lattice as a row, `inputs` its call; `previews` shows inputs to people. `replaced` are the rows
    that stand in for electrons of their `slot`, those taken over from parents included. `environment` are the package
    versions that the keys were made with.
    """

    lattice: Row
    inputs: Template
    previews: tuple[tuple[str, str], ...]
    graph: Graph
    replaced: tuple[Row, ...]
    environment: tuple[tuple[str, str], ...]
    files: tuple[FileContent, ...]  # all that constants and inputs name
    names_files: bool  # whether the lattice's own code names some: where they lie is not in its key


class Written(NamedTuple):
    """What a manifest's blob is made of: a head, and parts. `known` are the digests of parts that were read so."""

    pieces: Sequence[bytes | memoryview]
    parts: Sequence[bytes | memoryview] = ()
    known: Sequence[Digest] = ()


class _Base(Indexed):
    """The templates of a large recorded graph, with the parts that it lies in: all that a child may share."""

    def __init__(self, text: memoryview, rows: memoryview, columns: Mapping[str, Column]) -> None:
        super().__init__(text, rows)
        self.columns = columns
        self.output: Binding | None = None
        self.parts: tuple[memoryview, ...] = ()
        self.digests: tuple[Digest, ...] = ()

    def patches(self, graph: Graph) -> dict[str, Mapping[int, int]] | None:
        """What is another in a graph than here; None where that cannot be told in few words."""
        found: dict[str, Mapping[int, int]] = {}
        for name in _COLUMNS:
            column: Column = getattr(graph, name)
            if name in _PATCHED and isinstance(column, Patched):
                found[name], column = column.changes, column.base
            if column is not self.columns[name]:
                return None
        return found if graph.output is self.output else None


def dumps(manifest: Manifest) -> Written:
    """A JSON header, the graph's columns, its templates as JSON lines; those of a large graph in parts of their own.

    Of one that was recorded, with changes, the parts are as they were, and the header is followed by what changed.
    """
    graph = manifest.graph
    base = at_bottom(graph.templates)
    patches = base.patches(graph) if isinstance(base, _Base) else None
    if patches is not None and isinstance(base, _Base):
        return _patched(manifest, base, patches)
    columns = [dump(getattr(graph, name)) for name in _COLUMNS]
    size = _size_of(columns)
    if size > _LARGE or size + _size_of(text := text_of(graph.templates)) > _LARGE:
        return _in_parts(manifest)
    header = {
        **_header(manifest),
        "output": bindings.to_json(graph.output),
        "output_parents": list(graph.output_parents),
        "columns": {name: len(getattr(graph, name)) for name in _COLUMNS},
        "templates": len(graph.templates),
    }
    return Written([*_head(MAGIC, header, size), *columns, *text])


def _in_parts(manifest: Manifest) -> Written:
    graph, index = manifest.graph, manifest.graph.index
    columns: dict[str, Column] = {name: getattr(graph, name) for name in _COLUMNS}
    columns.update((name, getattr(index, name)) for name in INDEXED)
    columns["output_parents"] = graph.output_parents
    if isinstance(graph.templates, MoreTemplates):
        # Those that nothing uses any more are left out, so that a long line of children does not gather them.
        used: Sequence[int] = sorted(set(graph.template_of))
        number = {at: i for i, at in enumerate(used)}
        columns["template_of"] = array("I", map(number.__getitem__, graph.template_of))
        lines, parts = some(graph.templates, used)
        written, text = laid_out(lines, rows_of(lines, parts))
    else:
        used = range(len(graph.templates))
        written, text = laid_out(lines_of(graph.templates), graph.key_rows())
    output = _compact(bindings.to_json(graph.output)).encode()
    header = {
        **_header(manifest),
        "columns": {name: len(column) for name, column in columns.items()},
        "templates": len(used),
        "text": text,
        "patches": {},
        "added": 0,
    }
    written += output
    return Written(_head(IN_PARTS, header, 0), [b"".join(map(dump, columns.values())), memoryview(written)])


def _patched(manifest: Manifest, base: _Base, patches: dict[str, Mapping[int, int]]) -> Written:
    added = sorted({at for at in patches.get("template_of", {}).values() if at >= len(base)})
    number = {at: len(base) + i for i, at in enumerate(added)}
    written = {}
    for name, changes in patches.items():
        entries = list(changes.values())
        if name == "template_of":
            entries = [number.get(at, at) for at in entries]
        written[name] = dump(array("I", [*changes, *entries]))
    lines, parts = some(manifest.graph.templates, added)
    header = {
        **_header(manifest),
        "columns": {name: len(column) for name, column in base.columns.items()},
        "templates": len(base),
        "text": len(base.text),
        "patches": {name: len(changes) for name, changes in patches.items()},
        "added": len(added),
    }
    head = [*_head(IN_PARTS, header, _size_of(written.values())), *written.values()]
    return Written([*head, bytes(rows_of(lines, parts)), b"\n".join(lines)], base.parts, base.digests)


def _header(manifest: Manifest) -> dict[str, Any]:
    return {
        "lattice": _row_to_json(manifest.lattice),
        "inputs": bindings.template_to_json(manifest.inputs),
        "previews": [list(pair) for pair in manifest.previews],
        "replaced": [_row_to_json(row) for row in manifest.replaced],
        "environment": [list(pair) for pair in manifest.environment],
        "files": files.to_json(manifest.files),
        "names_files": manifest.names_files,
        "rows": [_row_to_json(row) for row in manifest.graph.rows],
    }


def _size_of(pieces: Iterable[bytes | memoryview]) -> int:
    """Of all together. Not by `sum`: a program may have put another in its place, and what is written must be right."""
    size = 0
    for piece in pieces:
        size += len(piece)
    return size


def _head(magic: bytes, header: dict[str, Any], columns: int) -> list[bytes | memoryview]:
    raw = _compact(header).encode()
    raw += b" " * (-(len(magic) + _LENGTHS.size + len(raw)) % 8)
    return [magic, _LENGTHS.pack(len(raw), columns), raw]


def loads(blob: Sequence[memoryview | bytes], digests: Sequence[Digest] = ()) -> Manifest:
    """The manifest in a blob, given as its head and its parts, with the digests of these.

    Raises CapsuleError when it is of another format, ValueError when it is not laid out so.
    """
    head, *parts = [memoryview(piece) for piece in blob]
    magic = bytes(head[: len(MAGIC)])
    if magic != (IN_PARTS if parts else MAGIC):
        raise CapsuleError(
            "this dispatch was recorded in a format that this version of cas-run does not read\n"
            "  -> use the version that recorded it, or dispatch the workflow again"
        )
    at = len(MAGIC)
    header_size, columns_size = _LENGTHS.unpack_from(head, at)
    at += _LENGTHS.size
    header = json.loads(bytes(head[at : at + header_size]))
    at += header_size
    if parts:
        graph = _graph_in_parts(header, head[at:], parts, digests[1:])
    else:
        graph = _graph_in(header, head[at : at + columns_size], head[at + columns_size :])
    return Manifest(
        lattice=_row_from_json(header["lattice"]),
        inputs=bindings.template_from_json(header["inputs"]),
        previews=tuple((name, text) for name, text in header["previews"]),
        graph=graph,
        replaced=tuple(_row_from_json(row) for row in header["replaced"]),
        environment=tuple((name, version) for name, version in header["environment"]),
        files=files.from_json(header["files"]),
        names_files=header["names_files"],
    )


def _graph_in(header: dict[str, Any], raw: memoryview, text: memoryview) -> Graph:
    columns, _ = views(raw, [(name, header["columns"][name]) for name in _COLUMNS])
    return Graph(
        rows=tuple(_row_from_json(row) for row in header["rows"]),
        templates=Recorded(text, header["templates"]),
        output=bindings.from_json(header["output"]),
        output_parents=tuple(header["output_parents"]),
        **columns,  # type: ignore[arg-type]
    )


def _graph_in_parts(
    header: dict[str, Any], changed: memoryview, parts: Sequence[memoryview], digests: Sequence[Digest]
) -> Graph:
    rows = tuple(_row_from_json(row) for row in header["rows"])
    columns, _ = views(parts[0], header["columns"].items())
    size, length = header["templates"] * ROW.size, header["text"]
    base = _Base(parts[1][size : size + length], parts[1][:size], columns)
    base.parts, base.digests = tuple(parts), tuple(digests)
    base.output = bindings.from_json(json.loads(bytes(parts[1][size + length :])))
    now = {name: columns[name] for name in _COLUMNS}
    patches, left = views(changed, [(name, 2 * header["patches"].get(name, 0)) for name in _PATCHED])
    for name, entries in patches.items():
        places, count = list(entries), len(entries) // 2
        if count:
            now[name] = Patched(columns[name], dict(zip(places[:count], places[count:], strict=True)))
    templates: Sequence[Template] = base
    if header["added"]:
        size = header["added"] * ROW.size
        templates = MoreTemplates(base, Indexed(left[size:], left[:size]))
    index = Index(len(rows), columns["electron_of"], columns["first_parent"], columns["parents"])
    return Graph(
        rows=rows,
        templates=templates,
        output=base.output,
        output_parents=tuple(columns["output_parents"]),
        found=index.recorded(columns),
        **now,  # type: ignore[arg-type]
    )


def templates_naming_blobs(graph: Graph) -> Iterable[Template]:
    """All templates that have a constant which is a blob, and some others; few of a recorded graph are decoded."""
    return naming_blobs(graph.templates)


_compact = json.JSONEncoder(separators=(",", ":")).encode


def _row_to_json(row: Row) -> dict[str, Any]:
    return {
        "slot": row.slot,
        "name": row.name,
        "is_lattice": row.is_lattice,
        "code": row.code.hex(),
        "packages": list(row.packages),
        "version": row.version,
        "stochastic": row.stochastic,
        "ignore": list(row.ignore),
        "executor": row.executor,
        "retries": row.retries,
        "timeout": row.timeout,
        "capsule": row.capsule.hex(),
        "signature": signatures.to_json(row.signature),
        **({"retry_delay": row.retry_delay} if row.retry_delay else {}),
        **({"retry_on": b64encode(row.retry_on).decode()} if row.retry_on is not None else {}),
        "reaches": [[r.name, r.code.hex(), r.stochastic] for r in row.reaches],
    }


def _row_from_json(raw: dict[str, Any]) -> Row:
    return Row(
        slot=raw["slot"],
        name=raw["name"],
        is_lattice=raw["is_lattice"],
        code=bytes.fromhex(raw["code"]),
        packages=tuple(raw["packages"]),
        version=raw["version"],
        stochastic=raw["stochastic"],
        ignore=tuple(raw["ignore"]),
        executor=raw["executor"],
        retries=raw["retries"],
        timeout=raw["timeout"],
        capsule=bytes.fromhex(raw["capsule"]),
        signature=signatures.from_json(raw["signature"]),
        retry_delay=raw.get("retry_delay", 0.0),
        retry_on=b64decode(raw["retry_on"]) if "retry_on" in raw else None,
        reaches=tuple(Reached(name, bytes.fromhex(code), sto) for name, code, sto in raw["reaches"]),
    )
