"""The lasting record of what a dispatch evaluates: lattice, inputs, graph. Read without unpickling anything."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

from cas_engine import bindings, files, signatures
from cas_engine.bindings import Template
from cas_engine.errors import CapsuleError
from cas_engine.graph import Column, Graph, MoreTemplates, Reached, Row, copied
from cas_engine.values import FileContent
from cas_store.digest import Digest

MAGIC = b"cas-run manifest 1\n"
_LENGTHS = struct.Struct("<II")
_BLOCK = 1 << 14  # bytes of templates
_COLUMNS = ("electron_of", "template_of", "ordinal_of", "first_parent", "parents")


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


def dumps(manifest: Manifest) -> list[bytes | memoryview]:
    """The pieces of a manifest's blob: a JSON header, the graph's columns, its templates as JSON lines."""
    graph = manifest.graph
    header = {
        "lattice": _row_to_json(manifest.lattice),
        "inputs": bindings.template_to_json(manifest.inputs),
        "previews": [list(pair) for pair in manifest.previews],
        "replaced": [_row_to_json(row) for row in manifest.replaced],
        "environment": [list(pair) for pair in manifest.environment],
        "files": files.to_json(manifest.files),
        "names_files": manifest.names_files,
        "rows": [_row_to_json(row) for row in graph.rows],
        "output": bindings.to_json(graph.output),
        "output_parents": list(graph.output_parents),
        "columns": {name: len(getattr(graph, name)) for name in _COLUMNS},
        "templates": len(graph.templates),
    }
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-(len(MAGIC) + _LENGTHS.size + len(raw)) % 8)
    columns = [_little(getattr(graph, name)) for name in _COLUMNS]
    return [MAGIC, _LENGTHS.pack(len(raw), sum(map(len, columns))), raw, *columns, *_written(graph.templates)]


def loads(blob: memoryview | bytes) -> Manifest:
    """The manifest in a blob. Raises CapsuleError when it is of another format."""
    view = memoryview(blob)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise CapsuleError(
            "this dispatch was recorded in a format that this version of cas-run does not read\n"
            "  -> use the version that recorded it, or dispatch the workflow again"
        )
    at = len(MAGIC)
    header_size, columns_size = _LENGTHS.unpack_from(view, at)
    at += _LENGTHS.size
    header = json.loads(bytes(view[at : at + header_size]))
    at += header_size
    templates = _Templates(view[at + columns_size :], header["templates"])
    columns: dict[str, Column] = {}
    for name in _COLUMNS:
        size = 4 * header["columns"][name]
        columns[name] = _from_little(view[at : at + size])
        at += size
    graph = Graph(
        rows=tuple(_row_from_json(row) for row in header["rows"]),
        templates=templates,
        output=bindings.from_json(header["output"]),
        output_parents=tuple(header["output_parents"]),
        electron_of=columns["electron_of"],
        template_of=columns["template_of"],
        ordinal_of=columns["ordinal_of"],
        first_parent=columns["first_parent"],
        parents=columns["parents"],
    )
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


class _Templates(Sequence[Template]):
    """Templates decoded when somebody looks: a graph may have a hundred thousand, and a change touches few."""

    def __init__(self, text: memoryview, count: int) -> None:
        self.text = text
        self._count = count
        self._decoded: dict[int, Template] = {}

    @cached_property
    def _raw(self) -> bytes:
        return bytes(self.text)

    @cached_property
    def _newlines(self) -> list[int]:
        """How many there are before each block of the text, and in all: found at the speed of memory, and kept."""
        raw = self._raw
        each = (raw.count(b"\n", at, at + _BLOCK) for at in range(0, len(raw), _BLOCK))
        before = list(accumulate(each, initial=0))
        if before[-1] + 1 != self._count:
            raise ValueError("a manifest has other templates than it says")
        return before

    def _line(self, index: int) -> bytes:
        """One line, without taking all of them apart."""
        if not 0 <= index < self._count:
            raise IndexError(f"template {index} of {self._count}")
        raw, before, start = self._raw, self._newlines, 0
        if index:
            block = bisect_left(before, index) - 1
            start = block * _BLOCK
            for _ in range(index - before[block]):
                start = raw.find(b"\n", start) + 1
        end = raw.find(b"\n", start)
        return raw[start:] if end < 0 else raw[start:end]

    @cached_property
    def lines(self) -> list[bytes]:
        lines = self._raw.split(b"\n") if self._count else []
        if len(lines) != self._count:
            raise ValueError("a manifest has other templates than it says")
        return lines

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        found = self._decoded.get(index)
        if found is None:
            found = self._decoded[index] = bindings.template_from_json(json.loads(self._line(index)))
        return found

    def keys_told(self) -> list[tuple[Digest, int, int]]:
        """As `Graph.template_keys`: read at both ends of each line, for all that is between costs ten times as much."""
        found = []
        for line in self.lines:
            if line[:2] != b'["' or line[34:36] != b'",' or line.endswith(b"]]"):  # with usual parameters
                digest, _, _, _, slots, key_slots, *_ = json.loads(line)
                found.append((bytes.fromhex(digest), slots, key_slots))
                continue
            _, slots, key_slots = line.rsplit(b",", 2)
            found.append((bytes.fromhex(line[2:34].decode()), int(slots), int(key_slots[:-1])))
        return found

    def naming_blobs(self) -> Iterator[Template]:
        return (self[index] for index, line in enumerate(self.lines) if bindings.BLOB_IN_JSON in line)


def _written(templates: Sequence[Template]) -> list[bytes | memoryview]:
    """The pieces of the lines that templates are written as; those that were recorded as they came."""
    if isinstance(templates, _Templates):
        return [templates.text]
    if isinstance(templates, MoreTemplates) and len(templates.recorded):
        added = [b"\n", *_written(templates.added)] if templates.added else []
        return [*_written(templates.recorded), *added]
    return [b"\n".join(bindings.template_dumps(template) for template in templates)]


def templates_naming_blobs(graph: Graph) -> Iterable[Template]:
    """All templates that have a constant which is a blob, and some others; few of a recorded graph are decoded."""
    return _naming_blobs(graph.templates)


def _naming_blobs(templates: Sequence[Template]) -> Iterable[Template]:
    if isinstance(templates, MoreTemplates):
        return chain(_naming_blobs(templates.recorded), templates.added)
    return templates.naming_blobs() if isinstance(templates, _Templates) else templates


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
        reaches=tuple(Reached(name, bytes.fromhex(code), sto) for name, code, sto in raw["reaches"]),
    )


def _little(column: Column) -> bytes | memoryview:
    if sys.byteorder == "little" and isinstance(column, array | memoryview):
        return memoryview(column).cast("B")
    made = copied(column)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def _from_little(raw: memoryview) -> Column:
    """The column as it lies there, uncopied: of a million nodes, few may be looked at."""
    if sys.byteorder == "little":
        return raw.cast("I")
    column = array("I")
    column.frombytes(raw)
    column.byteswap()
    return column
