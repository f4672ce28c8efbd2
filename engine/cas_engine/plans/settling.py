"""What has come of the nodes of an evaluation so far, as the rows that it is written down in. Pure.

A million nodes are a million rows of 80 bytes, not objects: what is in one is taken out when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cas_engine.plans.decisions import Found
from cas_engine.plans.outcome import NODE, NOT_YET, STATUS, NodeOutcome, NodeStatus, Packed
from cas_engine.plans.records import NO_PARTS, Parts, Record
from cas_engine.values import FileContent
from cas_store.digest import Digest

_VALUE, _BLOB = 24, 40  # where they stand in a row of NODE


class Settling(Packed):
    """The nodes 0..n-1 of one evaluation, each settled or not."""

    def __init__(self, count: int) -> None:
        self._rows = bytearray(count * NODE.size)
        self._count = count
        self._reasons: dict[str, int] = {"": 0}
        self._words = [""]
        self._extras: dict[int, Mapping[str, str]] = {}
        self._records: dict[int, Record] = {}  # those that say more than a row

    def hits(
        self, found: Sequence[Found], why: str, extras: Mapping[int, Mapping[str, str]] = MappingProxyType({})
    ) -> None:
        """Note that the results of nodes were there. As `settle` of each, without outcomes that nobody wants to see."""
        number, pack = self._number(why), NODE.pack_into
        rows, size_of_row, status = self._rows, NODE.size, int(NodeStatus.HIT)
        for node, key, record in found:
            value, blob, seconds, created, size, is_sample, _, parts, named, _, _ = record
            pack(rows, node * size_of_row, status, is_sample, number, key, value, blob, size, seconds, created)
            if parts is not NO_PARTS or named:
                self._records[node] = record
        if extras:
            self._extras.update(extras)
            self._records.update((node, record) for node, _, record in found if node in extras)

    def _number(self, why: str) -> int:
        number = self._reasons.get(why)
        if number is None:
            number = self._reasons[why] = len(self._words)
            self._words.append(why)
        return number

    def settle(self, node: int, one: NodeOutcome, record: Record | None) -> None:
        """Note what came of a node."""
        status, why, key, value, blob, size, is_sample, seconds, created, extra = one
        reason = self._number(why)
        at = node * NODE.size
        NODE.pack_into(self._rows, at, status, is_sample, reason, key, value, blob, size, seconds, created)
        if extra:
            self._extras[node] = extra
        if record is not None and (record.parts is not NO_PARTS or record.files or extra):
            self._records[node] = record

    def take_back(self, node: int) -> NodeOutcome:
        """Make a node unsettled again; what it had been."""
        one: NodeOutcome = self[node]
        at = node * NODE.size
        self._rows[at : at + NODE.size] = bytes(NODE.size)
        self._extras.pop(node, None)
        self._records.pop(node, None)
        return one

    def record(self, node: int) -> Record:
        """The record of the result of a node that has one: which electron and which dispatch it names is not kept."""
        found = self._records.get(node)
        if found is not None:
            return found
        _, sample, _, _, value, blob, size, seconds, created = NODE.unpack_from(self._rows, node * NODE.size)
        return Record(value, blob, seconds, created, size, bool(sample), 0, NO_PARTS, (), "", "")

    # Of a node that has a result, what each call that takes it asks for: a record would be made for that alone.

    def value(self, node: int) -> Digest:
        """The digest of its value."""
        at = node * NODE.size
        return bytes(self._rows[at + _VALUE : at + _VALUE + 16])

    def blob(self, node: int) -> Digest:
        """The blob that has it."""
        at = node * NODE.size
        return bytes(self._rows[at + _BLOB : at + _BLOB + 16])

    def parts(self, node: int) -> Parts:
        """The digests of its items, where they are known."""
        found = self._records.get(node)
        return NO_PARTS if found is None else found.parts

    def files(self, node: int) -> tuple[FileContent, ...]:
        """The files that it names."""
        found = self._records.get(node)
        return () if found is None else found.files

    def records_with_files(self) -> Iterator[Record]:
        """Those that name files."""
        return (record for record in self._records.values() if record.files)

    def packed(self) -> tuple[list[str], Mapping[int, Mapping[str, str]], bytearray]:
        return self._words, self._extras, self._rows

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        node = index + self._count if index < 0 else index
        if not 0 <= node < self._count:
            raise IndexError(f"node {index} of {self._count}")
        return self._one(node, *NODE.unpack_from(self._rows, node * NODE.size))

    def __iter__(self) -> Iterator[NodeOutcome]:
        return (self._one(node, *row) for node, row in enumerate(NODE.iter_unpack(self._rows)))

    def _one(self, node: int, status: int, sample: int, reason: int, *rest: Any) -> NodeOutcome:
        if status == NodeStatus.PENDING:
            return NOT_YET
        key, value, blob, size, seconds, created = rest
        extra = self._extras.get(node, NOT_YET.extra)
        why = self._words[reason]
        return NodeOutcome(STATUS[status], why, key, value, blob, size, bool(sample), seconds, created, extra)
